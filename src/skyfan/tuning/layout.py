"""How a survey's rows can be shared out among tasks: the partitions that are there, grouped, or others cut anew."""

import math
from collections.abc import Iterable, Iterator

from msgspec import Struct, structs

from skyfan.errors import InputError
from skyfan.estimating.volume import Volume
from skyfan.manifest import plan
from skyfan.payload import Payload
from skyfan.planning import Plan
from skyfan.survey import parse_size

PARTITIONS_A_TASK = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = (1, 2, 4)
"""Tasks for each worker that are tried too: all workers then end at about the same time."""
MOST_TASKS = 1_000_000
"""Of partitions cut anew; smaller ones are not tried."""
ALIKE = 0.1
"""A size that differs by less from that of the partitions that are there is no other size."""


class Layout(Struct, frozen=True, kw_only=True):
    """One way to share rows out among tasks."""

    volume: Volume
    """What the tasks have to do."""
    size: str = ""
    """That partitions have to be cut anew to, as `50MB`; empty for those that are there."""
    world_size: int | None = None
    """The payload key; None for one task per partition."""
    own: bool = False
    """Whether it is the payload's own."""


def layouts(whole: Plan, row_bytes: float, *, sizes: Iterable[str] = (), workers: Iterable[int] = ()) -> list[Layout]:
    """Return the ways to share a payload's rows out, the payload's own first.

    Parameters
    ----------
    whole : Plan
        Of all that the payload asks for.
    row_bytes : float
        Bytes of a row in its partitions.
    sizes : iterable of str
        That partitions might be cut anew to, as `50MB`.
    workers : iterable of int
        That there may be: numbers of tasks that come out even with them are tried.

    Raises
    ------
    InputError
        If a size is none, or less than a row.
    """
    partitions = sum(len(task.partitions) for task in whole.tasks)
    counts = dict.fromkeys([len(whole.tasks)])  # an ordered set: the payload's own comes first
    counts |= dict.fromkeys(math.ceil(partitions / each) for each in PARTITIONS_A_TASK)
    counts |= dict.fromkeys(min(rounds * count, partitions) for count in workers for rounds in ROUNDS)
    first, *grouped = (_grouped(whole, count, row_bytes) for count in counts)
    there = [structs.replace(first, own=True), *grouped]
    return [*there, *_cut_anew(there[0].volume, row_bytes, sizes)]


def _grouped(whole: Plan, count: int, row_bytes: float) -> Layout:
    partitions = [partition for task in whole.tasks for partition in task.partitions]
    payload: Payload = structs.replace(whole.payload, world_size=count)
    tasks = plan(payload, partitions, whole.tasks[0].program)
    volume = Volume.of(Plan(payload, tasks, {}, [], []), row_bytes)
    return Layout(volume=volume, world_size=None if count == len(partitions) else count)


def _cut_anew(own: Volume, row_bytes: float, sizes: Iterable[str]) -> Iterator[Layout]:
    """Yield layouts of one partition per task, of other sizes than the partitions that are there."""
    for size in sizes:
        size_bytes = parse_size(size)
        if size_bytes < row_bytes:
            raise InputError(f"partition size {size}: is less than a row, {row_bytes:.0f} bytes; expected more")
        alike = abs(own.largest_partition_bytes / size_bytes - 1) < ALIKE
        if alike or own.rows * row_bytes > MOST_TASKS * size_bytes:
            continue
        made = Volume.imagined(row_bytes=row_bytes, partition_bytes=size_bytes, rows=own.rows)
        kept = ("model", "batch_size", "threads", "max_attempts", "task_timeout_s", "max_concurrency")
        same = {name: getattr(own, name) for name in kept}
        yield Layout(volume=structs.replace(made, rows_known=own.rows_known, **same), size=size)
