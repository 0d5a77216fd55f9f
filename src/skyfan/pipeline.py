"""Initialize -> map -> summarize: the only place that says so, for every engine whose map we drive ourselves."""

import time

import msgspec

from skyfan import stages
from skyfan.engines.base import Work
from skyfan.engines.choosing import OpenEngine
from skyfan.errors import RunFailedError, RunStoppedError
from skyfan.keys import RunKeys
from skyfan.lease import Lease, hold
from skyfan.mapping import Event, Failed, Mapped, Policy, Retrying, Succeeded, fan_out
from skyfan.measure import utc_now
from skyfan.payload import Payload
from skyfan.reports import names_of
from skyfan.stages import Plan
from skyfan.storage import Store
from skyfan.summary import Drive, Summary, decode_summary
from skyfan.task import Task, TaskError, decode_report
from skyfan.watching import Ended, Planned, TaskDone, TaskGivenUp, TaskRetried, Watcher

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
    keys = RunKeys(payload.result_path)
    # what cannot run is refused, and what is done is found done, before anything is written
    seen = stages.preview(payload, store, overwrite=overwrite)
    finished = _finished(seen, store)
    if finished is not None:
        watch(Ended(finished, found_finished=True, warnings=(*(warnings or ()), *seen.warnings)))
        return finished
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
    watch(Ended(summary))
    _raise_if_failed(plan, mapped)
    return summary


def _finished(plan: Plan, store: Store) -> Summary | None:
    """Return the summary of a run of which nothing is left to do."""
    if plan.pending or plan.surplus:
        return None
    key = RunKeys(plan.payload.result_path).summary
    data = store.bucket(plan.payload.bucket).get(key)
    if data is None:
        return None
    summary = decode_summary(data, f"{plan.payload.bucket}/{key}")
    return summary if summary.complete else None


def _map(
    plan: Plan, store: Store, open_engine: OpenEngine, watch: Watcher, lease: Lease
) -> tuple[Mapped, float, int, int]:
    """Infer every pending task; return how the map ended, its wall clock in s, the rows predicted, the workers."""
    pending = {task.rank: task for task in plan.pending}
    if not pending:
        watch(_planned(plan, 0))
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

    try:
        with open_engine(Work(INFER, store.url), len(pending)) as engine:
            watch(_planned(plan, engine.slots))
            items = {rank: msgspec.json.encode(task) for rank, task in pending.items()}
            started = time.perf_counter()
            mapped = fan_out(engine, items, Policy.of(plan.payload, len(plan.tasks)), on_event, lease.check)
            return mapped, time.perf_counter() - started, rows, engine.slots
    except KeyboardInterrupt:
        done = len(stages.preview(plan.payload, store).done)
        raise RunStoppedError(
            f"{plan.payload.run_id}: stopped with {done} of {len(plan.tasks)} tasks done; nothing of these is lost: "
            "run the same payload again to go on"
        ) from None


def _planned(plan: Plan, workers: int) -> Planned:
    done = plan.done.values()
    return Planned(
        run=plan.payload.run_id,
        tasks=len(plan.tasks),
        tasks_done=len(plan.done),
        rows=plan.rows,
        rows_done=sum(report.rows_out for report in done),
        bytes=plan.size_bytes,
        workers=workers,
        warnings=tuple(plan.warnings),
    )


def _record(task: Task, store: Store, event: Failed) -> None:
    """Write the report that a worker could not write itself."""
    if event.error.kind == "WorkerError":
        stages.record_failure(task, store.bucket(task.bucket), event.attempts, event.error)


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
    return f"{several} ({tolerated} tolerated){left}; the first"
