"""Initialize -> map -> summarize: the only place that says so, for every engine whose map we drive ourselves."""

import time
from contextlib import suppress

import msgspec

from skyfan import stages
from skyfan.engines.base import Work
from skyfan.engines.choosing import OpenEngine
from skyfan.errors import RunFailedError, RunStoppedError, SkyfanError
from skyfan.keys import RunKeys
from skyfan.lease import Lease, hold
from skyfan.manifest import decode_manifest
from skyfan.mapping import Event, Failed, Mapped, Policy, Retrying, Succeeded, fan_out
from skyfan.measure import utc_now
from skyfan.payload import Payload
from skyfan.reports import collect, names_of
from skyfan.stages import Plan
from skyfan.storage import Store
from skyfan.summary import Drive, Summary
from skyfan.task import Task, TaskError, decode_report
from skyfan.watching import Ended, Planned, TaskDone, TaskGivenUp, TaskRetried, Ticked, Watcher, forgiving
from skyfan.wording import counted

INFER = "skyfan.stages:infer_work"


def drive(
    payload: Payload,
    store: Store,
    open_engine: OpenEngine,
    watch: Watcher,
    *,
    warnings: list[str] | None = None,
    overwrite: bool = False,
) -> Summary:
    """Run a payload to its end, or go on where an earlier drive ended.

    Parameters
    ----------
    payload : Payload
    store : Store
    open_engine : callable
        Starts the engine; not called if nothing is left to do.
    watch : Watcher
    warnings : list of str, optional
        What the payload's reader has to say; it goes into the summary.
    overwrite : bool
        Delete first what an earlier run stored at the result path.

    Returns
    -------
    Summary
        Not complete if tasks failed within what the payload tolerates.

    Raises
    ------
    RunFailedError
        If more tasks failed than tolerated; the summary is in the store.
    RunStoppedError
        If interrupted; running the same again goes on.
    ClaimedError
        If the path belongs to another payload, or another driver is at work.
    """
    started = time.perf_counter()
    started_at = utc_now()
    watch = forgiving(watch)
    keys = RunKeys(payload.result_path)
    # what cannot run is refused, and what is done is found done, before anything is written
    seen = stages.preview(payload, store, overwrite=overwrite)
    finished = stages.found_finished(seen, store)
    if finished is not None:
        watch(Ended(finished, found_finished=True, warnings=(*(warnings or ()), *seen.warnings)))
        return finished
    try:
        with hold(store.bucket(payload.bucket, create="bucket"), keys) as lease:
            plan = stages.initialize(payload, store, overwrite=overwrite)
            plan.warnings[:0] = warnings or []
            mapped, map_wall_s, rows, workers = _map(plan, store, open_engine, watch, lease)
            record = Drive(
                started_at=started_at,
                run_wall_s=round(time.perf_counter() - started, 3),
                map_wall_s=round(map_wall_s, 3),
                workers=workers,
                tasks=mapped.succeeded,
                rows=rows,
                retries=mapped.retries,
            )
            lease.check()
            summary = stages.summarize(payload, plan.tasks, store, record, plan.warnings)
    except KeyboardInterrupt:
        raise RunStoppedError(_where_stopped(payload, store)) from None
    watch(Ended(summary))
    if not summary.complete:
        _raise_if_failed(plan, mapped)
    return summary


def _where_stopped(payload: Payload, store: Store) -> str:
    """Say how far an interrupted run came; a store that does not answer must not hide that it can go on."""
    done = ""
    with suppress(SkyfanError):
        bucket, keys = store.bucket(payload.bucket), RunKeys(payload.result_path)
        data = bucket.get(keys.manifest)
        tasks = decode_manifest(data, keys.manifest) if data else []
        done = f" with {len(collect(bucket, keys, tasks).done)} of {counted(len(tasks), 'task')} done"
    return f"{payload.run_id}: stopped{done}; nothing of these is lost: run the same payload again to go on"


def _map(
    plan: Plan, store: Store, open_engine: OpenEngine, watch: Watcher, lease: Lease
) -> tuple[Mapped, float, int, int]:
    """Infer every pending task; return how the map ended, its wall clock in s, the rows predicted, the workers."""
    pending = {task.rank: task for task in plan.pending}
    if not pending:
        watch(Planned.of(plan, 0))
        return Mapped(), 0.0, 0, 0
    rows = 0

    def on_event(event: Event) -> None:
        nonlocal rows
        match event:
            case Succeeded():
                report = decode_report(event.result)
                if report is not None:
                    rows += report.rows_out
                    watch(TaskDone(report))
            case Retrying():
                watch(TaskRetried(event.number, event.attempt, event.delay_s, event.error))
            case Failed():
                _record(pending[event.number], store, event)
                watch(TaskGivenUp(event.number, event.attempts, event.error))

    def check() -> None:
        lease.check()
        watch(Ticked())

    with open_engine(Work(INFER, store.url), len(pending)) as engine:
        watch(Planned.of(plan, engine.slots))
        items = {rank: msgspec.json.encode(task) for rank, task in pending.items()}
        started = time.perf_counter()
        mapped = fan_out(engine, items, Policy.of(plan.payload, len(plan.tasks)), on_event, check)
        return mapped, time.perf_counter() - started, rows, engine.slots


def _record(task: Task, store: Store, event: Failed) -> None:
    """Write the report of a task that was given up, if its worker could not."""
    bucket = store.bucket(task.bucket)
    report = decode_report(bucket.get(RunKeys(task.result_path).failure(task.rank)))
    if report is None or report.error != event.error:
        stages.record_failure(task, bucket, event.attempts, event.error)


def _raise_if_failed(plan: Plan, mapped: Mapped) -> None:
    tolerated = Policy.of(plan.payload, len(plan.tasks)).tolerated_failures
    cause = mapped.cause
    if cause is None and len(mapped.failed) <= tolerated:
        return
    rank, first = next((rank, error) for rank, error in mapped.failed.items() if cause in (None, error))
    inputs = all(error.exit_code == 2 for error in mapped.failed.values())
    raise RunFailedError(
        f"{plan.payload.run_id}: {_what_failed(mapped, tolerated, cause)}, task {rank}: {first.message.rstrip('.')}. "
        "Mend it and run the same payload again: only what is not done is done",
        exit_code=2 if inputs else 1,
    )


def _what_failed(mapped: Mapped, tolerated: int, cause: TaskError | None) -> str:
    if cause is not None:
        return "every task would fail as did"
    several = f"the tasks {names_of(mapped.failed)} failed" if len(mapped.failed) > 1 else "a task failed"
    left = f", and {mapped.not_started} were not started" if mapped.not_started else ""
    left += f", {mapped.not_tried_again} not tried again" if mapped.not_tried_again else ""
    return f"{several} ({tolerated} tolerated){left}; the first"
