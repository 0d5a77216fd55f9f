"""The figures of a run, added up report by report: however many tasks there are, one report at a time is looked at."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from skyfan.photoz.sums import Sums, add
from skyfan.task import Report, Seconds

SUMS_AT_ONCE = 64
"""Of tasks, that are added in one go: each addition unpacks and packs histograms."""


class Spread(Struct, frozen=True):
    """A figure over all tasks."""

    min: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return it; zeros for no value. The 95th percentile is that of the nearest rank."""
        ordered = sorted(values)
        if not ordered:
            return cls()
        p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
        return cls(*(round(value, 3) for value in (ordered[0], statistics.median(ordered), p95, ordered[-1])))


class Tally:
    """What the reports of tasks that are done add up to."""

    def __init__(self) -> None:
        self.rows_in = self.rows_out = self.rows_flagged = 0
        self.bytes_in = self.bytes_out = self.results = 0
        self.flags: Counter[str] = Counter()
        self.task_seconds: list[float] = []
        self.peak_memory_mb: list[float] = []
        self.first_prediction_s: list[float] = []
        self._seconds: Counter[str] = Counter()
        self.machines: set[str] = set()
        self._versions: defaultdict[str, set[str]] = defaultdict(set)
        self._sums: list[Sums] = []

    def add(self, report: Report) -> None:
        """Add the report of one more task."""
        self.rows_in += report.rows_in
        self.rows_out += report.rows_out
        self.rows_flagged += report.rows_flagged
        self.bytes_in += sum(ref.bytes for ref in report.partitions)
        self.bytes_out += report.part.bytes if report.part else 0
        self.results += report.ending is not None and report.ending.result is not None
        self.flags.update(report.flags)
        self.task_seconds.append(report.seconds.total)
        self.peak_memory_mb.append(report.peak_memory_mb)
        if report.first_prediction_s is not None:
            self.first_prediction_s.append(report.first_prediction_s)
        if report.machine:
            self.machines.add(report.machine)
        self._seconds.update(msgspec.structs.asdict(report.seconds))
        for program, version in report.versions.items():
            self._versions[program].add(version)
        if report.science:
            self._sums.append(report.science)
            if len(self._sums) == SUMS_AT_ONCE:
                self._sums = [add(*self._sums)]

    @property
    def seconds(self) -> Seconds:
        """Of work, by phase."""
        return Seconds(**{name: round(value, 3) for name, value in self._seconds.items()})

    @property
    def versions(self) -> dict[str, list[str]]:
        """By program: every version that had a part."""
        return {program: sorted(versions) for program, versions in sorted(self._versions.items())}

    @property
    def science(self) -> Sums | None:
        """Of all rows with true redshifts; None if there is none."""
        return add(*self._sums) if self._sums else None
