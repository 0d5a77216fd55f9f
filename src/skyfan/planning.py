"""What a run is going to do: found in the store and checked, before anything is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from skyfan import models
from skyfan.claim import check_claim, read_claim
from skyfan.errors import ClaimedError, CodeError, PartitionError, PayloadError, StoreError, SurveyError
from skyfan.keys import RunKeys, natural
from skyfan.manifest import decode_manifest, plan, refresh
from skyfan.partitions import PartitionRef, open_partition
from skyfan.payload import Payload
from skyfan.reports import collect
from skyfan.script_code import other_code, resolve_script
from skyfan.selection import find_partitions
from skyfan.staging import inspect_model, resolve_model
from skyfan.storage import Bucket, Store
from skyfan.summary import Summary, decode_summary, manifest_fault
from skyfan.task import Task
from skyfan.wording import counted, first_of


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
    if payload.is_script:
        _check_place(payload, bucket, keys)
    if not overwrite:
        check_claim(bucket, keys, payload)
        going_on = _go_on(payload, bucket, keys, data_bucket)
        if going_on is not None:
            return going_on
    partitions, warnings = find_partitions(payload, data_bucket)
    program = resolve_script(payload, bucket) if payload.is_script else resolve_model(payload, bucket)
    tasks = plan(payload, partitions, program)
    _check_first(tasks[0], bucket, data_bucket)
    return Plan(payload, tasks, {}, [], warnings)


def found_finished(plan: Plan, store: Store) -> Summary | None:
    """Return the summary of a run of which nothing is left to do, not even to claim its path again.

    Raises
    ------
    StoreError
        If its manifest is not the one that the summary is of.
    """
    if plan.pending or plan.surplus:
        return None
    bucket, keys = store.bucket(plan.payload.bucket), RunKeys(plan.payload.result_path)
    summary = decode_summary(bucket.get(keys.summary))
    if summary is None or not summary.complete or not bucket.head(keys.payload):
        return None
    if fault := manifest_fault(summary, len(plan.tasks)):
        raise StoreError(f"{bucket.name}/{keys.manifest}: {fault}")
    return summary


def _changed(before: PartitionRef, after: PartitionRef) -> bool:
    """Whether a partition is another than it was; of two without an index only the sizes are known."""
    hashes = {before.sha256, after.sha256} - {None}
    return before.bytes != after.bytes or len(hashes) > 1


def _since(before: Mapping[str, PartitionRef], after: Mapping[str, PartitionRef]) -> list[str]:
    """Say what became of the partitions since a run was planned."""
    new, gone = after.keys() - before.keys(), before.keys() - after.keys()
    other = [key for key in before.keys() & after.keys() if _changed(before[key], after[key])]
    changes = (
        (new, "came", "the run keeps to its plan, without them"),
        (gone, "went", "tasks still to do that read them will fail"),
        (other, "changed", "tasks still to do read them as they are now, tasks that are done keep their predictions"),
    )
    return [
        f"{counted(len(keys), 'partition')} {became} since this run was planned, the first {min(keys, key=natural)}: "
        f"{but}; to plan anew, run with --overwrite or take another result_path"
        for keys, became, but in changes
        if keys
    ]


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


def _check_place(payload: Payload, bucket: Bucket, keys: RunKeys) -> None:
    """Refuse a result path that a script's run would spoil: with results of others, or within its own code."""
    folder = payload.s3_object_name
    for name, where in (("result_path", payload.result_path), ("data_prefix", payload.data_prefix)):
        shared = name == "result_path" or payload.bucket == payload.data_bucket
        if folder is not None and shared and f"{where}/".startswith(f"{folder}/"):
            raise PayloadError(
                f"payload: {name} {where!r} lies within the code, S3_object_name {folder!r}; expected another folder: "
                "all that is in the code is hashed, and given to each task"
            )
    holder = read_claim(bucket, keys)
    if holder is not None and holder.is_script:
        return
    strange = sorted(entry.key for entry in bucket.list(payload.result_path) if keys.is_result(entry.key))
    if strange:
        raise ClaimedError(
            f"{payload.run_id}: holds results that no run of skyfan's left, {first_of(strange)}; a script would write "
            "over them: choose another result_path, or move them away"
        )


def _check_stored(tasks: Sequence[Task], payload: Payload, bucket: Bucket, keys: RunKeys) -> None:
    """Refuse a stored plan of something else: who may write to the result path must not decide what runs."""
    if not tasks:
        return
    script = resolve_script(payload, bucket) if payload.is_script else None
    place = (payload.bucket, payload.result_path, payload.data_bucket)
    for task in tasks:
        if script is not None and task.script is not None and task.script.sha256 != script.sha256:
            raise CodeError(other_code(task.script, script.sha256, bucket))
        same = (task.bucket, task.result_path, task.data_bucket) == place and task.script == script
        within = all(ref.key.startswith(f"{payload.data_prefix}/") for ref in task.partitions)
        model = None if task.model is None else task.model.name
        if not same or not within or model != (None if script else payload.model or models.DEFAULT):
            raise StoreError(
                f"{bucket.name}/{keys.manifest}: its task {task.rank} is not what the payload asks for: it was changed "
                "by hand; run with --overwrite to plan anew"
            )


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
    _check_stored([task for task in tasks if task.rank not in done], payload, bucket, keys)
    try:
        partitions, warnings = find_partitions(payload, data_bucket)
    except SurveyError as error:
        return Plan(
            payload, tasks, done, found.surplus, [f"since this run was planned its partitions changed: {error}"]
        )
    before = {partition.key: partition for task in tasks for partition in task.partitions}
    after = {partition.key: partition for partition in partitions}
    warnings += _since(before, after)
    return Plan(payload, refresh(tasks, payload, partitions, done.keys()), done, found.surplus, warnings)
