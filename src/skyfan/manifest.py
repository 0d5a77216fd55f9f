"""The plan of a run: every task, in order, with what it reads and how many rows it must return."""

from collections.abc import Collection, Sequence

import msgspec
from msgspec import structs

from skyfan.errors import StoreError, SurveyError
from skyfan.keys import INDEX_NAME, natural
from skyfan.partitions import SUFFIXES, Index, PartitionRef
from skyfan.payload import Payload
from skyfan.scripting.limits import Limits
from skyfan.storage import Entry
from skyfan.task import ModelRef, ScriptRef, ScriptSetting, Task


def select(payload: Payload, listing: Sequence[Entry], index: Index | None) -> tuple[list[PartitionRef], list[str]]:
    """Choose a run's partitions from what lies below its data prefix.

    Parameters
    ----------
    payload : Payload
    listing : sequence of Entry
        Everything below the prefix, in any order.
    index : Index or None
        The index beside the partitions, if there is one.

    Returns
    -------
    partitions, warnings
        In natural order, at most `file_limit` of them.

    Raises
    ------
    SurveyError
        If there is no partition, or the index does not fit the listing.
    """
    where = f"{payload.data_bucket}/{payload.data_prefix}/"
    found = sorted((entry for entry in listing if entry.key.endswith(SUFFIXES)), key=lambda entry: natural(entry.key))
    if not found:
        raise SurveyError(
            f"no partition below {where}: found {len(listing)} other objects; expected files ending in "
            f"{' or '.join(SUFFIXES)}; check data_bucket and data_prefix, or make some with 'skyfan partition'"
        )
    warnings = []
    if payload.file_limit is not None and payload.file_limit > len(found):
        warnings.append(f"file_limit is {payload.file_limit}, but {where} holds {len(found)} partitions; all are taken")
    partitions = [PartitionRef(entry.key, entry.bytes) for entry in found]
    if index is not None:
        partitions = _with_index(partitions, index, payload.data_prefix, where)
    return partitions[: payload.file_limit], warnings


def check_complete(index: Index, where: str) -> None:
    """Check that all partitions are there that an index is of.

    Raises
    ------
    SurveyError
        If they are still being written.
    """
    if not index.complete:
        raise SurveyError(
            f"{where}: its {INDEX_NAME} says that 'skyfan partition' has not finished writing {index.rows} rows there, "
            "or that an upload has not ended; wait for it, or run it again (skyfan partition with --overwrite)"
        )


def _with_index(found: list[PartitionRef], index: Index, prefix: str, where: str) -> list[PartitionRef]:
    """Add rows and hashes from the index, which must name exactly the partitions found."""
    check_complete(index, where)
    known = {f"{prefix}/{item.key}": item for item in index.partitions}
    advice = f"make the partitions again with 'skyfan partition', or delete {where}{INDEX_NAME} to go without"
    absent = list(known.keys() - {partition.key for partition in found})
    if absent:
        raise SurveyError(
            f"{where}: the index names {len(known)} partitions with {index.rows} rows, but {len(absent)} of them are "
            f"not there, the first {min(absent, key=natural)}; {advice}"
        )
    result = []
    for partition in found:
        item = known.get(partition.key)
        if item is None:
            raise SurveyError(f"{partition.key} is not in the index of {where}; {advice}")
        if item.bytes != partition.bytes:
            raise SurveyError(f"{partition.key} has {partition.bytes} bytes, the index says {item.bytes}; {advice}")
        result.append(PartitionRef(partition.key, item.bytes, item.rows, item.sha256))
    return result


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
    """Decode a plan.

    Raises
    ------
    StoreError
        If it is not one: it was changed by hand, since a run writes it whole or not at all.
    """
    try:
        tasks = msgspec.json.decode(data, type=list[Task])
    except (msgspec.DecodeError, RecursionError) as error:
        raise StoreError(f"{name}: not a manifest ({error}); run with --overwrite to plan anew") from error
    if not tasks:
        raise StoreError(f"{name}: a manifest without a task, which no run writes; run with --overwrite to plan anew")
    return tasks
