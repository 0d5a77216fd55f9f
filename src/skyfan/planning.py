"""What a run is going to do: found in the store and checked, before anything is written."""

from dataclasses import dataclass

import msgspec

from skyfan.claim import check_claim
from skyfan.errors import PartitionError, SurveyError
from skyfan.keys import INDEX_NAME, RunKeys, index_of
from skyfan.manifest import check_complete, decode_manifest, plan, refresh, select
from skyfan.partitions import PartitionRef, decode_index, open_partition
from skyfan.payload import Payload
from skyfan.reports import collect
from skyfan.script_code import resolve_script
from skyfan.staging import inspect_model, resolve_model
from skyfan.storage import Bucket, Store
from skyfan.summary import Summary, decode_summary
from skyfan.task import Task


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


def found_finished(plan: Plan, store: Store) -> Summary | None:
    """Return the summary of a run of which nothing is left to do, not even to claim its path again."""
    if plan.pending or plan.surplus:
        return None
    bucket, keys = store.bucket(plan.payload.bucket), RunKeys(plan.payload.result_path)
    summary = decode_summary(bucket.get(keys.summary))
    return summary if summary is not None and summary.complete and bucket.head(keys.payload) else None


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
