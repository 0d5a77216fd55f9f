"""One run, read once for its report: what was asked, what its reports say of time and place, and where it stands."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import structs

from skyfan.bench.measurement import Measurement
from skyfan.bench.measuring import measure_run
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.payload import Payload
from skyfan.reports import Collected, collect
from skyfan.runs import Run
from skyfan.standing import Standing, checked_with_aws, stand
from skyfan.storage import Bucket, Store
from skyfan.summary import Summary
from skyfan.task import ModelRef, Report, ResultRef, ScriptEnd, ScriptRef, Task, TaskError, decode_report
from skyfan.verification import Verification
from skyfan.watching import Billed

if TYPE_CHECKING:
    from skyfan.aws.session import Cloud

MAX_FAILURES = 100
"""Failed tasks whose reports are read."""
YEARS = range(1970, 3000)
"""Of which a run can be."""
SHOWN_PARTS = 10
"""Tasks whose hash is shown."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a worker was at a task. Seconds since 1970, UTC."""

    rank: int
    start: float
    stop: float
    worker: str
    rows: int | None
    """None of a script: nobody counts its rows."""
    attempt: int
    error: TaskError | None = None


@dataclass
class Seen:
    """What the reports of the tasks that are done say."""

    spans: list[Span] = field(default_factory=list)
    untimed: int = 0
    """Reports without times, as of other versions."""
    attempts: Counter[int] = field(default_factory=Counter)
    """Tasks by the attempt that did them."""
    first: list[tuple[int, str, int, str]] = field(default_factory=list)
    """Rank, partition, rows and hash of the part, of the first tasks; of scripts bytes and hash of the result."""
    programs: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Tasks by name and hash of the model, or the script, that they ran."""
    results: int = 0
    """Tasks whose script left a result."""

    slim: list[Report] = field(default_factory=list)
    """The reports themselves, without what takes room: a few hundred bytes each."""

    def add(self, report: Report) -> None:
        """Take in one more report."""
        end = structs.replace(report.ending, last_lines=[]) if report.ending else None
        self.slim.append(structs.replace(report, science=None, columns={}, versions={}, flags={}, ending=end))
        self.attempts[report.attempt] += 1
        program, output = report.model or report.script, report.output
        if program is not None:
            self.programs[program.name, program.sha256] += 1
        self.results += isinstance(output, ResultRef)
        if len(self.first) < SHOWN_PARTS and output is not None:
            keys = [ref.key for ref in report.partitions]
            name = keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"
            amount = output.bytes if isinstance(output, ResultRef) else output.rows
            self.first.append((report.rank, name, amount, output.sha256))
        span = span_of(report)
        if span is None:
            self.untimed += 1
        else:
            self.spans.append(span)


@dataclass(frozen=True)
class Record:
    """A run, as its report needs it."""

    run: Run
    store: Store
    bucket: Bucket
    keys: RunKeys
    payload: Payload
    tasks: list[Task]
    summary: Summary | None
    standing: Standing
    found: Collected
    seen: Seen
    failed_read: int
    """Failed tasks whose reports were read: the first `MAX_FAILURES`."""
    failed: list[Span]
    """Of these, the last attempt, as far as it was timed."""
    failed_ends: dict[int, ScriptEnd]
    """Of these, by rank: how the script of the last attempt ended, if it came to its start."""
    measurement: Measurement
    bill: Billed | None
    """Of the last drive; None if that was not on AWS, or nobody waited for it."""
    execution: str | None
    """ARN of the last execution on AWS; None if there was none."""
    verification: Verification | None = None
    """Only if asked for."""
    unreadable: bool = False
    """There is a summary, but it is damaged or of another version."""
    damage: str = ""
    """What was found wrong with the catalogue as it was read for the report; empty if nothing was."""

    @property
    def id(self) -> str:
        """The run's name, `<bucket>/<result_path>`."""
        return self.run.id

    @property
    def program(self) -> ModelRef | ScriptRef | None:
        """What its tasks run; None if it has no plan yet."""
        if self.summary is not None and self.summary.program is not None:
            return self.summary.program
        return (self.tasks[0].model or self.tasks[0].script) if self.tasks else None

    @property
    def scripted(self) -> bool:
        """Whether its tasks run a script: it has no catalogue then, and nobody counts its rows."""
        return self.payload.is_script

    @property
    def complete(self) -> bool:
        """Whether it may be called so: its summary says it, and the store shows it still."""
        proven = self.verification is None or self.verification.complete
        return self.standing.state == "complete" and proven and not self.damage

    @property
    def before(self) -> int:
        """Tasks that were done before the last drive, which alone was timed and reckoned."""
        return max(0, self.summary.tasks_ok - self.summary.drive.tasks) if self.summary else 0

    @property
    def idle(self) -> bool:
        """Whether nothing was left to do for the last drive, so that it had no worker."""
        return self.summary is not None and self.summary.drive.tasks == self.summary.drive.workers == 0


def read_record(run: Run, store: Store, *, verify: bool = False, cloud: "Cloud | None" = None) -> Record:
    """Read what the store shows of a run; its catalogue and its partitions are not read.

    Parameters
    ----------
    run : Run
    store : Store
        That it lies in.
    verify : bool
        Read, hash and count every part again.
    cloud : Cloud, optional
        Ask AWS whether an execution that holds the lease still goes on.

    Raises
    ------
    UnknownRunError
        If there is no such run.
    """
    payload, tasks = run.payload, run.tasks
    bucket, keys = store.bucket(payload.bucket), RunKeys(payload.result_path)
    seen, lease = Seen(), read_lease(bucket, keys)
    found = collect(bucket, keys, tasks, seen.add)
    summary = run.summary
    standing = stand(payload, tasks, bucket, keys, found)
    if cloud is not None:
        standing = checked_with_aws(standing, lambda _region: cloud, run.status)
    measurement = measure_run(_Told(store, payload, seen.slim))
    seen.spans.sort(key=lambda span: (span.start, span.rank))
    ranks = found.failed[:MAX_FAILURES]
    failures = _failures(bucket, keys, ranks)
    record = Record(
        run=run,
        store=store,
        bucket=bucket,
        keys=keys,
        payload=payload,
        tasks=tasks,
        summary=summary,
        standing=standing,
        found=found,
        seen=seen,
        failed_read=len(ranks),
        failed=[span for span in map(span_of, failures) if span is not None],
        failed_ends={report.rank: report.ending for report in failures if report.ending is not None},
        measurement=measurement,
        bill=run.bill if measurement.engine in {"aws", ""} else None,
        execution=lease.execution if lease else None,
        verification=run.verify() if verify else None,
        unreadable=summary is None and standing.state == "interrupted" and bucket.head(keys.summary) is not None,
    )
    return _measured(record)


def damaged(record: Record, problem: str) -> Record:
    """Return a record of which the catalogue was found to be wrong: it is not complete, nor is its measurement."""
    return _measured(replace(record, damage=problem)) if problem else record


def _measured(record: Record) -> Record:
    """Let the measurement say what the record does: its own word comes from the summary alone."""
    found = record.measurement
    if len(record.seen.slim) != len(record.tasks):  # too few contents would look like repeated data
        found = structs.replace(found, distinct_partitions=None)
    if not record.complete:
        found = structs.replace(found, complete=False, problem=advice(record)[0])
    return replace(record, measurement=found)


def advice(record: Record) -> list[str]:
    """Return what is wrong with a run and what to do, at least one line; nothing if it is complete."""
    summary, proven = record.summary, record.verification
    if record.complete:
        return []
    found = list(record.standing.problems)
    if summary is not None:
        found += [text for text in summary.problems if text not in found]
    if proven is not None:
        found += [text for text in proven.problems[:20] if text not in found]
    if record.damage and record.damage not in found:
        found.append(record.damage)
    if record.standing.state == "running":
        found.insert(0, f"{record.standing.driver} drives it now: make the report again when it has ended")
    elif record.unreadable:
        said = "is there and cannot be read, being damaged or of another version of skyfan"
        found.insert(0, f"{record.keys.summary} {said}: run the same payload again, which writes it anew")
    elif record.standing.state == "interrupted":
        found.insert(0, "its driver is gone: run the same payload again; it does only what is not done")
    return found or ["the summary and the store disagree: run the same payload again, then make the report again"]


class _Told(Run):
    """A run whose reports were read just now, and are not read once more."""

    def __init__(self, store: Store, payload: Payload, reports: list[Report]) -> None:
        super().__init__(store, payload.bucket, payload.result_path)
        self._reports = reports

    def reports(self) -> Iterator[Report]:
        return iter(self._reports)


def _failures(bucket: Bucket, keys: RunKeys, ranks: Sequence[int]) -> list[Report]:
    reports = map(decode_report, bucket.get_many(keys.failure(rank) for rank in ranks))
    return [report for report in reports if report is not None]


def span_of(report: Report) -> Span | None:
    """Return when a task was worked at; None if its report does not say, or not in a way that can be."""
    start, stop = moment(report.started_at), moment(report.ended_at)
    if start is None or stop is None or stop < start:
        return None
    rows = None if report.script is not None else report.rows_out
    return Span(report.rank, start, stop, report.worker, rows, report.attempt, report.error)


def moment(text: str) -> float | None:
    """Return an ISO 8601 time as seconds since 1970; None if it is none, says no zone, or no run can be of it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.timestamp() if found.tzinfo is not None and found.year in YEARS else None
