"""What a sweep tells whoever watches it; showing it is another module's work."""

from collections.abc import Callable
from dataclasses import dataclass

from skyfan.bench.measurement import Measurement
from skyfan.bench.sweep import Plan, Sweep, Trial


@dataclass(frozen=True)
class Planned:
    """What a sweep is going to do; nothing is started yet."""

    sweep: Sweep
    plan: Plan
    measured: int
    """Runs of the plan that were measured before, and are not run again."""
    left_s: float
    """Wall clock of the other runs, as far as anything tells; the starts of their processes are not in it."""
    unknown: int
    """Of the other runs: of which nothing tells how long they take."""
    to_cut_bytes: int
    """Of partitions that are yet to be cut."""
    free_bytes: int | None
    """On the disk of a folder store; None on a server."""


@dataclass(frozen=True)
class Preparing:
    """Partitions are being cut or repeated."""

    prefix: str
    done: int
    total: int


@dataclass(frozen=True)
class CostKnown:
    """What the runs that are left will cost on AWS, by their estimates."""

    typical_usd: float
    high_usd: float


@dataclass(frozen=True)
class TrialStarted:
    """A run is about to start."""

    trial: Trial
    number: int
    """Of the runs of the plan, those measured before included."""
    total: int
    left_s: float
    """As in `Planned`, this run included."""
    unknown: int


@dataclass(frozen=True)
class TrialEnded:
    """A run has ended, well or not, and its measurement is kept."""

    trial: Trial
    measurement: Measurement


@dataclass(frozen=True)
class Noted:
    """Something worth saying that changes no number."""

    text: str


SweepEvent = Planned | Preparing | CostKnown | TrialStarted | TrialEnded | Noted
SweepWatcher = Callable[[SweepEvent], None]


def unwatched(event: SweepEvent) -> None:
    """Run a sweep without saying anything."""
