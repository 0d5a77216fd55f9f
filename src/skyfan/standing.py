"""Where a run stands, from the store: for whoever looks from elsewhere, or comes back later."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from skyfan.errors import SkyfanError
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.payload import Payload
from skyfan.reports import NO_SUMMARY, OLD_SUMMARY, Collected, collect, problems_of
from skyfan.storage import Bucket
from skyfan.summary import decode_summary
from skyfan.task import Task

if TYPE_CHECKING:
    from skyfan.aws.session import Cloud

State = Literal["running", "complete", "incomplete", "interrupted"]

MAX_SAID = 10
"""Failures that are told with their message."""


class Standing(Struct, frozen=True, kw_only=True):
    """Where a run stands."""

    run: str
    state: State
    """running: a driver holds its lease. complete: its summary and its reports say so. incomplete: it ended, but not
    with all tasks done. interrupted: its driver is gone; running the payload again goes on."""
    driver: str | None
    """The process, or the ARN of the execution on AWS, that drives it now."""
    tasks: int
    tasks_ok: int
    tasks_failed: int
    """Whose last attempt failed; while the run is running some may be tried again."""
    rows: int | None
    """Rows that the run must return, None if no index tells."""
    rows_done: int
    script: str | None = None
    """That its tasks run; None if they run a model. Nobody counts the rows of a script."""
    problems: list[str]

    @property
    def execution(self) -> str | None:
        """ARN of the execution on AWS that drives it, if one does."""
        return self.driver if self.driver is not None and self.driver.startswith("arn:") else None

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def stand(
    payload: Payload, tasks: Sequence[Task], bucket: Bucket, keys: RunKeys, found: Collected | None = None
) -> Standing:
    """Look at a run's lease, reports and summary; `found` are its reports, if they were read just now."""
    lease = read_lease(bucket, keys)
    alive = lease is not None and not lease.lapsed()
    found = found or collect(bucket, keys, tasks)
    summary = decode_summary(bucket.get(keys.summary))
    all_ok = bool(tasks) and len(found.done) == len(tasks) and not found.surplus
    state: State
    if alive:
        state = "running"
    elif summary is None:
        state = "interrupted"
    else:
        state = "complete" if summary.complete and all_ok else "incomplete"
    problems = [] if alive else problems_of(tasks, found)
    if not alive and state != "complete" and not problems:
        problems = [OLD_SUMMARY if summary else NO_SUMMARY]
    expected = [task.rows for task in tasks]
    failures = ((rank, failed.error) for rank, failed in found.failures.items() if failed.error)
    said = [f"task {rank}: {error.message}" for rank, error in islice(failures, MAX_SAID)]
    return Standing(
        run=payload.run_id,
        state=state,
        driver=(lease.execution or lease.driver) if alive and lease is not None else None,
        tasks=len(tasks),
        tasks_ok=len(found.done),
        tasks_failed=len(found.failed),
        rows=None if not expected or None in expected else sum(rows for rows in expected if rows is not None),
        rows_done=found.rows,
        script=tasks[0].script.name if tasks and tasks[0].script else None,
        problems=[*problems, *said],
    )


def checked_with_aws(
    standing: Standing, open_cloud: "Callable[[str], Cloud]", again: "Callable[[], Standing]"
) -> Standing:
    """Hold a standing against what AWS says of its execution: one that was ended from outside still has the lease.

    Parameters
    ----------
    standing : Standing
    open_cloud : callable
        Opens AWS in a region; not called unless an execution drives the run.
    again : callable
        Looks at the run anew: between the first look and AWS's answer it may have ended as it should.
    """
    from skyfan.aws.machine import RUNNING, describe

    if standing.execution is None:
        return standing
    try:
        found = describe(open_cloud(standing.execution.split(":")[3]), standing.execution)
    except SkyfanError as error:
        problem = f"it is not known whether the execution goes on: {error}"
        return msgspec.structs.replace(standing, problems=[problem, *standing.problems])
    status = "GONE" if found is None else found["status"]
    if status == RUNNING:
        return standing
    now = again()
    if now.execution != standing.execution:
        return now
    problem = f"the execution {standing.execution} has ended ({status}); run the payload again to go on"
    return msgspec.structs.replace(now, state="interrupted", driver=None, problems=[problem, *now.problems])
