"""From a run, as its store shows it, to its measurement."""

import hashlib
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from msgspec import Struct

from skyfan.bench.measurement import AT_LEAST, SCRIPT, CostKind, Measurement
from skyfan.cost import GB_BYTES, Cost, local_run, seed_cost_usd, seed_throughput_all_data_by_one_worker_gb_s
from skyfan.errors import InputError
from skyfan.estimating.bill import MB_BYTES
from skyfan.host import LAMBDA
from skyfan.partitions import PartitionRef
from skyfan.prices import load_prices
from skyfan.runs import Run
from skyfan.summary import Summary
from skyfan.tally import Spread

PHASES = ("model", "open", "hash", "read", "predict", "script", "write")


T = TypeVar("T")


class _Tasks(Struct):
    """What the reports of a run say, one list for all that is needed of each."""

    seconds: list[float]
    cold: list[float]
    warm: list[float]
    peaks: list[float]
    sizes: list[int]
    contents: dict[str, str]
    """Key of a partition -> its hash."""
    batch_sizes: set[int]
    threads: set[int]

    @property
    def distinct(self) -> int | None:
        """Partitions of different content; None if no report says a hash."""
        return len(set(self.contents.values())) or None


def measure_run(run: Run, *, repeat: int = 1, distinct_partitions: int | None = None) -> Measurement:
    """Return what a run was measured to be.

    Parameters
    ----------
    run : Run
    repeat : int
        Which of the runs of one configuration it is, from 1.
    distinct_partitions : int, optional
        If it is known better than by the partitions' hashes.

    Raises
    ------
    UnknownRunError
        If there is no such run.
    """
    payload, summary = run.payload, run.summary
    data = f"{payload.data_bucket}/{payload.data_prefix}"
    if summary is None:
        return Measurement(
            origin="skyfan", run=run.id, complete=False, problem="the run did not come to its end", data=data
        )
    tasks = _read(run)
    planned = [ref for task in run.tasks for ref in task.partitions]
    problem = _problem(summary)
    wall, drive, phases = summary.drive.run_wall_s, summary.drive, summary.worker_seconds
    mean_s = mean_mb = None  # of a run that is not whole: means of survivors mislead
    if summary.complete:
        mean_s, mean_mb = _mean(tasks.seconds), _mean(tasks.peaks)
    whole_drive = drive.tasks == summary.tasks_ok and drive.map_wall_s > 0
    other = phases.total - sum(float(getattr(phases, name)) for name in PHASES)
    return Measurement(
        origin="skyfan",
        run=run.id,
        complete=summary.complete,
        problem=problem,
        **origin_of(summary),
        data=data,
        data_sha256=content_of(planned, tasks.contents),
        tasks=summary.tasks,
        partitions=len(planned),
        distinct_partitions=distinct_partitions if distinct_partitions is not None else tasks.distinct,
        partition_mb=round(statistics.median(tasks.sizes) / MB_BYTES, 3) if tasks.sizes else 0.0,
        bytes_in=summary.bytes_in,
        rows=None if summary.script else summary.rows_out,
        batch_size=_only(tasks.batch_sizes) or 0,
        threads=_only(tasks.threads),
        workers=drive.workers,
        repeat=repeat,
        retries=drive.retries,
        run_wall_s=wall,
        map_wall_s=drive.map_wall_s,
        task_s_mean=mean_s,
        task_s_p50=_spread(tasks.seconds, "median"),
        task_s_p95=_spread(tasks.seconds, "p95"),
        task_s_max=_spread(tasks.seconds, "max"),
        cold_tasks=None if summary.script else len(tasks.cold),
        cold_task_s_p50=_spread(tasks.cold, "median"),
        warm_task_s_p50=None if summary.script else _spread(tasks.warm, "median"),
        first_prediction_s_p50=summary.first_prediction_s.median if tasks.cold else None,
        **{f"{name}_s": getattr(phases, name) for name in PHASES},
        other_s=round(max(0.0, other), 3),
        peak_memory_mb_p50=_spread(tasks.peaks, "median"),
        peak_memory_mb_max=_spread(tasks.peaks, "max"),
        rows_per_s_run_wall=round(drive.rows / wall, 1) if wall > 0 and not summary.script else None,
        rows_per_s_map_wall=summary.rows_per_s_map_wall or None,
        rows_per_s_workers_sum=summary.rows_per_s_workers_sum or None,
        bytes_per_s_map_wall=round(summary.bytes_in / drive.map_wall_s, 1) if whole_drive else None,
        **_cost(run, summary),
        seed_avg_runtime_s=mean_s,
        seed_memory_mb=mean_mb,
        seed_cost_usd=float(seed_cost_usd(summary.tasks, mean_s, mean_mb)) if mean_s and mean_mb else None,
        seed_throughput_gb_s=(
            seed_throughput_all_data_by_one_worker_gb_s(summary.bytes_in / GB_BYTES, mean_s) if mean_s else None
        ),
    )


def origin_of(summary: Summary) -> dict[str, Any]:
    """Return what ran a run, where and when: fields of a measurement."""
    return {
        "engine": _engine(summary),
        "machine": " + ".join(summary.machines),
        "skyfan": ", ".join(summary.versions.get("skyfan", ())),
        "started_at": summary.drive.started_at,
        "model": _program(summary),
        "model_sha256": summary.program.sha256 if summary.program else "",
    }


def _read(run: Run) -> _Tasks:
    found = _Tasks([], [], [], [], [], {}, set(), set())
    for report in run.reports():
        found.seconds.append(report.seconds.total)
        if report.first_prediction_s is None:
            found.warm.append(report.seconds.total)
        else:
            found.cold.append(report.seconds.total)
        found.peaks.append(report.peak_memory_mb)
        found.sizes.extend(ref.bytes for ref in report.partitions)
        found.contents.update({ref.key: ref.sha256 for ref in report.partitions if ref.sha256})
        found.batch_sizes.add(report.batch_size)
        found.threads.add(report.threads)
    return found


def content_of(planned: Iterable[PartitionRef], found: Mapping[str, str]) -> str:
    """Return a hash of what a run was to read, the same for the same content under other names and in other tasks.

    Parameters
    ----------
    planned : iterable of PartitionRef
        All partitions of the run; those of an index have their hash.
    found : mapping
        Key of a partition -> its hash, as the tasks that read it say.

    Returns
    -------
    str
        Empty if the hash of one of them is not known.
    """
    hashes = [found.get(ref.key) or ref.sha256 or "" for ref in planned]
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest() if hashes and all(hashes) else ""


def _problem(summary: Summary) -> str:
    """Say why a run is no measurement of its configuration; nothing if it is."""
    if not summary.complete:
        return summary.problems[0] if summary.problems else "the run is not complete"
    if summary.drive.tasks != summary.tasks:
        done = summary.tasks - summary.drive.tasks
        return f"the run was resumed: {done} of {summary.tasks} tasks were done before its last drive, which was timed"
    return ""


def _program(summary: Summary) -> str:
    if summary.script is not None:
        return f"{SCRIPT}{summary.script.name}"
    return summary.model.name if summary.model is not None else ""


def _engine(summary: Summary) -> str:
    if summary.drive.engine:
        return summary.drive.engine
    return "aws" if any(machine.startswith(LAMBDA) for machine in summary.machines) else "local"


def _cost(run: Run, summary: Summary) -> dict[str, Any]:
    """Return what is known of a run's cost, and its core-hours where cores are one's own: fields of a measurement."""
    if _engine(summary) == "aws":
        bill = run.bill
        return _priced(bill.cost, "billed" if bill.is_whole else AT_LEAST) if bill is not None else {}
    cores, wall_s = summary.drive.workers * summary.threads, summary.drive.run_wall_s
    if not cores:
        return {}
    hours = {"core_hours": round(cores * wall_s / 3600, 6)}
    try:
        prices = load_prices()
    except InputError as error:  # all else is known without them
        return hours | {"cost_problem": str(error)}
    return hours | _priced(local_run(cores, wall_s, prices).rented, "rented")


def _priced(cost: Cost, kind: CostKind) -> dict[str, Any]:
    return {
        "cost_usd": float(cost.total_usd),
        "cost_kind": kind,
        "prices_region": cost.region,
        "prices_read_in": cost.prices_read_in,
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(statistics.fmean(values), 6) if values else None


def _spread(values: Sequence[float], which: Literal["median", "p95", "max"]) -> float | None:
    return float(getattr(Spread.of(values), which)) if values else None


def _only(values: Collection[T]) -> T | None:
    """Return the value if there is but one."""
    return next(iter(values)) if len(values) == 1 else None
