"""Initialize, infer, summarize: the only way work is done, the same on every engine."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from skyfan.claim import claim, release_claim, release_tasks, release_verdict
from skyfan.combined import Combined
from skyfan.errors import ScriptsRefusedError, StoreError
from skyfan.inference import predict_task
from skyfan.keys import SHARED_PAYLOAD, RunKeys
from skyfan.manifest import encode_manifest
from skyfan.measure import Meter
from skyfan.payload import Payload
from skyfan.planning import Plan, preview
from skyfan.reports import collect, failed_report, is_done, output_key
from skyfan.scripts import run_script
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive, Summary, judge
from skyfan.tally import Tally
from skyfan.task import Report, Task, TaskError, decode_report, decode_task


def initialize(
    payload: Payload, store: Store, *, overwrite: bool = False, check: Callable[[], None] = lambda: None
) -> Plan:
    """Plan a run, claim its result path and write its manifest.

    The plan is of what is stored now, and old when it is acted upon: a survey takes minutes to list, and a driver may
    be stopped. So each request that deletes or writes is preceded by a check that the run is still this driver's.

    What remains is a stop, longer than a lease, between a check and its request, with a whole run of another driver in
    it. No store of ours deletes or writes on condition of another object, so that this cannot be ruled out. That one
    request may take away the other's verdict and bill, or of its reports, parts, results and logs at most
    `skyfan.claim.AT_ONCE`, or put an older plan in the place of its plan. The run is then no longer complete to
    `status`, `verify` and `catalog`, unless it lost only logs, and running its payload again mends it.

    Parameters
    ----------
    payload : Payload
    store : Store
    overwrite : bool
        Delete what an earlier run stored at the result path, once it is clear that the new one can be planned.
    check : callable
        Raises if another driver has the run now, as `skyfan.lease.Lease.check`.

    Raises
    ------
    As `preview` and `check`.
    """
    keys = RunKeys(payload.result_path)
    result = preview(payload, store, overwrite=overwrite)
    bucket = store.bucket(payload.bucket, create="bucket")
    if overwrite:
        release_claim(bucket, keys, check)
    for folder in keys.folders if bucket.folder is not None else ():
        check()
        bucket.sweep(folder, keys.owns)
    check()
    claim(bucket, keys, payload)
    if result.pending:
        release_verdict(bucket, keys, check)  # it is on what the run no longer is
    manifest, before = encode_manifest(result.tasks), bucket.get(keys.manifest)
    if before is not None and not result.done:
        release_tasks(bucket, keys, check)  # reports of failures, of tasks that the new plan may not have
    if before != manifest:
        check()
        bucket.put(keys.manifest, manifest)
    return result


def infer(
    task: Task, store: Store, attempt: int = 1, *, allow_scripts: bool = False, time_left_s: float | None = None
) -> Report:
    """Do one task: read its partitions, predict every row, write the part, and the report after it.

    A task that is done is not done again. An attempt that fails writes a report that says why, beside those of tasks
    that are done, and raises.

    Parameters
    ----------
    task : Task
    store : Store
    attempt : int
        Its number, from 1.
    allow_scripts : bool
        Whether a user's script may run here.
    time_left_s : float, optional
        Seconds after which this process itself is ended: a script is ended before, so that its report is written.

    Raises
    ------
    PartitionError
        If a partition cannot be read, or is another than planned.
    ModelError, CodeError, ScriptError, StoreError
        If the model, the script or the store fail.
    ScriptsRefusedError
        If the task runs a script, and scripts are not allowed.
    """
    if task.script is not None and not allow_scripts:
        raise ScriptsRefusedError(refusal(task.script.said))
    meter = Meter()
    bucket, keys = store.bucket(task.bucket), RunKeys(task.result_path)
    try:
        earlier = decode_report(bucket.get(keys.report(task.rank)))
        if earlier is not None:  # an attempt whose answer was lost, or a twin: its work stands
            output = bucket.head(output_key(task, keys))
            if is_done(earlier, task, keys, output.bytes if output is not None else None):
                return earlier
        if task.script is not None:
            report = run_script(task, store, attempt, meter, time_left_s)
        else:
            report = predict_task(task, store.bucket(task.data_bucket), bucket, attempt, meter)
        bucket.put(keys.report(task.rank), report.encode())
    except Exception as error:
        record_failure(task, bucket, attempt, error, meter)
        raise
    return report


class Place(Struct, frozen=True):
    """What the workers of a run need to know that is not in a task."""

    store: str
    """Its address."""
    allow_scripts: bool = False

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()


def infer_work(context: str) -> Callable[[bytes, int], bytes]:
    """Return `infer` as an engine calls it: an item of the manifest and the attempt's number in, the report out.

    Parameters
    ----------
    context : str
        An encoded `Place`.
    """
    place = msgspec.json.decode(context, type=Place)
    store = Store(place.store)
    return lambda item, attempt: infer(decode_task(item), store, attempt, allow_scripts=place.allow_scripts).encode()


def refusal(script: str) -> str:
    """Say why a script does not run."""
    return (
        f"the payload runs the script {script!r}, and a script is a program that can do whatever you can do; expected "
        "--allow-scripts (in Python allow_scripts=True, on AWS a stack deployed with ScriptImage) from who trusts it"
    )


def share_payload(plan: Plan, store: Store) -> None:
    """Write payload.json at the root of the run's bucket, as the original system did: the payload, and `data_map`.

    Whatever run wrote it before is written over: two runs at once read each other's.
    """
    data_map = {str(task.rank): _paths(task) for task in plan.tasks}
    content = {**plan.payload.to_mapping(), "data_map": data_map}
    store.bucket(plan.payload.bucket).put(SHARED_PAYLOAD, msgspec.json.encode(content))


def _paths(task: Task) -> str | list[str]:
    keys = [ref.key for ref in task.partitions]
    return keys[0] if len(keys) == 1 else keys


def record_failure(
    task: Task, bucket: Bucket, attempt: int, error: Exception | TaskError, meter: Meter | None = None
) -> None:
    """Write the report of a failed attempt; a store that does not take it must not hide why the task failed."""
    report = failed_report(task, attempt, error, meter or Meter())
    with suppress(StoreError):
        bucket.put(RunKeys(task.result_path).failure(task.rank), report.encode())


def summarize(
    payload: Payload,
    tasks: Sequence[Task],
    store: Store,
    drive: Drive,
    warnings: Sequence[str],
    *,
    check: Callable[[], None] = lambda: None,
) -> Summary:
    """Check every task of the manifest against its report and its part, and write the run's summary.

    What is read is what the manifest expects. Anything else below the run's predictions and reports is surplus, and a
    run with surplus is not complete.

    Reading takes long, so that `check` is called before each of the two writes. A driver that loses the run between
    them has written combined_data.json alone, and whoever took the run writes both: the summary was deleted when the
    first began. One that is stopped, for longer than a lease, within a write, until another has done the run anew, puts
    its own object over the other's. If that is the summary, its figures are the earlier run's: `status` and `verify`
    go by the reports and prove the catalogue all the same; without summary.json, the next run sums up anew.

    Parameters
    ----------
    payload : Payload
    tasks : sequence of Task
        The manifest.
    store : Store
    drive : Drive
    warnings : sequence of str
    check : callable
        As for `initialize`.
    """
    bucket = store.bucket(payload.bucket)
    keys = RunKeys(payload.result_path)
    tally, combined = Tally(), Combined(payload.result_path)

    def see(report: Report) -> None:
        tally.add(report)
        combined.add(report)

    found = collect(bucket, keys, tasks, see)
    warnings = [*warnings, *combined.take_results(bucket)]
    summary = judge(payload, tasks, found, tally, drive, warnings=warnings)
    for key, data in ((keys.combined, combined.encode()), (keys.summary, summary.encode())):
        check()
        bucket.put(key, data)
    return summary
