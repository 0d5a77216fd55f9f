"""The reports of a run as a whole: which tasks are done, and what else lies beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skyfan.errors import SkyfanError
from skyfan.keys import RunKeys
from skyfan.measure import Meter, utc_now
from skyfan.storage import Bucket
from skyfan.task import Report, Task, TaskError, decode_report


@dataclass(frozen=True)
class Collected:
    """What a run has stored, held against its manifest."""

    ok: dict[int, Report]
    """By rank: valid reports whose part is there."""
    failed: dict[int, Report]
    """By rank: reports of tasks whose last attempt failed."""
    missing: list[int]
    """Ranks with neither."""
    surplus: list[str]
    """Keys that no task of the manifest explains."""


def collect(bucket: Bucket, keys: RunKeys, tasks: Sequence[Task]) -> Collected:
    """Read every report that the manifest expects and check that its part is there, in its size."""
    parts = {entry.key: entry.bytes for entry in bucket.list(keys.predictions)}
    present = {entry.key for entry in bucket.list(keys.reports)}
    wanted = [task for task in tasks if keys.report(task.rank) in present]
    reports = map(decode_report, bucket.get_many(keys.report(task.rank) for task in wanted))
    ok: dict[int, Report] = {}
    failed: dict[int, Report] = {}
    for task, report in zip(wanted, reports, strict=True):
        if report is None:
            continue
        key = keys.part(task.rank)
        if (
            report.answers(task)
            and report.part is not None
            and (report.part.key, report.part.bytes) == (key, parts.get(key))
        ):
            ok[task.rank] = report
        elif report.status == "failed" and report.rank == task.rank:
            failed[task.rank] = report
    expected = {keys.report(task.rank) for task in tasks} | {keys.part(task.rank) for task in tasks}
    missing = [task.rank for task in tasks if task.rank not in ok and task.rank not in failed]
    return Collected(ok, failed, missing, sorted((present | parts.keys()) - expected))


def failed_report(task: Task, attempt: int, error: Exception | TaskError, meter: Meter) -> Report:
    """Make the report of an attempt that failed."""
    return Report(
        rank=task.rank,
        status="failed",
        attempt=attempt,
        partitions=task.partitions,
        model=task.model,
        batch_size=task.batch_size,
        seconds=meter.seconds(),
        started_at=meter.started_at,
        ended_at=utc_now(),
        error=error if isinstance(error, TaskError) else describe(error),
    )


def describe(error: Exception) -> TaskError:
    """Say of any error what it was and whether trying again can help."""
    if isinstance(error, SkyfanError):
        return TaskError(type(error).__name__, str(error), error.may_pass, error.ends_run, error.exit_code)
    if isinstance(error, MemoryError):
        advice = "give the machine more memory, or use fewer workers, a smaller batch_size or smaller partitions"
        return TaskError("MemoryError", f"the worker ran out of memory; {advice}", may_pass=True)
    return TaskError(type(error).__name__, f"{type(error).__name__}: {error}", may_pass=False)


def names_of(ranks: Iterable[int], limit: int = 10) -> str:
    """List ranks for a message, the first few and how many more."""
    listed = sorted(ranks)
    shown = ", ".join(map(str, listed[:limit]))
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
