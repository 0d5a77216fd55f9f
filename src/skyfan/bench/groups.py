"""Runs by configuration: medians and ranges over those that are whole, and how many were left out."""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct, structs

from skyfan.bench.measurement import AT_LEAST, Measurement
from skyfan.cost import GB_BYTES

_REPEATED = "repeated"  # a folder that 'skyfan bench' makes
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s?([KMGT])i?B", re.ASCII | re.IGNORECASE)
_IN_MB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
NEAR = 0.1
"""Share by which partitions may differ from the size that their folder is called by: they hold whole rows."""


class Origin(Struct, frozen=True, order=True):
    """What must be the same for figures of two runs to be comparable."""

    origin: str
    engine: str
    machine: str
    skyfan: str
    model: str
    model_sha256: str
    data: str
    """Without the name of its partitions' own size: the same survey in other partitions is the same data."""


class Configuration(Struct, frozen=True, order=True):
    """What a run was asked to do."""

    origin: Origin
    threads: int | None
    batch_size: int
    partition_mb: float
    """Nominal: 25.01 MiB are called 25."""
    partitions: int
    tasks: int
    workers: int
    repeated: bool = False
    """Whether some partitions have the same content: data were repeated to be more than is on disk."""
    content: str = ""
    """Hash of what was read; empty if not known."""

    @property
    def crew(self) -> str:
        """How many workers, in words: on AWS and in the original system every task has its own."""
        return "one per task" if self.workers and self.workers >= self.tasks > 1 else str(self.workers or "not known")


class Quantiles(Struct, frozen=True):
    """A figure over the repeats of a configuration."""

    count: int
    """Runs that know it."""
    min: float
    q25: float
    median: float
    q75: float
    max: float


class Group(Struct, frozen=True):
    """The runs of one configuration."""

    configuration: Configuration
    used: tuple[Measurement, ...]
    """Complete, and nothing is wrong with them: every figure is of these."""
    left_out: tuple[Measurement, ...]
    """Not complete, or not a measurement of this configuration; each says why."""

    def values(self, name: str) -> list[float]:
        """Return a field of every run that is used and knows it; of costs those of `priced`."""
        runs = self.priced if name == "cost_usd" else self.used
        return [float(value) for run in runs if (value := getattr(run, name)) is not None]

    def quantiles(self, name: str) -> Quantiles | None:
        """Return a field's median and range over the runs; None if none knows it."""
        ordered = sorted(self.values(name))
        if not ordered:
            return None
        q25, q75 = (_quantile(ordered, share) for share in (0.25, 0.75))
        return Quantiles(len(ordered), ordered[0], q25, statistics.median(ordered), q75, ordered[-1])

    def median(self, name: str) -> float | None:
        """Return a field's median over the runs; None if none knows it."""
        values = self.values(name)
        return statistics.median(values) if values else None

    @property
    def data_gb(self) -> float | None:
        """Data read by a whole run; None if no run says it."""
        sizes = [run.bytes_in for run in self.used if run.bytes_in]
        return statistics.median(sizes) / GB_BYTES if sizes else None

    @property
    def distinct(self) -> int | None:
        """Partitions of different content, the fewest of any run; None if no run says it."""
        known = (run.distinct_partitions for run in self.used or self.left_out if run.distinct_partitions)
        return min(known, default=None)

    @property
    def repeated(self) -> bool:
        """Whether data were repeated to be more than is on disk."""
        return self.configuration.repeated

    @property
    def priced(self) -> tuple[Measurement, ...]:
        """Runs that costs are of: a bill with lines missing is none beside whole ones."""
        known = tuple(run for run in self.used if run.cost_usd is not None)
        return tuple(run for run in known if run.cost_kind != AT_LEAST) or known

    @property
    def cost_kind(self) -> str:
        """What kind of cost `cost_usd` is; several are named all."""
        return " or ".join(sorted({run.cost_kind for run in self.priced if run.cost_kind}))


def groups(measurements: Iterable[Measurement]) -> list[Group]:
    """Put the runs of one configuration together.

    Parameters
    ----------
    measurements : iterable of Measurement
        Of any origin, machine, model and data: what differs in these is never put together.

    Returns
    -------
    list of Group
        Ordered by origin, then threads, batch size, partition size, number of partitions and workers. A group may have
        runs that are left out only. Such a run that does not say what it read is counted with those of its
        configuration that do, if these all read the same.
    """
    keys = [(configuration(run), run) for run in measurements]
    known: defaultdict[Configuration, set[Configuration]] = defaultdict(set)
    for key, _ in keys:
        if key.content:
            known[structs.replace(key, content="")].add(key)
    found: dict[Configuration, list[Measurement]] = {}
    for key, run in keys:
        alike = known.get(key, set()) if not is_usable(run) else set()
        found.setdefault(next(iter(alike)) if len(alike) == 1 else key, []).append(run)
    return [
        Group(
            key,
            tuple(run for run in found[key] if is_usable(run)),
            tuple(run for run in found[key] if not is_usable(run)),
        )
        for key in sorted(found, key=_order)
    ]


def is_usable(run: Measurement) -> bool:
    """Whether a run is whole, and a measurement of what it was asked to do."""
    return run.complete and not run.problem


def configuration(run: Measurement) -> Configuration:
    """Return what a run was asked to do."""
    origin = Origin(
        run.origin,
        run.engine,
        run.machine,
        run.skyfan,
        run.model,
        run.model_sha256,
        _without_size(run.data, run.partition_mb),
    )
    return Configuration(
        origin=origin,
        threads=run.threads,
        batch_size=run.batch_size,
        partition_mb=nominal_mb(run.partition_mb),
        partitions=run.partitions,
        tasks=run.tasks,
        workers=run.workers,
        repeated=run.distinct_partitions is not None and run.distinct_partitions < run.partitions,
        content=run.data_sha256,
    )


def nominal_mb(size_mb: float) -> float:
    """Return the size that a partition is called by: whole MB where that is within 0.5 %, else three digits."""
    whole = round(size_mb)
    return float(whole) if whole and abs(size_mb - whole) <= 0.005 * whole else float(f"{size_mb:.3g}")


def _without_size(data: str, partition_mb: float) -> str:
    """Return where data lie without the folders that only say how they are cut, and that they are repeated."""
    return "/".join(name for name in data.split("/") if name != _REPEATED and not _is_size(name, partition_mb))


def _is_size(name: str, partition_mb: float) -> bool:
    """Whether a folder is called by the size of the partitions in it."""
    found = _SIZE.fullmatch(name)
    if not found:
        return False
    size_mb = float(found[1]) * _IN_MB[found[2].upper()]
    return abs(size_mb - partition_mb) <= NEAR * size_mb


def _order(key: Configuration) -> tuple[object, ...]:
    return (
        key.origin,
        key.threads or 0,
        key.batch_size,
        key.partition_mb,
        -key.partitions,
        key.tasks,
        key.workers,
        key.repeated,
        key.content,
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile by linear interpolation between the values next to it."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
