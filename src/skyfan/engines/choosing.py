"""Which engine a run gets, by its name. An engine's module is imported when it is chosen."""

from collections.abc import Callable

from skyfan.engines.base import Engine, Work
from skyfan.errors import InputError
from skyfan.payload import Payload
from skyfan.storage import Store

AWS = "aws"
"""Maps by itself, so that it is not opened here: see `skyfan.aws.driver`."""
MAPPED = ("local",)
"""Those whose map `skyfan.pipeline` drives."""
ENGINES = (*MAPPED, AWS)

OpenEngine = Callable[[Work, int], Engine]
"""Starts an engine: what its workers do, and how many items there are for them."""


def choose_engine(name: str, payload: Payload, workers: int | None, store: Store) -> OpenEngine:
    """Return how to start the engine of that name.

    Raises
    ------
    InputError
        If there is none, or it cannot work with this store or this number of workers.
    """
    if name not in MAPPED:
        raise InputError(f"engine {name!r}: there is no such engine; expected one of {', '.join(ENGINES)}")
    if workers is not None and workers < 1:
        raise InputError(f"workers: got {workers}; expected 1 or more, or nothing for one a core")
    if not store.shared:
        raise InputError(
            f"store {store.url}: its content is this process's alone; workers need a folder or an S3 server"
        )

    def start(work: Work, items: int) -> Engine:
        from skyfan.engines.local import LocalEngine, default_workers

        wanted = min(workers or default_workers(payload.threads), payload.max_concurrency or items, items)
        return LocalEngine(work, wanted, payload.task_timeout_s)

    return start
