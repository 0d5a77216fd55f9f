"""How much there is to do: of a plan, or of a survey that is only thought of."""

import math
from collections.abc import Sequence

from msgspec import Struct, structs

from skyfan.aws.forecast import PART_ROW_BYTES
from skyfan.errors import InputError
from skyfan.estimating.bill import MB_BYTES, Job, Speed
from skyfan.payload import DEFAULT_ATTEMPTS, DEFAULT_BATCH_SIZE, DEFAULT_TIMEOUT_S
from skyfan.planning import Plan
from skyfan.task import ModelRef, Task

MOST_ROWS = 10**14  # 100 times what there may be of galaxies in the observable universe
MOST_BYTES = 10**20  # of these rows and more


class Share(Struct, frozen=True):
    """What one task has to do."""

    rows: float
    bytes: int


class Volume(Struct, frozen=True, kw_only=True):
    """What a run has to do."""

    tasks: int
    partitions: int
    rows: int
    rows_known: bool
    """False: reckoned from bytes."""
    bytes_in: int
    shares: tuple[Share, ...]
    """Of each task, or of one of them all if they are alike."""
    largest_partition_bytes: int
    partitions_of_a_task: int
    """At most."""
    model: ModelRef | None = None
    """None: not said."""
    batch_size: int = DEFAULT_BATCH_SIZE
    threads: int = 1
    max_attempts: int = DEFAULT_ATTEMPTS
    task_timeout_s: float = DEFAULT_TIMEOUT_S
    max_concurrency: int | None = None

    @classmethod
    def of(cls, plan: Plan, row_bytes: float) -> "Volume":
        """Take what a plan still has to do; where no index counts the rows, `row_bytes` of each do."""
        tasks, payload = plan.pending, plan.payload
        shares = tuple(
            Share(task.size_bytes / row_bytes if task.rows is None else task.rows, task.size_bytes) for task in tasks
        )
        return cls(
            tasks=len(tasks),
            partitions=sum(len(task.partitions) for task in tasks),
            rows=round(math.fsum(share.rows for share in shares)),
            rows_known=all(task.rows is not None for task in tasks),
            bytes_in=sum(share.bytes for share in shares),
            shares=shares,
            largest_partition_bytes=max(_sizes(tasks)),
            partitions_of_a_task=max(len(task.partitions) for task in tasks),
            model=tasks[0].model,
            batch_size=payload.batch_size,
            threads=payload.threads,
            max_attempts=payload.max_attempts,
            task_timeout_s=payload.task_timeout_s,
            max_concurrency=payload.max_concurrency,
        )

    @classmethod
    def imagined(
        cls,
        *,
        row_bytes: float,
        partition_bytes: int,
        data_bytes: int | None = None,
        rows: float | None = None,
        world_size: int | None = None,
    ) -> "Volume":
        """Make one up: so much data or so many rows in partitions of at most that size, a task each or `world_size`.

        Raises
        ------
        InputError
            If not one of data and rows is given, not one row fits into a partition, or there is more than can be.
        """
        if (data_bytes is None) == (rows is None):
            raise InputError("estimate: expected a payload, or one of --data and --rows for a survey that is made up")
        for name, size in (("data", data_bytes), ("partition size", partition_bytes)):
            if size is not None and size > MOST_BYTES:
                raise InputError(f"{name}: is more than {MOST_BYTES:g} bytes; expected at most that")
        count = round(rows) if rows is not None and math.isfinite(rows) else int((data_bytes or 0) // row_bytes)
        if not 1 <= count <= MOST_ROWS:
            raise InputError(f"rows: got {rows if rows is not None else count:g}; expected 1 to {MOST_ROWS:g}")
        by_partition = math.floor(partition_bytes / row_bytes + 1e-9)
        if by_partition < 1 or (world_size is not None and world_size < 1):
            raise InputError(
                f"partition size: got {partition_bytes} bytes and a world_size of {world_size}; expected room for a "
                f"row of {row_bytes:.0f} bytes, and 1 task or more"
            )
        partitions = math.ceil(count / by_partition)
        tasks = min(world_size or partitions, partitions)
        size = round(count * row_bytes)
        return cls(
            tasks=tasks,
            partitions=partitions,
            rows=count,
            rows_known=rows is not None,
            bytes_in=size,
            shares=(Share(count / tasks, round(size / tasks)),),
            largest_partition_bytes=round(min(by_partition, count) * row_bytes),
            partitions_of_a_task=math.ceil(partitions / tasks),
        )

    def with_run(self, **options: int | None) -> "Volume":
        """Return it with a batch size, threads or a concurrency that are given; None changes nothing."""
        return structs.replace(self, **{name: value for name, value in options.items() if value is not None})

    def task_s(self, speed: Speed) -> tuple[float, ...]:
        """Return the mean seconds of each share in a worker that is up."""
        return tuple(
            share.rows * speed.s_per_row + share.bytes / MB_BYTES * speed.s_per_mb + speed.s_per_task
            for share in self.shares
        )

    @property
    def job(self) -> Job:
        """What `skyfan.estimating.bill` wants to know of it."""
        return Job(
            tasks=self.tasks,
            partitions=self.partitions,
            rows=self.rows,
            bytes_in=self.bytes_in,
            bytes_out=self.rows * PART_ROW_BYTES,
            model_in_bucket=self.model is not None and self.model.name.endswith(".onnx"),
        )


def _sizes(tasks: Sequence[Task]) -> list[int]:
    return [partition.bytes for task in tasks for partition in task.partitions]
