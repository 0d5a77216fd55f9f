"""The reports of a run as a whole: which tasks are done, and what else lies beside them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from skyfan.keys import RunKeys
from skyfan.measure import Meter, utc_now
from skyfan.storage import Bucket
from skyfan.task import PartRef, Report, Task, TaskError, decode_report, describe
from skyfan.wording import counted, first_of

MAX_LISTED = 100
"""Failures that are kept in mind, and failures and surplus keys that a summary lists; all are counted."""

OLD_SUMMARY = "its summary was written before this was mended; run the payload again: it does nothing but sum up"
"""What is wrong with a run of which nothing else is, and whose summary says that it is not complete."""
NO_SUMMARY = "it has no summary; run the payload again: it does nothing but sum up"
"""What is wrong with a run whose tasks are all done, if it was interrupted then."""

Kind = tuple[tuple[str, str], ...]
"""Names and types of a part's columns."""


class Done(NamedTuple):
    """What is kept in mind of a task that is done."""

    rows: int
    part: PartRef | None
    """None of a script, whose output is its own business."""


class Failed(NamedTuple):
    """What is kept in mind of a task whose last attempt failed."""

    attempt: int
    partitions: tuple[str, ...]
    """Keys."""
    error: TaskError | None


@dataclass(frozen=True)
class Collected:
    """What a run has stored, held against its manifest."""

    done: dict[int, Done]
    """By rank, in order: tasks with a valid report whose part is there."""
    failed: list[int]
    """Ranks of tasks whose last attempt failed."""
    failures: dict[int, Failed]
    """By rank, in order: why, of the first `MAX_LISTED` of them."""
    missing: list[int]
    """Ranks with neither."""
    surplus: list[str]
    """Keys that no task of the manifest explains."""
    kinds: dict[Kind, list[int]]
    """Ranks of the tasks that are done, by the columns of their parts."""

    @property
    def rows(self) -> int:
        """In the parts of the tasks that are done."""
        return sum(task.rows for task in self.done.values())


def collect(
    bucket: Bucket, keys: RunKeys, tasks: Sequence[Task], see: Callable[[Report], None] = lambda report: None
) -> Collected:
    """Read every report that the manifest expects and check that its part is there, in its size.

    Parameters
    ----------
    bucket : Bucket
    keys : RunKeys
    tasks : sequence of Task
        The manifest, by rank.
    see : callable
        Told of each valid report as it is read, by rank; reports are not kept.
    """
    parts = {entry.key: entry.bytes for entry in bucket.list(keys.predictions)}
    results = _results(bucket, keys) if any(task.script for task in tasks) else {}
    present = {entry.key for entry in bucket.list(keys.reports)}
    wanted = [task for task in tasks if keys.report(task.rank) in present]
    done: dict[int, Done] = {}
    kinds: dict[Kind, list[int]] = {}
    reports = map(decode_report, bucket.get_many(keys.report(task.rank) for task in wanted))
    for task, report in zip(wanted, reports, strict=True):
        if report is None:
            continue
        stored = results.get(keys.result(task.rank)) if task.script else parts.get(keys.part(task.rank))
        if is_done(report, task, keys, stored):
            done[task.rank] = Done(report.rows_out, report.part)
            kinds.setdefault(tuple(report.columns.items()), []).append(task.rank)
            see(report)
    failed, failures = _failures(bucket, keys, [task for task in tasks if task.rank not in done])
    expected = {keys.report(task.rank) for task in tasks} | {keys.part(task.rank) for task in tasks}
    # names that begin with a dot are a file system's own business (.DS_Store, .nfs0001)
    strange = [key for key in (present | parts.keys()) - expected if not key.rsplit("/", 1)[-1].startswith(".")]
    ended = done.keys() | failed
    missing = [task.rank for task in tasks if task.rank not in ended]
    return Collected(done, failed, failures, missing, sorted(strange), kinds)


def output_key(task: Task, keys: RunKeys) -> str:
    """Return where a task puts its part, or its script its result."""
    return keys.result(task.rank) if task.script else keys.part(task.rank)


def is_done(report: Report, task: Task, keys: RunKeys, stored_bytes: int | None) -> bool:
    """Whether a report says that a task is done, and its output has the size that it says; None is no output."""
    if not report.answers(task):
        return False
    output = report.output
    return output is None or (output.key, output.bytes) == (output_key(task, keys), stored_bytes)


def _results(bucket: Bucket, keys: RunKeys) -> dict[str, int]:
    """Return the results that scripts left, and their sizes."""
    return {entry.key: entry.bytes for entry in bucket.list(keys.result_path) if keys.is_result(entry.key)}


def _failures(bucket: Bucket, keys: RunKeys, tasks: Sequence[Task]) -> tuple[list[int], dict[int, Failed]]:
    """Return the ranks of the tasks that failed, and why the first did."""
    present = {entry.key for entry in bucket.list(keys.failures)}
    wanted = [task for task in tasks if keys.failure(task.rank) in present]
    reports = map(decode_report, bucket.get_many(keys.failure(task.rank) for task in wanted))
    failed: list[int] = []
    failures: dict[int, Failed] = {}
    for task, report in zip(wanted, reports, strict=True):
        if report is None or report.status != "failed" or report.rank != task.rank:
            continue
        failed.append(task.rank)
        if len(failures) < MAX_LISTED:
            failures[task.rank] = Failed(report.attempt, tuple(ref.key for ref in report.partitions), report.error)
    return failed, failures


def problems_of(tasks: Sequence[Task], found: Collected) -> list[str]:
    """Say why a run is not complete, each with what to do; nothing if it is. The only place that judges this."""
    problems = [] if tasks else ["the run has no task: it was interrupted before it had a plan; run the payload again"]
    of = f"of {counted(len(tasks), 'task')}"
    if found.failed:
        said = "what its message says" if len(found.failed) == 1 else "what their messages say"
        named = f"{len(found.failed)} {of} failed ({_tasks(found.failed)})"
        problems.append(f"{named}; mend {said} and run the payload again")
    if found.missing:
        named = f"{len(found.missing)} {of} without a valid report or part ({_tasks(found.missing)})"
        problems.append(f"{named}; run the payload again: it does only what is missing")
    return [*problems, *_unlike_columns(found), *_surplus(found.surplus)]


def _surplus(keys: Sequence[str]) -> list[str]:
    """Say what lies there that no task explains."""
    if not keys:
        return []
    said = "belongs to no task of the run; delete it" if len(keys) == 1 else "belong to no task of the run; delete them"
    return [f"{first_of(keys)}: {said} and run the payload again"]


def _unlike_columns(found: Collected) -> list[str]:
    """Say which parts have other columns than most: they are then not one catalogue."""
    if len(found.kinds) < 2:
        return []
    usual = max(found.kinds, key=lambda kind: len(found.kinds[kind]))
    others = [rank for kind, ranks in found.kinds.items() if kind != usual for rank in ranks]
    sets = [frozenset(kind) for kind in found.kinds]
    differing = frozenset[tuple[str, str]]().union(*sets) - sets[0].intersection(*sets[1:])
    named = ", ".join(sorted(f"{name} ({kind})" for name, kind in differing)) or "their order"
    said = f"the parts of {counted(len(others), 'task')} have other columns than the others ({_tasks(others)})"
    return [f"{said}; they differ in {named}: give all partitions the same tensors and run with --overwrite"]


def failed_report(task: Task, attempt: int, error: Exception | TaskError, meter: Meter) -> Report:
    """Make the report of an attempt that failed."""
    return Report(
        rank=task.rank,
        status="failed",
        attempt=attempt,
        partitions=task.partitions,
        model=task.model,
        script=task.script,
        ending=meter.script,
        batch_size=task.batch_size,
        threads=task.threads,
        seconds=meter.seconds(),
        peak_memory_mb=meter.script.peak_memory_mb if meter.script else 0.0,
        started_at=meter.started_at,
        ended_at=utc_now(),
        error=error if isinstance(error, TaskError) else describe(error),
    )


def _tasks(ranks: Sequence[int]) -> str:
    """Return `task 3`, or `tasks 3, 5`."""
    return f"{'task' if len(ranks) == 1 else 'tasks'} {names_of(ranks)}"


def names_of(ranks: Iterable[int], limit: int = 10) -> str:
    """List ranks for a message, the first few and how many more."""
    listed = sorted(ranks)
    shown = ", ".join(map(str, listed[:limit]))
    return shown if len(listed) <= limit else f"{shown} and {len(listed) - limit} more"
