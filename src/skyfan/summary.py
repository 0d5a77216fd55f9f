"""The verdict on a run: complete or not, and every figure, each named for what it is."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from skyfan.measure import utc_now
from skyfan.payload import Payload
from skyfan.photoz.science import Science, scores
from skyfan.photoz.sums import Sums, add
from skyfan.reports import Collected, problems_of
from skyfan.task import ModelRef, Report, Seconds, Task, TaskError

MAX_LISTED = 100
"""Failures and surplus keys that a summary lists; it counts them all."""


class Drive(Struct, frozen=True, kw_only=True):
    """What the driver measured of one drive: from its start, or resume, to the end of its map."""

    started_at: str
    run_wall_s: float
    """From the driver's start until it asked for the summary; the start of its process is not in it."""
    map_wall_s: float
    """From the first task handed to a worker to the last one's end."""
    workers: int = 0
    tasks: int = 0
    """Tasks that ended well in this drive; others were done before."""
    rows: int = 0
    """Rows of those tasks."""
    retries: int = 0


class Failure(Struct, frozen=True):
    """A task that is not done, and why."""

    rank: int
    attempts: int
    partitions: tuple[str, ...]
    error: TaskError


class Spread(Struct, frozen=True):
    """A figure over all tasks."""

    min: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    max: float = 0.0


class Summary(Struct, frozen=True, kw_only=True):
    """What became of a run."""

    schema: int = 1
    run: str
    complete: bool
    """Every task has a valid report and its part, rows in = rows out, and nothing is surplus."""
    problems: list[str] = field(default_factory=list)
    """Why not complete; empty if complete."""
    warnings: list[str] = field(default_factory=list)

    tasks: int
    tasks_ok: int
    tasks_failed: int
    tasks_missing: int
    partitions: int
    bytes_in: int
    """Bytes of the partitions of the tasks that are done."""
    rows_expected: int | None
    """What the index promises; None without one."""
    rows_in: int
    rows_out: int
    rows_flagged: int
    flags: dict[str, int]
    bytes_out: int
    failures: list[Failure] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)

    drive: Drive
    """The last drive alone: after a resume, the earlier ones are not in it."""
    rows_per_s_map_wall: float
    """Rows of the last drive / its map's wall clock."""
    rows_per_s_workers_sum: float
    """Rows / seconds of work over all tasks, times the last drive's workers: what they would reach if never idle."""
    worker_seconds: Seconds
    """Summed over the tasks that are done: seconds of work, not of waiting, nor of attempts that failed."""
    task_seconds: Spread
    worker_peak_memory_mb: Spread
    first_prediction_s: Spread
    """Of cold workers: from the start of the process to its first batch predicted."""

    science: Science | None = None
    """Predictions against true redshifts, of the tasks that are done; None where no partition has true redshifts."""
    science_sums: Sums | None = None
    """What they are computed from, to be added to that of other runs."""

    model: ModelRef | None
    versions: dict[str, list[str]]
    """By program: every version that had a part in the run."""
    ended_at: str

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def decode_summary(data: bytes | None) -> Summary | None:
    """Decode a summary; None for one that is absent, damaged or of another version: the next drive writes it anew."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Summary)
    except (msgspec.DecodeError, RecursionError):
        return None


def judge(payload: Payload, tasks: Sequence[Task], found: Collected, drive: Drive, warnings: Sequence[str]) -> Summary:
    """Add up the reports of a run and say whether it is complete."""
    reports = list(found.ok.values())
    expected = [task.rows for task in tasks]
    problems = problems_of(tasks, found)
    sums = [report.science for _, report in sorted(found.ok.items()) if report.science]
    science_sums = add(*sums) if sums else None
    return Summary(
        run=payload.run_id,
        complete=not problems,
        problems=problems,
        warnings=list(warnings),
        tasks=len(tasks),
        tasks_ok=len(reports),
        tasks_failed=len(found.failed),
        tasks_missing=len(found.missing),
        partitions=sum(len(task.partitions) for task in tasks),
        bytes_in=sum(ref.bytes for report in reports for ref in report.partitions),
        rows_expected=None if None in expected else sum(rows for rows in expected if rows is not None),
        rows_in=sum(report.rows_in for report in reports),
        rows_out=sum(report.rows_out for report in reports),
        rows_flagged=sum(report.rows_flagged for report in reports),
        flags=dict(sum((Counter(report.flags) for report in reports), Counter())),
        bytes_out=sum(report.part.bytes for report in reports if report.part),
        failures=_failures(found),
        surplus=found.surplus[:MAX_LISTED],
        drive=drive,
        rows_per_s_map_wall=round(drive.rows / drive.map_wall_s, 1) if drive.map_wall_s > 0 else 0.0,
        rows_per_s_workers_sum=_workers_sum(reports, drive.workers),
        worker_seconds=_added(reports),
        task_seconds=_spread(report.seconds.total for report in reports),
        worker_peak_memory_mb=_spread(report.peak_memory_mb for report in reports),
        first_prediction_s=_spread(r.first_prediction_s for r in reports if r.first_prediction_s is not None),
        science=scores(science_sums) if science_sums else None,
        science_sums=science_sums,
        model=tasks[0].model if tasks else None,
        versions=_versions(reports),
        ended_at=utc_now(),
    )


def _failures(found: Collected) -> list[Failure]:
    unknown = TaskError("unknown", "the report says nothing", may_pass=False)
    return [
        Failure(rank, report.attempt, tuple(ref.key for ref in report.partitions), report.error or unknown)
        for rank, report in sorted(found.failed.items())[:MAX_LISTED]
    ]


def _workers_sum(reports: Sequence[Report], workers: int) -> float:
    busy = sum(report.seconds.total for report in reports)
    return round(workers * sum(report.rows_out for report in reports) / busy, 1) if busy > 0 else 0.0


def _added(reports: Iterable[Report]) -> Seconds:
    totals: Counter[str] = Counter()
    for report in reports:
        totals.update(msgspec.structs.asdict(report.seconds))
    return Seconds(**{name: round(value, 3) for name, value in totals.items()})


def _spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    if not ordered:
        return Spread()
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return Spread(*(round(value, 3) for value in (ordered[0], statistics.median(ordered), p95, ordered[-1])))


def _versions(reports: Iterable[Report]) -> dict[str, list[str]]:
    seen: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        for program, version in report.versions.items():
            seen[program].add(version)
    return {program: sorted(versions) for program, versions in sorted(seen.items())}


def encode_combined(payload: Payload, found: Collected) -> bytes:
    """Encode the reports of the tasks that are done in the original system's form, one record a task, by rank.

    Its keys are kept; what they hold is what they say: `total_cpu_time (seconds)` is the seconds that the task took,
    where the original had a profiler's sum of nested calls, and `throughput_bps` is bits of partitions read a second.
    """
    records = [_record(payload, report) for _, report in sorted(found.ok.items())]
    return b"[\n" + b",\n".join(map(msgspec.json.encode, records)) + b"\n]\n"


def _record(payload: Payload, report: Report) -> dict[str, Any]:
    total = report.seconds.total or 1e-9
    keys = [ref.key for ref in report.partitions]
    read = sum(ref.bytes for ref in report.partitions)
    return {
        "rank": report.rank,
        "total_cpu_time (seconds)": round(total, 6),
        "total_cpu_memory (MB)": report.peak_memory_mb,
        "total_process_memory (MB)": report.peak_memory_mb,
        "execution_time (seconds/batch)": round(report.seconds.predict / max(report.batches, 1), 6),
        "num_batches": report.batches,
        "batch_size": report.batch_size,
        "device": report.device,
        "throughput_bps": round(8 * read / total, 1),
        "sample_persec": round(report.rows_out / total, 3),
        "result_path": payload.result_path,
        "data_path": keys[0] if len(keys) == 1 else keys,
    }
