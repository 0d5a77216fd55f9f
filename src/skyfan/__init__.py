"""Fan a model out over the sky: run a trained network over every image of a survey, and get a complete catalogue.

>>> import skyfan
>>> run = skyfan.run("payload.json")            # doctest: +SKIP
>>> run.summary.complete                        # doctest: +SKIP
True
>>> run.predictions()                           # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from skyfan.api import open_run, plan, run, stop
    from skyfan.making import export, partition, simulate, train
    from skyfan.payload import Payload
    from skyfan.runs import Run

_PUBLIC = {
    "Payload": "skyfan.payload",
    "Run": "skyfan.runs",
    "export": "skyfan.making",
    "open_run": "skyfan.api",
    "partition": "skyfan.making",
    "plan": "skyfan.api",
    "run": "skyfan.api",
    "simulate": "skyfan.making",
    "stop": "skyfan.api",
    "train": "skyfan.making",
}

__all__ = [
    "Payload",
    "Run",
    "__version__",
    "export",
    "open_run",
    "partition",
    "plan",
    "run",
    "simulate",
    "stop",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `skyfan --help` need not load the runtime."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'skyfan' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value
