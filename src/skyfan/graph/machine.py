"""A state machine as it is drawn: its states, what leads from one to another, and what lies inside a state."""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

Kind = Literal["Task", "Map", "Parallel", "Choice", "Wait", "Pass", "Succeed", "Fail"]
EdgeKind = Literal["next", "choice", "default", "catch"]


class Retry(Struct, frozen=True):
    """One rule of a state's Retry: which errors, how often, after how long."""

    errors: tuple[str, ...]
    max_attempts: int = 3
    """Attempts after the first; 0: these errors are not tried again."""
    interval_s: float = 1.0
    backoff_rate: float = 2.0
    max_delay_s: float | None = None


class Edge(Struct, frozen=True):
    """What leads from one state to another beside it."""

    source: str
    target: str
    kind: EdgeKind = "next"
    condition: str = ""
    """Of a choice, in words."""
    errors: tuple[str, ...] = ()
    """Of a catch."""


class State(Struct, frozen=True, kw_only=True):
    """One state."""

    name: str
    kind: Kind
    detail: str = ""
    """What it does, in words: `Lambda: InferFunction`, `Distributed Map, EXPRESS children`."""
    notes: tuple[str, ...] = ()
    """Limits, in words: of time, of children at a time."""
    retries: tuple[Retry, ...] = ()
    ends: bool = False
    """Whether the machine ends after it."""
    inner: "tuple[Machine, ...]" = ()
    """What a Map runs for each item, or the branches of a Parallel."""
    comment: str = ""


class Machine(Struct, frozen=True):
    """A state machine, or the part of one that lies inside a Map or Parallel."""

    start: str
    states: tuple[State, ...]
    edges: tuple[Edge, ...]
    comment: str = ""

    def every_state(self) -> Iterator[State]:
        """Yield each state, those inside of others too, in the definition's order."""
        for state in self.states:
            yield state
            for inner in state.inner:
                yield from inner.every_state()
