"""Initialize -> map -> summarize: the only place that says so, for every engine whose map we drive ourselves."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from skyfan import planning, stages
from skyfan.engines.base import Work
from skyfan.engines.choosing import OpenEngine
from skyfan.errors import RunFailedError, RunStoppedError, ScriptsRefusedError, SkyfanError
from skyfan.keys import SHARED_PAYLOAD, RunKeys
from skyfan.lease import Lease, hold
from skyfan.manifest import decode_manifest
from skyfan.mapping import Event, Failed, Mapped, Policy, Retrying, Succeeded, fan_out
from skyfan.measure import utc_now
from skyfan.payload import Payload
from skyfan.planning import Plan
from skyfan.reports import collect, names_of
from skyfan.stages import Place
from skyfan.storage import Store
from skyfan.summary import Drive, Summary
from skyfan.task import Task, TaskError, decode_report
from skyfan.watching import Ended, Planned, TaskDone, TaskGivenUp, TaskRetried, Ticked, Waiting, Watcher, forgiving
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
    allow_scripts: bool = False,
    share_payload: bool = False,
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
    allow_scripts : bool
        Whether a user's script may run.
    share_payload : bool
        Write payload.json at the bucket's root too, as the original system did: see `skyfan.stages.share_payload`.

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
    ScriptsRefusedError
        If the payload runs a script, and scripts are not allowed.
    ClusterError
        If an engine's cluster went away.
    """
    if payload.is_script and payload.script is not None and not allow_scripts:
        raise ScriptsRefusedError(stages.refusal(payload.script))
    started = time.perf_counter()
    started_at = utc_now()
    watch = forgiving(watch)
    keys = RunKeys(payload.result_path)
    # what cannot run is refused, and what is done is found done, before anything is written
    seen = planning.preview(payload, store, overwrite=overwrite)
    finished = planning.found_finished(seen, store)
    if finished is not None:
        if share_payload:
            stages.share_payload(seen, store)
        watch(Ended(finished, found_finished=True, warnings=(*(warnings or ()), *seen.warnings)))
        return finished
    try:
        with hold(store.bucket(payload.bucket, create="bucket"), keys) as lease:
            plan = stages.initialize(payload, store, overwrite=overwrite, check=lease.check)
            plan.warnings[:0] = warnings or []
            if share_payload:
                stages.share_payload(plan, store)
                plan.warnings.append(f"{payload.bucket}/{SHARED_PAYLOAD}: two runs at once write over each other's")
            place = Place(store.url, allow_scripts and payload.is_script)
            mapped, ran = _map(plan, store, place, open_engine, watch=watch, lease=lease)
            record = Drive(
                started_at=started_at,
                run_wall_s=round(time.perf_counter() - started, 3),
                map_wall_s=round(ran.wall_s, 3),
                engine=ran.engine,
                workers=ran.workers,
                tasks=mapped.succeeded,
                rows=ran.rows,
                retries=mapped.retries,
            )
            summary = stages.summarize(payload, plan.tasks, store, record, plan.warnings, check=lease.check)
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


@dataclass
class _Ran:
    """What the map did."""

    engine: str = ""
    wall_s: float = 0.0
    rows: int = 0
    """Predicted."""
    workers: int = 0
    """At most at once."""


def _map(
    plan: Plan, store: Store, place: Place, open_engine: OpenEngine, *, watch: Watcher, lease: Lease
) -> tuple[Mapped, _Ran]:
    """Infer every pending task; return how the map ended."""
    pending = {task.rank: task for task in plan.pending}
    if not pending:
        watch(Planned.of(plan, 0))
        return Mapped(), _Ran()
    ran = _Ran()

    def on_event(event: Event) -> None:
        match event:
            case Succeeded():
                report = decode_report(event.result)
                if report is not None:
                    ran.rows += report.rows_out
                    watch(TaskDone(report))
            case Retrying():
                watch(TaskRetried(event.number, event.attempt, event.delay_s, event.error))
            case Failed():
                _record(pending[event.number], store, event)
                watch(TaskGivenUp(event.number, event.attempts, event.error))

    def check() -> None:
        lease.check()
        ran.workers = max(ran.workers, min(engine.slots, at_most))
        tell_slots(engine.slots)
        watch(Ticked())

    at_most = min(plan.payload.max_concurrency or len(pending), len(pending))
    tell_slots = _telling_of_none(watch)
    with open_engine(Work(INFER, place.encode()), len(pending)) as engine:
        watch(Planned.of(plan, engine.slots))
        items = {rank: msgspec.json.encode(task) for rank, task in pending.items()}
        started = time.perf_counter()
        mapped = fan_out(engine, items, Policy.of(plan.payload, len(plan.tasks)), on_event, check)
        ran.engine, ran.wall_s = engine.name, time.perf_counter() - started
        return mapped, ran


def _telling_of_none(watch: Watcher) -> Callable[[int], None]:
    """Return what tells, once each time, that a cluster has no worker."""
    some = True

    def tell(slots: int) -> None:
        nonlocal some
        if some and not slots:
            watch(Waiting("no worker is there yet: tasks start as soon as one is"))
        some = slots > 0

    return tell


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
