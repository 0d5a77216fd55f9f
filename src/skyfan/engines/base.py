"""The one small interface between the map and whatever runs its tasks."""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from skyfan.task import TaskError

OK, ERROR = 0, 1
"""How a worker's answer begins: with the result, or with a TaskError as JSON."""


@dataclass(frozen=True)
class Work:
    """What a worker does, said so that any process can find it."""

    function: str
    """`module:name` of a function that takes `context` once a worker, and returns one of (item, attempt) -> result."""
    context: str = ""


@dataclass(frozen=True)
class Outcome:
    """How one attempt at one item ended: with a result, or with an error."""

    number: int
    result: bytes = b""
    error: TaskError | None = None


class Engine(Protocol):
    """Runs one function on many items, `slots` at a time. Use it in a with statement: leaving it ends its workers."""

    name: str
    """As `skyfan run --engine` has it."""

    @property
    def slots(self) -> int:
        """How many items can be under way at once, now: on a cluster workers come and go."""
        ...

    def submit(self, number: int, attempt: int, item: bytes) -> None:
        """Hand an item to an idle worker. The caller keeps to `slots`."""
        ...

    def wait(self, timeout_s: float | None) -> list[Outcome]:
        """Return what has ended, at least one outcome unless the time is over first.

        Raises
        ------
        ClusterError
            If there is nothing left that could run an item.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
