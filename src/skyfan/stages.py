"""Initialize, infer, summarize: the only way work is done, the same on every engine."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from skyfan.claim import check_claim, claim, release_claim, release_tasks
from skyfan.combined import Combined
from skyfan.errors import PartitionError, ScriptsRefusedError, StoreError, SurveyError
from skyfan.inference import predict_task
from skyfan.keys import INDEX_NAME, SHARED_PAYLOAD, RunKeys, index_of
from skyfan.manifest import check_complete, decode_manifest, encode_manifest, plan, refresh, select
from skyfan.measure import Meter
from skyfan.partitions import PartitionRef, decode_index, open_partition
from skyfan.payload import Payload
from skyfan.reports import collect, failed_report, is_done, output_key
from skyfan.script_code import resolve_script
from skyfan.scripts import run_script
from skyfan.staging import inspect_model, resolve_model
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive, Summary, decode_summary, judge
from skyfan.tally import Tally
from skyfan.task import Report, Task, TaskError, decode_report, decode_task


@dataclass(frozen=True)
class Plan:
    """What a run is going to do, and what of it is done."""

    payload: Payload
    tasks: list[Task]
    done: dict[int, int]
    """Rank -> rows of the tasks with a valid report and its part."""
    surplus: list[str]
    """Keys among the run's parts and reports that no task explains."""
    warnings: list[str]

    @property
    def pending(self) -> list[Task]:
        return [task for task in self.tasks if task.rank not in self.done]

    @property
    def rows(self) -> int | None:
        """Rows of all tasks, None if there is no index to know them from."""
        known = [task.rows for task in self.tasks]
        return None if None in known else sum(rows for rows in known if rows is not None)

    @property
    def size_bytes(self) -> int:
        """Bytes of all partitions."""
        return sum(task.size_bytes for task in self.tasks)

    def describe(self) -> bytes:
        """Return the plan as one JSON object: its figures, and every task."""
        figures = {"run": self.payload.run_id, "rows": self.rows, "bytes": self.size_bytes, "done": sorted(self.done)}
        return msgspec.json.encode({**figures, "warnings": self.warnings, "tasks": self.tasks})


def preview(payload: Payload, store: Store, *, overwrite: bool = False) -> Plan:
    """Plan a run without writing anything.

    A run of which some task is done keeps its manifest: what came to its data prefix since is a warning, and a
    partition that was mended is taken as it is now if its task is not done.

    Parameters
    ----------
    payload : Payload
    store : Store
    overwrite : bool
        Plan as if nothing were stored at the result path.

    Raises
    ------
    ClaimedError
        If the result path belongs to another payload.
    SurveyError, PartitionError, ModelError, StoreError
        If the partitions or the model cannot be used as they are.
    """
    data_bucket = store.bucket(payload.data_bucket)
    bucket = store.bucket(payload.bucket, create="on paper")
    keys = RunKeys(payload.result_path)
    if not overwrite:
        check_claim(bucket, keys, payload)
        going_on = _go_on(payload, bucket, keys, data_bucket)
        if going_on is not None:
            return going_on
    partitions, warnings = _select(payload, data_bucket)
    program = resolve_script(payload, bucket) if payload.is_script else resolve_model(payload, bucket)
    tasks = plan(payload, partitions, program)
    _check_first(tasks[0], bucket, data_bucket)
    return Plan(payload, tasks, {}, [], warnings)


def initialize(payload: Payload, store: Store, *, overwrite: bool = False) -> Plan:
    """Plan a run, claim its result path and write its manifest.

    Parameters
    ----------
    payload : Payload
    store : Store
    overwrite : bool
        Delete what an earlier run stored at the result path, once it is clear that the new one can be planned.

    Raises
    ------
    As `preview`.
    """
    keys = RunKeys(payload.result_path)
    result = preview(payload, store, overwrite=overwrite)
    bucket = store.bucket(payload.bucket, create="bucket")
    if overwrite:
        release_claim(bucket, keys)
    for folder in keys.folders:
        bucket.sweep(folder, keys.owns)
    claim(bucket, keys, payload)
    if result.pending:
        bucket.delete([keys.summary, keys.combined, keys.bill])  # a verdict on what the run no longer is
    manifest, before = encode_manifest(result.tasks), bucket.get(keys.manifest)
    if before is not None and not result.done:
        release_tasks(bucket, keys)  # reports of failures, of tasks that the new plan may not have
    if before != manifest:
        bucket.put(keys.manifest, manifest)
    return result


def found_finished(plan: Plan, store: Store) -> Summary | None:
    """Return the summary of a run of which nothing is left to do, not even to claim its path again."""
    if plan.pending or plan.surplus:
        return None
    bucket, keys = store.bucket(plan.payload.bucket), RunKeys(plan.payload.result_path)
    summary = decode_summary(bucket.get(keys.summary))
    return summary if summary is not None and summary.complete and bucket.head(keys.payload) else None


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


def summarize(payload: Payload, tasks: Sequence[Task], store: Store, drive: Drive, warnings: Sequence[str]) -> Summary:
    """Check every task of the manifest against its report and its part, and write the run's summary.

    What is read is what the manifest expects. Anything else below the run's predictions and reports is surplus, and a
    run with surplus is not complete.
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
    bucket.put(keys.combined, combined.encode())
    bucket.put(keys.summary, summary.encode())
    return summary


def _select(payload: Payload, data_bucket: Bucket) -> tuple[list[PartitionRef], list[str]]:
    """List the partitions that a payload asks for; see `skyfan.manifest.select`."""
    key = index_of(payload.data_prefix)
    data = data_bucket.get(key)
    index = decode_index(data, f"{data_bucket.name}/{key}") if data is not None else None
    listing = data_bucket.list(payload.data_prefix)
    for entry in listing:
        if entry.key.endswith(f"/{INDEX_NAME}") and entry.key != key:
            _check_nested(data_bucket, entry.key)
    return select(payload, listing, index)


def _check_nested(data_bucket: Bucket, key: str) -> None:
    """Refuse partitions of a folder below, of which an index there says that they are not complete."""
    try:
        index = decode_index(data_bucket.get(key) or b"", f"{data_bucket.name}/{key}")
    except SurveyError:
        return  # a file of that name that is somebody else's
    check_complete(index, f"{data_bucket.name}/{key.removesuffix(INDEX_NAME)}")


def _changed(before: PartitionRef, after: PartitionRef) -> bool:
    """Whether a partition is another than it was; of two without an index only the sizes are known."""
    hashes = {before.sha256, after.sha256} - {None}
    return before.bytes != after.bytes or len(hashes) > 1


def _check_first(task: Task, bucket: Bucket, data_bucket: Bucket) -> None:
    """Hold the model against the first partition before anything is claimed or started.

    A partition that cannot be read is its own task's failure, which the payload may tolerate.
    """
    if task.model is None:
        return
    predictor = inspect_model(task.model, bucket)
    try:
        blob = data_bucket.ranged_blob(task.partitions[0].key)
        partition = open_partition(blob) if blob is not None else None
    except PartitionError:
        return
    if partition is not None:
        predictor.check(partition)


def _go_on(payload: Payload, bucket: Bucket, keys: RunKeys, data_bucket: Bucket) -> Plan | None:
    """Return the plan that a run is in the middle of; None if there is none, or nothing of it is done."""
    stored = bucket.get(keys.manifest)
    if stored is None:
        return None
    tasks = decode_manifest(stored, f"{bucket.name}/{keys.manifest}")
    found = collect(bucket, keys, tasks)
    if not found.done:
        return None
    done = {rank: task.rows for rank, task in found.done.items()}
    try:
        partitions, warnings = _select(payload, data_bucket)
    except SurveyError as error:
        return Plan(
            payload, tasks, done, found.surplus, [f"since this run was planned its partitions changed: {error}"]
        )
    before = {partition.key: partition for task in tasks for partition in task.partitions}
    after = {partition.key: partition for partition in partitions}
    new, gone = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    other = sum(_changed(before[key], after[key]) for key in before.keys() & after.keys())
    if new or gone or other:
        warnings.append(
            f"since this run was planned, {new} partitions came, {gone} went and {other} changed; it keeps to its "
            "plan, but for changed ones that it has not done: --overwrite, or another result_path, plans anew"
        )
    return Plan(payload, refresh(tasks, payload, partitions, done.keys()), done, found.surplus, warnings)
