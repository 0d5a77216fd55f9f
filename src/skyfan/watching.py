"""What a run tells whoever watches it; showing it is another module's work."""

from dataclasses import dataclass
from typing import Protocol, Self

import msgspec

from skyfan.cost import Cost
from skyfan.estimating.bill import Estimate
from skyfan.planning import Plan
from skyfan.summary import Summary
from skyfan.task import Report, TaskError


@dataclass(frozen=True)
class Planned:
    """The run is about to start, or to go on."""

    run: str
    tasks: int
    tasks_done: int
    rows: int | None
    """Of all tasks; None if no index tells."""
    rows_done: int
    bytes: int
    workers: int
    warnings: tuple[str, ...]
    script: str | None = None
    """That its tasks run; None if they run a model. Nobody counts the rows of a script."""

    @classmethod
    def of(cls, plan: Plan, workers: int) -> Self:
        return cls(
            run=plan.payload.run_id,
            tasks=len(plan.tasks),
            tasks_done=len(plan.done),
            rows=plan.rows,
            rows_done=sum(plan.done.values()),
            bytes=plan.size_bytes,
            workers=workers,
            warnings=tuple(plan.warnings),
            script=plan.payload.script if plan.payload.is_script else None,
        )


@dataclass(frozen=True)
class Priced:
    """What the run will cost; nothing is started yet."""

    run: str
    estimate: Estimate
    basis: tuple[str, ...]
    """Whose speed and prices it is reckoned with, and how sure that is."""


@dataclass(frozen=True)
class Started:
    """The run goes on by itself from now on, on AWS."""

    run: str
    execution: str
    """Its ARN."""
    attached: bool
    """It was under way before; nothing new was started."""


@dataclass(frozen=True)
class Waiting:
    """What is going on cannot be seen just now; the run itself is not touched by that."""

    reason: str


@dataclass(frozen=True)
class TaskDone:
    """A task ended well."""

    report: Report


@dataclass(frozen=True)
class TaskRetried:
    """An attempt failed in a way that can pass, and will be made again."""

    rank: int
    attempt: int
    delay_s: float
    error: TaskError


@dataclass(frozen=True)
class TaskGivenUp:
    """A task failed for good."""

    rank: int
    attempts: int
    error: TaskError


@dataclass(frozen=True)
class Ended:
    """The summary is written, or was there already."""

    summary: Summary
    found_finished: bool = False
    """The run was complete before this drive, which did nothing."""
    warnings: tuple[str, ...] = ()
    """What this drive has to say all the same."""


@dataclass(frozen=True)
class Billed:
    """What the run did cost."""

    run: str
    cost: Cost
    is_whole: bool
    """False if it is a lower bound."""
    notes: tuple[str, ...]
    """What of it is measured, what is estimated, and what is not in it."""

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def decode_bill(data: bytes | None) -> Billed | None:
    """Decode a stored bill; None for one that is absent or damaged."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Billed)
    except (msgspec.DecodeError, RecursionError):
        return None


@dataclass(frozen=True)
class Ticked:
    """A second or less has passed: a clock that is shown can be shown anew."""


RunEvent = Priced | Started | Planned | TaskDone | TaskRetried | TaskGivenUp | Waiting | Ticked | Ended | Billed


class Watcher(Protocol):
    """Is told of every event of a run. It must be quick: the driver waits for it."""

    def __call__(self, event: RunEvent) -> None: ...


def unwatched(event: RunEvent) -> None:
    """Watch a run without saying anything."""


def forgiving(watch: Watcher) -> Watcher:
    """Watch with a watcher whose output may go away (a closed pipe, a full disk): the run goes on without it."""
    broken = False

    def guarded(event: RunEvent) -> None:
        nonlocal broken
        if not broken:
            try:
                watch(event)
            except OSError:
                broken = True

    return guarded
