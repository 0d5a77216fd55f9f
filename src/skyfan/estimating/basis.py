"""How fast a worker will be, how sure that is, and where it comes from."""

import re

from msgspec import Struct, structs

from skyfan.aws.forecast import (
    ASSUMED,
    FULL_CORE_MB,
    MEASURED_ON,
    MEASURED_ROWS_PER_S,
    ROW_BYTES,
    SPREAD_SEEN,
    SPREAD_SHIPPED,
    SPREAD_UNKNOWN,
)
from skyfan.estimating.bill import Speed
from skyfan.estimating.ends import LOCAL_AFTER_TASK_S
from skyfan.host import LAMBDA, describe_host, usable_cores
from skyfan.models import DEFAULT
from skyfan.profiling.profile import Point, Profile
from skyfan.task import ModelRef

SURE_HERE = 1.15
"""Of a profile of this machine, at a point that was measured: within it a test holds predictions against real runs."""
SURE_NEAR = 1.3
"""Of a profile of this machine, at another point than was measured."""

SHIPPED_TASK_SPREAD = 0.05  # of tasks of the shipped model on one machine; assumed
SHIPPED_PEAK_MB = 145.0
"""Of a worker with the shipped model and local partitions: benchmarks/results/2026-11-24-scale.json, `shipped`."""
AWS_TASK_SPREAD = 0.25
"""As uneven as the original system's 516 workers: its map took 28 s, its median worker 12.8 s, and the largest of 516
log-normal values is 2.2 times their median at 0.26. Assumed, since nothing of ours ran on AWS."""

_LAMBDA_MB = re.compile(r", (\d+) MB$")


class Basis(Struct, frozen=True, kw_only=True):
    """What an outlook is reckoned from."""

    speed: Speed
    """Of one worker where the tasks will run."""
    task_spread: float
    """Standard deviation of ln(seconds) of tasks of equal work."""
    factor: float
    """Eight times of ten, all seconds together are within 1/factor to factor times what is said."""
    row_bytes: float
    peak_memory_mb: float | None
    """Of a worker, without what it fetches; None if it was not measured."""
    said: tuple[str, ...]
    """All that, for people."""

    def reckoned(self, speed: Speed, factor: float, task_spread: float, said: list[str]) -> "Basis":
        """Return it with the speed where the tasks will run; it is never surer than it was."""
        return structs.replace(
            self,
            speed=speed,
            factor=max(factor, self.factor),
            task_spread=task_spread,
            said=(*self.said, *said),
        )


def local_basis(
    profile: Profile | None, model: ModelRef | None, *, batch_size: int, threads: int, workers: int
) -> Basis:
    """Return what a worker on this machine is reckoned with.

    Parameters
    ----------
    profile : Profile or None
        None: as the shipped model was on the machine that it was measured on.
    model : ModelRef or None
        That will run; None if it is not said, and then it is the profile's, or the shipped one.
    batch_size, threads, workers : int
        Threads of one worker; workers at work side by side.
    """
    crowd = max(1.0, workers * threads / usable_cores())
    shared = [f"{workers} workers of {threads} threads share {usable_cores()} cores"] if crowd > 1 else []
    if profile is None:
        shipped = _shipped(model)
        speed = structs.replace(_slower(ASSUMED, crowd), s_per_mb=0.0, s_per_task=LOCAL_AFTER_TASK_S)
        return shipped.reckoned(speed, shipped.factor, SHIPPED_TASK_SPREAD, shared)
    point = profile.point(batch_size, threads, workers)
    before = max(1.0, point.workers * point.threads / profile.cores) if profile.cores else 1.0
    unlike = point.unlike(batch_size, threads, workers)
    here = profile.machine == describe_host()
    factor = (SURE_NEAR if unlike else SURE_HERE) if here else SPREAD_SHIPPED
    said = [*([unlike] if unlike else []), *shared]
    if not here:
        said.append(f"this machine is another: {describe_host()}")
    speed = _slower(profile.speed(point), max(1.0, crowd / before))
    if profile.origin == "reports":
        speed = structs.replace(speed, s_per_task=speed.s_per_task + LOCAL_AFTER_TASK_S)
    return _measured(profile, model, point).reckoned(speed, factor, profile.spread or SHIPPED_TASK_SPREAD, said)


def aws_basis(
    profile: Profile | None, model: ModelRef | None, *, batch_size: int, threads: int, memory_mb: int
) -> Basis:
    """Return what a Lambda of that memory is reckoned with; parameters as for `local_basis`.

    With less memory than a whole core's it is slower in proportion; with more it is no faster, unless it has as many
    threads.
    """
    if profile is None:
        shipped = _shipped(model)
        slower = max(1.0, FULL_CORE_MB / memory_mb)
        said = ["start-up and transfer are assumed: nothing was measured on AWS", *_core(slower, memory_mb)]
        return shipped.reckoned(_slower(ASSUMED, slower), shipped.factor, AWS_TASK_SPREAD, said)
    point = profile.point(batch_size, threads, workers=1)
    measured, unlike = _measured(profile, model, point), point.unlike(batch_size, threads, workers=1)
    said = [unlike] if unlike else []
    speed = profile.speed(point)
    found = _LAMBDA_MB.search(profile.machine)
    if profile.machine.startswith(LAMBDA) and found:
        slower = _cores(int(found[1]), threads) / _cores(memory_mb, threads)
        said += [f"reckoned for {memory_mb} MB"] if slower != 1 else []
        factor = SPREAD_SEEN if slower == 1 and not unlike else SPREAD_SHIPPED
        return measured.reckoned(_slower(speed, slower), factor, profile.spread or AWS_TASK_SPREAD, said)
    slower = threads / _cores(memory_mb, threads)
    speed = Speed(
        s_per_row=speed.s_per_row,
        s_per_mb=max(speed.s_per_mb, ASSUMED.s_per_mb),
        s_per_task=max(speed.s_per_task, ASSUMED.s_per_task),
        s_per_cold_start=max(speed.s_per_cold_start, ASSUMED.s_per_cold_start),
    )
    said += ["a core of AWS is taken to be as fast as one of that machine; start-up and transfer are assumed"]
    said += _core(slower, memory_mb)
    return measured.reckoned(_slower(speed, slower), SPREAD_SHIPPED, AWS_TASK_SPREAD, said)


def _shipped(model: ModelRef | None) -> Basis:
    """Return what is known without a profile."""
    other = model is not None and model.name != DEFAULT
    said = f"speed of {DEFAULT}: {MEASURED_ROWS_PER_S:.0f} rows/s on one core of an AMD EPYC, measured on {MEASURED_ON}"
    return Basis(
        speed=ASSUMED,
        task_spread=SHIPPED_TASK_SPREAD,
        factor=SPREAD_UNKNOWN if other else SPREAD_SHIPPED,
        row_bytes=ROW_BYTES,
        peak_memory_mb=None if other else SHIPPED_PEAK_MB,
        said=(
            said,
            *([f"{model.name} is another model, and was never measured"] if model is not None and other else []),
            "'skyfan profile' measures yours: give it with --speed, or an earlier run with --from-run",
        ),
    )


def _measured(profile: Profile, model: ModelRef | None, point: Point) -> Basis:
    """Return what a profile says; one of another model tells next to nothing."""
    other = model is not None and model.sha256 != profile.model.sha256
    said = [_origin(profile, point)]
    if model is not None and other:
        said.append(f"{model.name} is another model: measure it with 'skyfan profile'")
    return Basis(
        speed=profile.speed(point),
        task_spread=profile.spread,
        factor=SPREAD_UNKNOWN if other else 1.0,
        row_bytes=profile.row_bytes,
        peak_memory_mb=point.peak_memory_mb,
        said=(*said, *profile.notes),
    )


def _origin(profile: Profile, point: Point) -> str:
    how = "measured by 'skyfan profile'" if profile.origin == "measured" else "as a run's reports have it"
    where = profile.machine or "a machine that is not known"
    rate = f"{point.rows_per_s:,.0f} rows/s per worker on {where}"
    return f"speed of {profile.model.name}: {rate}, {how}, {profile.measured_at[:10]}"


def _core(slower: float, memory_mb: int) -> list[str]:
    return [f"{memory_mb} MB are 1/{slower:.1f} of the cores that it could use"] if slower > 1 else []


def _cores(memory_mb: int, threads: int) -> float:
    """Return how many cores' worth of work a Lambda does."""
    return min(float(threads), memory_mb / FULL_CORE_MB)


def _slower(speed: Speed, factor: float) -> Speed:
    """Return a worker's speed with less of a core; Initialize and Summarize are as they were."""
    return Speed(
        s_per_row=speed.s_per_row * factor,
        s_per_mb=speed.s_per_mb * factor,
        s_per_task=speed.s_per_task * factor,
        s_per_cold_start=speed.s_per_cold_start * factor,
        s_ends=speed.s_ends,
    )
