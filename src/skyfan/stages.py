"""Initialize, infer, summarize: the only way work is done, the same on every engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from skyfan.claim import check_claim, claim, release_claim
from skyfan.errors import PartitionError, StoreError
from skyfan.inference import predict_task
from skyfan.keys import RunKeys, index_of
from skyfan.manifest import decode_manifest, encode_manifest, plan, select
from skyfan.measure import Meter
from skyfan.partition import Index, decode_index, open_partition
from skyfan.payload import Payload
from skyfan.reports import collect, failed_report, finished
from skyfan.staging import load_model, resolve_model
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive, Summary, encode_combined, judge
from skyfan.task import Report, Task, TaskError, decode_task


@dataclass(frozen=True)
class Plan:
    """What a run is going to do, and what of it is done."""

    payload: Payload
    tasks: list[Task]
    done: dict[int, Report]
    """By rank: tasks with a valid report and its part."""
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


def preview(payload: Payload, store: Store) -> Plan:
    """Plan a run without writing anything.

    A run that has a manifest keeps it; what came to its data prefix since is a warning.

    Raises
    ------
    ClaimedError
        If the result path belongs to another payload.
    SurveyError, PartitionError, ModelError, StoreError
        If the partitions or the model cannot be used as they are.
    """
    data_bucket = store.bucket(payload.data_bucket)
    bucket = store.bucket(payload.bucket, create="bucket")
    keys = RunKeys(payload.result_path)
    check_claim(bucket, keys, payload)
    model = resolve_model(payload, bucket)
    partitions, warnings = select(payload, data_bucket.list(payload.data_prefix), _index(payload, data_bucket))
    tasks = plan(payload, partitions, model)
    stored = bucket.get(keys.manifest)
    if stored is None:
        _check_first(tasks[0], bucket, data_bucket)
        return Plan(payload, tasks, {}, warnings)
    planned = decode_manifest(stored, f"{bucket.name}/{keys.manifest}")
    return Plan(payload, planned, finished(bucket, keys, planned), warnings + _changes(planned, tasks))


def initialize(payload: Payload, store: Store, *, overwrite: bool = False) -> Plan:
    """Plan a run, claim its result path and write its manifest.

    Parameters
    ----------
    payload : Payload
    store : Store
    overwrite : bool
        Delete first what an earlier run stored at the result path.

    Raises
    ------
    As `preview`.
    """
    keys = RunKeys(payload.result_path)
    if overwrite:
        release_claim(store.bucket(payload.bucket, create="bucket"), keys)
    result = preview(payload, store)
    bucket = store.bucket(payload.bucket)
    bucket.sweep(payload.result_path)
    claim(bucket, keys, payload)
    if bucket.head(keys.manifest) is None:
        bucket.put(keys.manifest, encode_manifest(result.tasks))
    return result


def infer(task: Task, store: Store, attempt: int = 1) -> Report:
    """Do one task: read its partitions, predict every row, write the part, and the report after it.

    An attempt that fails writes a report that says why, and raises.

    Raises
    ------
    PartitionError
        If a partition cannot be read, or is another than planned.
    ModelError, StoreError
        If the model or the store fail.
    """
    meter = Meter()
    bucket = store.bucket(task.bucket)
    try:
        report = predict_task(task, store.bucket(task.data_bucket), bucket, attempt, meter)
    except Exception as error:
        record_failure(task, bucket, attempt, error, meter)
        raise
    bucket.put(RunKeys(task.result_path).report(task.rank), report.encode())
    return report


def infer_work(store_url: str) -> Callable[[bytes, int], bytes]:
    """Return `infer` as an engine calls it: an item of the manifest and the attempt's number in, the report out."""
    store = Store(store_url)
    return lambda item, attempt: infer(decode_task(item), store, attempt).encode()


def record_failure(
    task: Task, bucket: Bucket, attempt: int, error: Exception | TaskError, meter: Meter | None = None
) -> None:
    """Write the report of a failed attempt; a store that does not take it must not hide why the task failed."""
    report = failed_report(task, attempt, error, meter or Meter())
    try:
        bucket.put(RunKeys(task.result_path).report(task.rank), report.encode())
    except StoreError:
        return


def summarize(payload: Payload, tasks: Sequence[Task], store: Store, drive: Drive, warnings: Sequence[str]) -> Summary:
    """Check every task of the manifest against its report and its part, and write the run's summary.

    What is read is what the manifest expects. Anything else below the run's predictions and reports is surplus, and a
    run with surplus is not complete.
    """
    bucket = store.bucket(payload.bucket)
    keys = RunKeys(payload.result_path)
    collected = collect(bucket, keys, tasks)
    summary = judge(payload, tasks, collected, drive, warnings)
    bucket.put(keys.combined, encode_combined(payload, collected))
    bucket.put(keys.summary, summary.encode())
    return summary


def _index(payload: Payload, data_bucket: Bucket) -> Index | None:
    key = index_of(payload.data_prefix)
    data = data_bucket.get(key)
    return decode_index(data, f"{data_bucket.name}/{key}") if data is not None else None


def _check_first(task: Task, bucket: Bucket, data_bucket: Bucket) -> None:
    """Hold the model against the first partition before anything is claimed or started.

    A partition that cannot be read is its own task's failure, which the payload may tolerate.
    """
    predictor = load_model(task.model, bucket)
    try:
        blob = data_bucket.ranged_blob(task.partitions[0].key)
        partition = open_partition(blob) if blob is not None else None
    except PartitionError:
        return
    if partition is not None:
        predictor.check(partition)


def _changes(planned: Sequence[Task], now: Sequence[Task]) -> list[str]:
    """Say what changed below the data prefix since a run was planned."""
    before = {partition.key: partition.bytes for task in planned for partition in task.partitions}
    after = {partition.key: partition.bytes for task in now for partition in task.partitions}
    new = sum(key not in before for key in after)
    gone = sum(key not in after for key in before)
    other = sum(before[key] != size for key, size in after.items() if key in before)
    if not new and not gone and not other:
        return []
    return [
        f"since this run was planned, {new} partitions came, {gone} went and {other} changed in size; "
        "it keeps to its plan: use another result_path, or --overwrite, to take them in"
    ]
