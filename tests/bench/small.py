"""A small sweep of real runs, on the partitions and the model that a test's store has, and what is seen of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from skyfan.bench.events import SweepEvent, TrialStarted
from skyfan.bench.sweep import Configuration, Sweep, Trial

Seen = list[SweepEvent]

TRIAL = Trial(Configuration("25MB", 2, 4, 1, 1), 1)
"""The one run of `sweep()`."""
PLACE = "bench/try/25MB-2files-batch4-threads1-workers1/1"
"""Where it writes."""


def sweep(**more: Any) -> Sweep:
    base: dict[str, Any] = {
        "name": "try",
        "source": "sky/25MB",
        "bucket": "sky",
        "data_bucket": "sky",
        "result_path": "bench/try",
        "data_prefix": "bench/try/data",
        "keys": {"model": "models/tiny.onnx"},
        "files": (2,),
        "batch_sizes": (4,),
        "workers": (1,),
        "repeats": 1,
    }
    return Sweep(**(base | more))


def runs_in(root: Path) -> list[str]:
    """What the store holds of runs."""
    return sorted(
        str(path.parent.relative_to(root / "sky" / "bench" / "try"))
        for path in (root / "sky" / "bench" / "try").rglob("payload.json")
    )


def started(seen: Seen) -> list[str]:
    return [event.trial.path for event in seen if isinstance(event, TrialStarted)]


def stopping_at(number: int, seen: Seen) -> Callable[[SweepEvent], None]:
    """Interrupt where the run of that number would start."""

    def watch(event: SweepEvent) -> None:
        if isinstance(event, TrialStarted) and event.number == number:
            raise KeyboardInterrupt
        seen.append(event)

    return watch
