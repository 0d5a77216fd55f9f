"""The verdict on a run: complete or not, and every figure, each named for what it is."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct, field

from skyfan.measure import utc_now
from skyfan.payload import Payload
from skyfan.photoz.science import Science, scores
from skyfan.photoz.sums import Sums
from skyfan.reports import MAX_LISTED, Collected, problems_of
from skyfan.tally import Spread, Tally
from skyfan.task import ModelRef, ScriptRef, Seconds, Task, TaskError
from skyfan.wording import counted


class Drive(Struct, frozen=True, kw_only=True):
    """What the driver measured of one drive: from its start, or resume, to the end of its map."""

    started_at: str
    run_wall_s: float
    """From the driver's start until it asked for the summary; the start of its process is not in it."""
    map_wall_s: float
    """From the first task handed to a worker to the last one's end."""
    engine: str = ""
    """Where the tasks ran: `local`, `dask` or `aws`."""
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


class Summary(Struct, frozen=True, kw_only=True):
    """What became of a run."""

    schema: int = 1
    run: str
    complete: bool
    """Every task has a valid report and its part, rows in = rows out, and nothing is surplus. With a script: every
    task's ended well, and the result that it left is there."""
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
    script: ScriptRef | None = None
    results: int = 0
    """Tasks whose script left a result, of those that are done."""
    threads: int = 1
    """Of one worker."""
    machines: list[str] = field(default_factory=list)
    """On which tasks ran; several are several speeds."""
    versions: dict[str, list[str]]
    """By program: every version that had a part in the run."""
    ended_at: str

    @property
    def program(self) -> ModelRef | ScriptRef | None:
        """What the tasks ran."""
        return self.model or self.script

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def manifest_fault(summary: Summary, tasks: int) -> str | None:
    """Say what is wrong with a manifest of so many tasks beside a summary; None if nothing is."""
    if summary.tasks == tasks:
        return None
    return (
        f"has {counted(tasks, 'task')}, its summary counts {summary.tasks:,}: it was changed by hand; run with "
        "--overwrite to plan anew"
    )


def decode_summary(data: bytes | None) -> Summary | None:
    """Decode a summary; None for one that is absent, damaged or of another version: the next drive writes it anew."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Summary)
    except (msgspec.DecodeError, RecursionError):
        return None


def judge(
    payload: Payload,
    tasks: Sequence[Task],
    found: Collected,
    tally: Tally,
    drive: Drive,
    *,
    warnings: Sequence[str],
) -> Summary:
    """Say whether a run is complete, and everything else that its reports tell.

    Parameters
    ----------
    payload : Payload
    tasks : sequence of Task
        The manifest.
    found : Collected
        What the run has stored.
    tally : Tally
        Of the reports that were found.
    drive : Drive
    warnings : sequence of str
    """
    expected = [task.rows for task in tasks]
    problems = problems_of(tasks, found)
    sums = tally.science
    busy = sum(tally.task_seconds)
    return Summary(
        run=payload.run_id,
        complete=not problems,
        problems=problems,
        warnings=list(warnings),
        tasks=len(tasks),
        tasks_ok=len(found.done),
        tasks_failed=len(found.failed),
        tasks_missing=len(found.missing),
        partitions=sum(len(task.partitions) for task in tasks),
        bytes_in=tally.bytes_in,
        rows_expected=None if None in expected else sum(rows for rows in expected if rows is not None),
        rows_in=tally.rows_in,
        rows_out=tally.rows_out,
        rows_flagged=tally.rows_flagged,
        flags=dict(tally.flags),
        bytes_out=tally.bytes_out,
        failures=_failures(found),
        surplus=found.surplus[:MAX_LISTED],
        drive=drive,
        rows_per_s_map_wall=round(drive.rows / drive.map_wall_s, 1) if drive.map_wall_s > 0 else 0.0,
        rows_per_s_workers_sum=round(drive.workers * tally.rows_out / busy, 1) if busy > 0 else 0.0,
        worker_seconds=tally.seconds,
        task_seconds=Spread.of(tally.task_seconds),
        worker_peak_memory_mb=Spread.of(tally.peak_memory_mb),
        first_prediction_s=Spread.of(tally.first_prediction_s),
        science=scores(sums) if sums else None,
        science_sums=sums,
        model=tasks[0].model if tasks else None,
        script=tasks[0].script if tasks else None,
        results=tally.results,
        threads=payload.threads,
        machines=sorted(tally.machines),
        versions=tally.versions,
        ended_at=utc_now(),
    )


def _failures(found: Collected) -> list[Failure]:
    unknown = TaskError("unknown", "the report says nothing", may_pass=False)
    return [
        Failure(rank, failed.attempt, failed.partitions, failed.error or unknown)
        for rank, failed in found.failures.items()
    ]
