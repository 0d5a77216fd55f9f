"""What a task costs its worker, from reports: seconds by row, by MiB, by task, by start, and how they scatter."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from skyfan.errors import InputError
from skyfan.estimating.bill import MB_BYTES
from skyfan.host import LAMBDA
from skyfan.task import ModelRef, Report
from skyfan.wording import counted


class Rates(Struct, frozen=True, kw_only=True):
    """Seconds of one worker, from reports of tasks."""

    s_per_row: float
    """Reading, predicting and writing."""
    s_per_mb: float
    """Opening and hashing, by MiB of partitions."""
    s_per_task: float
    """What no phase counts."""
    s_to_load: float | None
    """Fetching and loading the model, mean of the tasks that were the first of their worker; None if none was."""
    row_bytes: float


def rates_of(reports: Sequence[Report]) -> Rates:
    """Return the seconds that tasks took, by what they grow with: their sums over all tasks.

    Raises
    ------
    InputError
        If they have no rows or no seconds.
    """
    rows = sum(report.rows_out for report in reports)
    size_bytes = sum(ref.bytes for report in reports for ref in report.partitions)
    by_rows = sum(map(row_s, reports))
    if not rows or not size_bytes or by_rows <= 0:
        raise InputError(
            f"reports: got {counted(len(reports), 'report')} of {rows} rows in {by_rows:g} s; expected tasks that are "
            "done and were timed: run some first"
        )
    by_mb = sum(report.seconds.open + report.seconds.hash for report in reports)
    loads = [report.seconds.model for report in reports if report.first_prediction_s is not None]
    rest = sum(report.seconds.total for report in reports) - by_rows - by_mb - sum(loads)
    return Rates(
        s_per_row=by_rows / rows,
        s_per_mb=by_mb / (size_bytes / MB_BYTES),
        s_per_task=max(0.0, rest / len(reports)),
        s_to_load=statistics.fmean(loads) if loads else None,
        row_bytes=size_bytes / rows,
    )


def cold_start_s(reports: Sequence[Report]) -> float:
    """Return what a new worker takes more than one that is up, s: the median over the first tasks of workers.

    From the start of the process to its first batch predicted, less what any worker takes of that: opening and hashing
    the first partition, and a batch at the task's own rate.

    Raises
    ------
    InputError
        If no task was the first of its worker.
    """
    seconds = []
    for report in reports:
        if report.first_prediction_s is None:
            continue
        opened = (report.seconds.open + report.seconds.hash) / max(1, len(report.partitions))
        batch = row_s(report) / report.rows_out * min(report.batch_size, report.rows_out)
        seconds.append(max(0.0, report.first_prediction_s - opened - batch))
    if not seconds:
        raise InputError(
            f"reports: none of {counted(len(reports), 'task')} was the first of its worker: its start cannot be seen; "
            "expected all reports of a run, or measure with 'skyfan profile MODEL'"
        )
    return statistics.median(seconds)


def spread_of(groups: Iterable[Sequence[Report]]) -> float:
    """Return the standard deviation of ln(seconds by row), pooled over groups of like tasks; 0 if it is not known.

    Tasks of workers that are up are taken, where a group has at least two. Loading the model is not in their seconds.
    """
    squares, freedom = 0.0, 0
    for group in groups:
        warm = [report for report in group if report.first_prediction_s is None]
        used = warm if len(warm) > 1 else group
        logs = [math.log(_work_s(report) / report.rows_out) for report in used]
        if len(logs) > 1:
            squares += statistics.variance(logs) * (len(logs) - 1)
            freedom += len(logs) - 1
    return math.sqrt(squares / freedom) if freedom else 0.0


def _work_s(report: Report) -> float:
    return max(report.seconds.total - report.seconds.model, row_s(report))


def side_by_side(reports: Sequence[Report]) -> int:
    """Return how many tasks went on at once on one machine, at most."""
    if any(report.machine.startswith(LAMBDA) for report in reports):
        return 1
    events = [(time, change, report) for report in reports for time, change in _ends(report)]
    now: defaultdict[str, int] = defaultdict(int)
    most = 1
    for _, change, report in sorted(events, key=lambda event: event[:2]):
        host = report.worker.rpartition(":")[0]
        now[host] += change
        most = max(most, now[host])
    return most


def _ends(report: Report) -> tuple[tuple[str, int], tuple[str, int]]:
    """Return when a task began and ended; UTC times of one form sort as texts, and an end comes before a start."""
    return (report.started_at, 1), (report.ended_at, -1)


def row_s(report: Report) -> float:
    """Return the seconds of a task that grow with its rows: reading, predicting and writing."""
    return report.seconds.read + report.seconds.predict + report.seconds.write


def only_model(reports: Sequence[Report]) -> ModelRef:
    """Return the model of all these tasks.

    Raises
    ------
    InputError
        If they are of several models.
    """
    models = {report.model for report in reports}
    only = models.pop()
    if models or only is None:
        said = ", ".join(sorted(model.name if model else "none" for model in {only, *models}))
        raise InputError(f"reports: of the models {said}; expected those of one model: a profile is of one")
    return only


def versions_of(reports: Sequence[Report]) -> dict[str, str]:
    """Return by program its version in these tasks; several are joined by ' + '."""
    seen: defaultdict[str, set[str]] = defaultdict(set)
    for program, version in itertools.chain.from_iterable(report.versions.items() for report in reports):
        seen[program].add(version)
    return {program: " + ".join(sorted(versions)) for program, versions in sorted(seen.items())}
