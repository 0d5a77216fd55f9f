"""What a run will take: wall clock, memory and money, how sure that is, and what will not go as planned."""

import math
from collections.abc import Sequence
from statistics import NormalDist, median
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct, structs

from skyfan.cost import local_run
from skyfan.estimating.basis import Basis
from skyfan.estimating.bill import MB_BYTES, Estimate, estimated_run
from skyfan.estimating.cautions import cautions
from skyfan.estimating.ends import initialize_s, summarize_s
from skyfan.estimating.fleet import RAMP, RAMP_S
from skyfan.estimating.place import Cloud, Place
from skyfan.estimating.simulator import Simulated, Work, simulate
from skyfan.estimating.volume import Volume
from skyfan.prices import Prices

REPEATS = (5, 41)
"""Least and most: five give the tenth, the middle and the ninetieth percentile."""
PLAYED = 1_000_000  # tasks in all repeats together, about: a second or two
MOST = 100_000  # tasks that one repeat plays through, unless more are needed
SURE_Z = NormalDist().inv_cdf(0.9)  # a factor holds eight times of ten


class Quantiles(Struct, frozen=True):
    """A figure over all repeats of the simulation."""

    p10: float
    p50: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quantiles":
        return cls(*(round(float(value), 3) for value in np.quantile(values, (0.1, 0.5, 0.9), method="hazen")))


class Outlook(Struct, frozen=True, kw_only=True):
    """What a run will take."""

    schema: int = 1
    engine: Literal["local", "aws"]
    tasks: int
    partitions: int
    rows: int
    rows_known: bool
    """False: reckoned from bytes."""
    bytes_in: int
    workers: int
    """At work at once, at most, in the middle repeat."""
    started: int
    """Workers that come up, each with a cold start, in the middle repeat."""
    task_s: float
    """Of the mean task, in a worker that is up."""
    largest_task_s: float
    initialize_s: float
    map_wall_s: Quantiles
    """From the first task handed out to the end of the last."""
    summarize_s: float
    whole_run_s: Quantiles
    """Initialize, map and Summarize. The `run_wall_s` of a summary ends before Summarize."""
    utilisation: float
    """Of the workers that come up, over the map."""
    worker_peak_memory_mb: float | None
    """None if it was never measured."""
    memory_mb: int | None
    """Configured, on AWS."""
    cost: Estimate
    """On AWS: the bill, without retries and storage. Here: the run's wall clock on rented machines."""
    core_hours: Quantiles | None
    """Of one's own cores; None on AWS."""
    factor: float
    """Eight times of ten, seconds are within 1/factor to factor times the middle ones."""
    basis: tuple[str, ...]
    warnings: tuple[str, ...]
    curve: tuple[tuple[float, int], ...]
    """Tasks under way over the map, in the middle repeat: (s, tasks)."""
    seed: int
    repeats: int
    played: int
    """Tasks played through in each repeat; fewer than `tasks` if the middle of the map was reckoned."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def outlook(volume: Volume, basis: Basis, place: Place, prices: Prices, *, seed: int = 0) -> Outlook:
    """Say what a run will take, without asking or writing anything.

    The map is simulated some times over. Each repeat has its own chances, and its own speed: as much faster or slower
    as the basis may be off, evenly spread over what is likely. The quantiles are over both.

    Parameters
    ----------
    volume : Volume
        What there is to do.
    basis : Basis
        How fast a worker is, there.
    place : Machine or Cloud
    prices : Prices
    seed : int
        The same seed says the same.

    Raises
    ------
    InputError
        If there is nothing to do, or nobody to do it.
    """
    on_aws = isinstance(place, Cloud)
    work = Work(
        task_s=volume.task_s(basis.speed),
        tasks=volume.tasks,
        spread=basis.task_spread,
        max_attempts=volume.max_attempts,
        initialize_s=initialize_s(volume.tasks, volume.partitions, on_aws=on_aws),
        summarize_s=summarize_s(volume.tasks, on_aws=on_aws),
    )
    played = _repeats(work, place, basis, seed)
    cost, core_hours = _cost(volume, basis, place, prices=prices, work=work, played=played)
    middle = played[len(played) // 2]
    found = Outlook(
        engine="aws" if on_aws else "local",
        tasks=volume.tasks,
        partitions=volume.partitions,
        rows=volume.rows,
        rows_known=volume.rows_known,
        bytes_in=volume.bytes_in,
        workers=middle.peak,
        started=_started(played),
        task_s=math.fsum(work.task_s) / len(work.task_s),
        largest_task_s=max(work.task_s),
        initialize_s=work.initialize_s,
        map_wall_s=Quantiles.of([one.map_s for one in played]),
        summarize_s=work.summarize_s,
        whole_run_s=Quantiles.of([one.run_s for one in played]),
        utilisation=middle.utilisation,
        worker_peak_memory_mb=_peak_memory_mb(volume, basis, remote=place.remote),
        memory_mb=place.setup.memory_mb if isinstance(place, Cloud) else None,
        cost=cost,
        core_hours=core_hours,
        factor=basis.factor,
        basis=_said(volume, basis, place, middle),
        warnings=(),
        curve=middle.curve,
        seed=seed,
        repeats=len(played),
        played=middle.played,
    )
    return structs.replace(found, warnings=tuple(cautions(found, volume, place)))


def _repeats(work: Work, place: Place, basis: Basis, seed: int) -> list[Simulated]:
    """Play the map through at several speeds, from the fastest to the slowest that are likely."""
    fewest, most = REPEATS
    repeats = min(max(fewest, PLAYED // min(work.tasks, PLAYED)), most)
    sigma = math.log(basis.factor) / SURE_Z
    played = []
    for number in range(repeats):
        factor = math.exp(sigma * NormalDist().inv_cdf((number + 0.5) / repeats))
        fleet = place.fleet(basis.speed.s_per_cold_start * factor)
        played.append(simulate(work.scaled(factor), fleet, seed + number, most=MOST))
    return played


def _started(played: Sequence[Simulated]) -> int:
    return round(median(one.started for one in played))


def _cost(
    volume: Volume, basis: Basis, place: Place, *, prices: Prices, work: Work, played: Sequence[Simulated]
) -> tuple[Estimate, Quantiles | None]:
    """Return the bill and, on one's own cores, their hours; the bill is then that of rented machines."""
    if isinstance(place, Cloud):
        speed = structs.replace(basis.speed, s_ends=work.initialize_s + work.summarize_s)
        cold = _started(played)
        return estimated_run(volume.job, speed, place.setup, prices, cold_workers=cold, spread=basis.factor), None
    cores = min(place.workers, volume.tasks) * volume.threads
    whole = Quantiles.of([one.run_s for one in played])
    low, typical, high = (local_run(cores, seconds, prices) for seconds in (whole.p10, whole.p50, whole.p90))
    core_hours = Quantiles(*(round(float(one.core_hours), 6) for one in (low, typical, high)))
    return Estimate(low.rented, typical.rented, high.rented, basis.factor), core_hours


def _peak_memory_mb(volume: Volume, basis: Basis, *, remote: bool) -> float | None:
    """Return what a worker takes; a local file is mapped, and let go of as it is read.

    A fetched partition is held whole, and that before it until the next is there: measured, 25 and 100 MiB took 1.0
    times their size for one and 2.0 times for two.
    """
    if basis.peak_memory_mb is None:
        return None
    held = min(volume.partitions_of_a_task, 2) if remote else 0
    return round(basis.peak_memory_mb + held * volume.largest_partition_bytes / MB_BYTES, 1)


def _said(volume: Volume, basis: Basis, place: Place, middle: Simulated) -> tuple[str, ...]:
    """Return what it is reckoned from, in words."""
    said = [*basis.said, f"all that may be off by a factor of {basis.factor:g} either way, and less eight times of ten"]
    if not volume.rows_known:
        said.append(f"rows are reckoned from bytes, {basis.row_bytes:,.0f} each")
    if isinstance(place, Cloud):
        said.append(
            f"{place.account_concurrency:,} Lambdas at a time for the account, {RAMP:,} more in {RAMP_S:.0f} s, "
            f"and {place.concurrency:,} asked for; {place.setup.architecture}, {place.setup.children} children"
        )
        said.append("without tasks that are tried again, and without storage")
    else:
        said.append("without tasks that are tried again; the cost is that of rented machines for the same time")
    if middle.played < volume.tasks:
        said.append(f"{middle.played:,} tasks were played through, those between them reckoned at the same rate")
    return tuple(said)
