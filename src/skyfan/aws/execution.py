"""An execution of the state machine: the three stages, with what an execution needs besides.

One report is held at a time, and nothing that grows with the number of tasks is returned: it lies in the store.
"""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from skyfan import planning, stages
from skyfan.aws.messages import Begun, Ended, Inferred, Item, Start, Verdict
from skyfan.aws.script_image import refusal
from skyfan.claim import read_claim
from skyfan.errors import AttemptsSpentError, CodeError, PayloadError, SkyfanError, StoreError
from skyfan.keys import RunKeys
from skyfan.lease import check_for, hold_for, release_for
from skyfan.manifest import decode_manifest, decode_tasks, encode_manifest
from skyfan.mapping import Policy
from skyfan.measure import utc_now
from skyfan.payload import DEFAULT_ATTEMPTS, Payload, parse_payload
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive, Summary, decode_summary
from skyfan.task import Report, Task, TaskError, decode_report
from skyfan.wording import counted

MAX_ATTEMPTS = DEFAULT_ATTEMPTS
"""Of a task on the usual worker; a state machine's number of retries is a constant of its definition."""
CONCURRENCY_VARIABLE = "SKYFAN_MAX_CONCURRENCY"
DEFAULT_CONCURRENCY = 500
"""An account has 1,000 concurrent Lambdas unless it asked for more. Above that they are throttled: tasks then fail."""
MAX_ITEM_BYTES = 200_000
"""Of a task as JSON. Step Functions takes 256 KiB a state, and adds its own to it."""
MAX_MESSAGE = 1000


def begin(start: Start, store: Store, *, allow_scripts: bool = False) -> Begun:
    """Plan a run, and store what of it is to be done.

    Parameters
    ----------
    start : Start
    store : Store
    allow_scripts : bool
        Whether the stack has a function that runs scripts.

    Raises
    ------
    ScriptsRefusedError
        If the payload runs a script, and the stack none.
    ClaimedError
        If the result path belongs to another payload, or another driver is at work there.
    SkyfanError
        As `skyfan.stages.initialize`.
    """
    started_at = utc_now()
    request = start.request
    payload, warnings = parse_payload(request.payload, source="of the execution")
    _check_limits(payload)
    if payload.is_script and payload.script is not None and not allow_scripts:
        raise refusal(payload.script)
    bucket, keys = store.bucket(payload.bucket), RunKeys(payload.result_path)
    _check_sizes(planning.preview(payload, store, overwrite=request.overwrite).pending)
    with hold_for(bucket, keys, start.execution) as check:
        plan = stages.initialize(payload, store, overwrite=request.overwrite, check=check)
        check()
        bucket.put(keys.pending, encode_manifest(plan.pending))
    concurrency, capped = _concurrency(payload)
    tolerated = min(Policy.of(payload, len(plan.tasks)).tolerated_failures, len(plan.tasks))
    return Begun(
        execution=start.execution,
        payload=payload.to_mapping(),
        bucket=payload.bucket,
        pending_key=keys.pending,
        map_prefix=keys.map_results,
        tasks=len(plan.tasks),
        pending=len(plan.pending),
        max_concurrency=concurrency,
        max_attempts=payload.max_attempts,
        task_timeout_s=math.ceil(payload.task_timeout_s),
        # one limit says all: it is the smaller of the payload's two, and counts failures against the whole run
        tolerated_failure_percentage=100.0 if tolerated else 0.0,
        tolerated_failure_count=tolerated,
        started_at=started_at,
        planned_at=utc_now(),
        warnings=[*warnings, *capped, *plan.warnings],
        found_finished=not plan.pending and not plan.surplus,
        script=plan.tasks[0].script,
    )


def infer_item(item: Item, store: Store, *, allow_scripts: bool = False, time_left_s: float | None = None) -> Inferred:
    """Do one task.

    Parameters
    ----------
    item : Item
    store : Store
    allow_scripts, time_left_s
        As for `skyfan.stages.infer`.

    Raises
    ------
    AttemptsSpentError
        Instead of an error that may pass, if this was the last attempt.
    SkyfanError
        As `skyfan.stages.infer`.
    """
    bucket = store.bucket(item.task.bucket)
    attempt = _attempt(item, bucket)
    refused = _refused(item, allow_scripts=allow_scripts)
    if refused is not None:
        stages.record_failure(item.task, bucket, attempt, refused)
        raise refused
    try:
        report = stages.infer(item.task, store, attempt, allow_scripts=allow_scripts, time_left_s=time_left_s)
    except SkyfanError as error:
        if error.may_pass and attempt >= item.max_attempts:
            raise AttemptsSpentError(f"after {counted(attempt, 'attempt')}: {error}") from error
        raise
    return Inferred(report.rank, report.rows_out)


def _refused(item: Item, *, allow_scripts: bool) -> SkyfanError | None:
    """Return why a task's script must not run; what may write to the result path must not decide what runs."""
    if item.task.script != item.script:
        changed = RunKeys(item.task.result_path).pending
        return CodeError(
            f"task {item.task.rank}: runs another script than Initialize planned: {changed} was changed by hand; run "
            "the payload again"
        )
    if item.script is not None and not allow_scripts:  # as when the image was taken from the stack meanwhile
        return refusal(item.script.said)
    return None


def end(ended: Ended, store: Store) -> Verdict:
    """Sum a run up, however its map ended.

    Raises
    ------
    LeaseLostError
        If another driver took the run over, as after the execution was stopped.
    SkyfanError
        As `skyfan.stages.summarize`.
    """
    begun = ended.begun
    payload, _ = parse_payload(begun.payload, source="of the execution")
    bucket, keys = store.bucket(payload.bucket), RunKeys(payload.result_path)
    verdict = _sum_up(ended, payload, store)
    release_for(bucket, keys, begun.execution)
    return verdict


def _sum_up(ended: Ended, payload: Payload, store: Store) -> Verdict:
    begun, bucket, keys = ended.begun, store.bucket(payload.bucket), RunKeys(payload.result_path)
    earlier = decode_summary(bucket.get(keys.summary)) if begun.found_finished else None
    if earlier is not None and earlier.complete and read_claim(bucket, keys):
        return _verdict(begun, earlier)  # nothing was done, so that what was measured then stands
    tasks = _stored_tasks(bucket, keys.manifest, decode_manifest)
    drive = _measure(ended, bucket, keys, _stored_tasks(bucket, keys.pending, decode_tasks) if begun.pending else [])

    def check() -> None:
        check_for(bucket, keys, begun.execution)

    return _verdict(begun, stages.summarize(payload, tasks, store, drive, begun.warnings, check=check))


def _check_limits(payload: Payload) -> None:
    if payload.max_attempts > MAX_ATTEMPTS:
        raise PayloadError(
            f"payload: max_attempts is {payload.max_attempts}; expected at most {MAX_ATTEMPTS} on AWS, where a task "
            "that ran out of memory or time is tried once more on a larger worker"
        )


def _check_sizes(tasks: Sequence[Task]) -> None:
    for task in tasks:
        size = len(msgspec.json.encode(task))
        if size > MAX_ITEM_BYTES:
            raise PayloadError(
                f"payload: task {task.rank} with its {counted(len(task.partitions), 'partition')} takes {size} bytes "
                f"as JSON; expected at most {MAX_ITEM_BYTES}, which a state of Step Functions can hold; give a larger "
                "world_size, or none for one task a partition"
            )


def _concurrency(payload: Payload) -> tuple[int, list[str]]:
    """Return how many tasks may be under way at once, and a warning if that is fewer than asked for."""
    most = int(os.environ.get(CONCURRENCY_VARIABLE) or DEFAULT_CONCURRENCY)
    asked = payload.max_concurrency or most
    if asked <= most:
        return asked, []
    return most, [f"max_concurrency is {asked}, but this stack starts {most} tasks at a time (MaxConcurrency)"]


def _attempt(item: Item, bucket: Bucket) -> int:
    """Return the number of an attempt, by what earlier ones of the same execution left; throttled starts are none.

    A worker that was killed leaves nothing. Of that, the first attempt on the larger worker writes the report, so that
    the task's failure is known should this one be killed too.
    """
    if item.caught is None and item.retry_count == 0:
        return 1
    earlier = decode_report(bucket.get(RunKeys(item.task.result_path).failure(item.task.rank)))
    ours = earlier is not None and earlier.started_at >= item.started_at
    last = earlier.attempt if earlier is not None and ours else 0
    if item.caught is None or item.retry_count:
        return last + 1
    kind = earlier.error.kind if earlier is not None and ours and earlier.error is not None else None
    if kind != item.caught.get("Error"):
        last += 1
        stages.record_failure(item.task, bucket, last, _death(item.caught))
    return last + 1


def _death(caught: dict[str, str]) -> TaskError:
    cause = caught.get("Cause", "")[:MAX_MESSAGE]
    return TaskError(
        "WorkerError",
        f"the worker ended without a report, as when memory or time runs out ({caught.get('Error')}: {cause}); give "
        "the functions more of both, or make smaller partitions",
        may_pass=True,
    )


def _stored_tasks(bucket: Bucket, key: str, decode: Callable[[bytes, str], list[Task]]) -> list[Task]:
    data = bucket.get(key)
    if data is None:
        raise StoreError(f"{bucket.name}/{key}: is not there, though Initialize wrote it; start the payload again")
    return decode(data, f"{bucket.name}/{key}")


def _measure(ended: Ended, bucket: Bucket, keys: RunKeys, tasks: Sequence[Task]) -> Drive:
    """Measure an execution by the reports of the tasks that it had to do."""
    begun = ended.begun
    reports = _answers(tasks, bucket.get_many(keys.report(task.rank) for task in tasks))
    done = rows = retries = 0
    spans: list[tuple[str, str]] = []
    for report in reports:
        done, rows, retries = done + 1, rows + report.rows_out, retries + report.attempt - 1
        spans.append((report.started_at, report.ended_at))
    return Drive(
        started_at=begun.started_at,
        run_wall_s=_seconds_between(begun.started_at, utc_now()),
        map_wall_s=_seconds_between(begun.planned_at, ended.map_ended_at) if tasks else 0.0,
        engine="aws",
        workers=most_at_once(spans),
        tasks=done,
        rows=rows,
        retries=retries,
    )


def _answers(tasks: Sequence[Task], stored: Iterable[bytes | None]) -> Iterable[Report]:
    for task, data in zip(tasks, stored, strict=True):
        report = decode_report(data)
        if report is not None and report.answers(task):
            yield report


def most_at_once(spans: Iterable[tuple[str, str]]) -> int:
    """Return how many of these spans of time overlap at most: as many workers there were. One's end is no overlap."""
    changes = sorted([(start, 1) for start, _ in spans] + [(stop, -1) for _, stop in spans])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _seconds_between(start: str, stop: str) -> float:
    """Return the seconds from one ISO 8601 time to another; the two clocks may differ by less than they take."""
    return round(max(0.0, (datetime.fromisoformat(stop) - datetime.fromisoformat(start)).total_seconds()), 3)


def _verdict(begun: Begun, summary: Summary) -> Verdict:
    """Say how an execution ends.

    As failed if its map failed, if more tasks are not done than the payload tolerates, or if one failed of what every
    other would meet; what it tolerates is a success, whose status is `incomplete` all the same.
    """
    missing = summary.tasks - summary.tasks_ok
    hopeless = missing > begun.tolerated_failure_count or any(found.error.ends_run for found in summary.failures)
    failed = not summary.complete and (begun.map_error is not None or hopeless)
    said = [f"{summary.run}: {summary.tasks_ok} of {counted(summary.tasks, 'task')} done", *summary.problems]
    if failed and begun.map_error is not None:
        said.append(f"the map ended with {begun.map_error.get('Error', 'an unknown error')}")
    said += [f"the first failure: {failure.error.message}" for failure in summary.failures[:1]]
    return Verdict(
        run=summary.run,
        status="complete" if summary.complete else "failed" if failed else "incomplete",
        tasks=summary.tasks,
        tasks_ok=summary.tasks_ok,
        rows_out=summary.rows_out,
        message="; ".join(said)[:MAX_MESSAGE],
    )
