"""The plan of a run: every task, in order, with what it reads and how many rows it must return."""

from collections.abc import Collection, Sequence

import msgspec
from msgspec import structs

from skyfan.errors import StoreError
from skyfan.partitions import PartitionRef
from skyfan.payload import Payload
from skyfan.scripting.limits import Limits
from skyfan.task import ModelRef, ScriptRef, ScriptSetting, Task


def plan(payload: Payload, partitions: Sequence[PartitionRef], program: ModelRef | ScriptRef) -> list[Task]:
    """Share partitions out among tasks, each with the model, or the script.

    Every partition is in exactly one task, tasks hold neighbours, and their numbers of partitions differ by at most 1.
    A `world_size` above the number of partitions starts no empty tasks.
    """
    count = min(payload.world_size or len(partitions), len(partitions))
    script = program if isinstance(program, ScriptRef) else None
    bounds = [rank * len(partitions) // count for rank in range(count + 1)]
    return [
        Task(
            rank=rank,
            bucket=payload.bucket,
            result_path=payload.result_path,
            data_bucket=payload.data_bucket,
            partitions=tuple(partitions[bounds[rank] : bounds[rank + 1]]),
            model=program if isinstance(program, ModelRef) else None,
            batch_size=payload.batch_size,
            threads=payload.threads,
            script=script,
            setting=_setting(payload, count) if script else None,
        )
        for rank in range(count)
    ]


def _setting(payload: Payload, tasks: int) -> ScriptSetting:
    limits = Limits(
        timeout_s=payload.task_timeout_s,
        memory_mb=payload.script_memory_mb,
        processes=payload.script_processes,
        disk_mb=payload.script_disk_mb,
    )
    return ScriptSetting(world_size=tasks, data_prefix=payload.data_prefix, limits=limits)


def refresh(tasks: Sequence[Task], payload: Payload, now: Sequence[PartitionRef], done: Collection[int]) -> list[Task]:
    """Return a plan in which tasks that are not done take their partitions as they are now, mended perhaps.

    What the payload lets a script use may have changed too.
    """
    current = {partition.key: partition for partition in now}

    def fresh(task: Task) -> Task:
        partitions = tuple(current.get(ref.key, ref) for ref in task.partitions)
        setting = _setting(payload, len(tasks)) if task.script else None
        return structs.replace(task, partitions=partitions, setting=setting)

    return [task if task.rank in done else fresh(task) for task in tasks]


def encode_manifest(tasks: Sequence[Task]) -> bytes:
    """Encode a plan as one JSON array, a task a line."""
    return b"[\n" + b",\n".join(map(msgspec.json.encode, tasks)) + b"\n]\n"


def decode_manifest(data: bytes, name: str) -> list[Task]:
    """Decode a whole plan.

    Raises
    ------
    StoreError
        If it is not one: it was changed by hand, since a run writes it whole or not at all.
    """
    tasks = decode_tasks(data, name)
    if fault := _fault(tasks):
        raise StoreError(f"{name}: a manifest {fault}, which no run writes; run with --overwrite to plan anew")
    return tasks


def decode_tasks(data: bytes, name: str) -> list[Task]:
    """Decode some tasks of a plan, as those that an execution has to do.

    Raises
    ------
    StoreError
        If it is no such list.
    """
    try:
        return msgspec.json.decode(data, type=list[Task])
    except (msgspec.DecodeError, RecursionError) as error:
        raise StoreError(f"{name}: not a manifest ({error}); run with --overwrite to plan anew") from error


def _fault(tasks: Sequence[Task]) -> str | None:
    """Say what no plan of ours has, None if it may be one."""
    if not tasks:
        return "without a task"
    if [task.rank for task in tasks] != list(range(len(tasks))):
        return "whose ranks are not 0, 1, 2, each once"
    keys = [ref.key for task in tasks for ref in task.partitions]
    if len(set(keys)) != len(keys):
        return "with a partition in two places"
    return None
