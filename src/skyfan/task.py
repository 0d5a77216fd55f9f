"""One unit of the map, and the report of what became of it."""

from typing import Literal

import msgspec
from msgspec import Struct, field

from skyfan.errors import SkyfanError, StoreError
from skyfan.partitions import PartitionRef
from skyfan.photoz.sums import Sums


class ModelRef(Struct, frozen=True):
    """The model that a run uses, and the hash that every worker must find."""

    name: str
    """A key in the run's bucket (ends in .onnx), or a name that ships with skyfan."""
    sha256: str


class Task(Struct, frozen=True):
    """One rank: all that a worker needs to know, so that it can be handed over as it is."""

    rank: int
    bucket: str
    result_path: str
    data_bucket: str
    partitions: tuple[PartitionRef, ...]
    model: ModelRef
    batch_size: int
    threads: int = 1
    """Of the worker's model."""

    @property
    def rows(self) -> int | None:
        """Rows that the task must return, None if not known beforehand."""
        known = [partition.rows for partition in self.partitions if partition.rows is not None]
        return sum(known) if len(known) == len(self.partitions) else None

    @property
    def size_bytes(self) -> int:
        """Bytes of its partitions."""
        return sum(partition.bytes for partition in self.partitions)


class Seconds(Struct, frozen=True):
    """Where the time of a task went; the phases do not overlap, `total` also holds what lies between them."""

    total: float = 0.0
    model: float = 0.0
    """Fetching and loading the model; near zero in a worker that has it already."""
    open: float = 0.0
    """Opening the partition and reading its columns; with a remote store, fetching it."""
    hash: float = 0.0
    """Hashing the partition."""
    read: float = 0.0
    """Reading, checking and converting batches."""
    predict: float = 0.0
    """The model itself."""
    write: float = 0.0
    """Encoding, hashing and storing the part."""


class PartRef(Struct, frozen=True):
    """The part that a task wrote."""

    key: str
    bytes: int
    rows: int
    sha256: str


class TaskError(Struct, frozen=True):
    """Why an attempt failed."""

    kind: str
    """Name of the error's class."""
    message: str
    may_pass: bool
    ends_run: bool = False
    exit_code: int = 1


class Report(Struct, frozen=True, kw_only=True):
    """What a task did.

    That of a task done is written after its part, and is its commit mark. That of a failed attempt has a name of its
    own, so that it never takes the place of the other.
    """

    schema: int = 1
    rank: int
    status: Literal["ok", "failed"]
    attempt: int
    partitions: tuple[PartitionRef, ...]
    """As read: rows and hash are always known here."""
    rows_in: int = 0
    rows_out: int = 0
    rows_flagged: int = 0
    """Rows of the part with any flag."""
    flags: dict[str, int] = field(default_factory=dict)
    """Rows by name of flag."""
    part: PartRef | None = None
    columns: dict[str, str] = field(default_factory=dict)
    """Name -> type of the part's columns: the parts of a complete run have the same."""
    science: Sums | None = None
    """Predictions against true redshifts; None where the partitions have none, or the model gives no `z_phot`."""
    model: ModelRef | None = None
    batch_size: int = 0
    batches: int = 0
    threads: int = 1
    """Of the worker's model."""
    device: str = "cpu"
    seconds: Seconds = Seconds()
    first_prediction_s: float | None = None
    """From the start of the worker process to its first batch predicted, waiting left out; None in a warm worker."""
    peak_memory_mb: float = 0.0
    """Largest resident set of the worker process up to the end of the task, MiB."""
    started_at: str = ""
    """UTC, ISO 8601."""
    ended_at: str = ""
    worker: str = ""
    """`host:pid`."""
    machine: str = ""
    """What the worker ran on, in words."""
    versions: dict[str, str] = field(default_factory=dict)
    error: TaskError | None = None

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    def answers(self, task: Task) -> bool:
        """Whether this is the report of that task done: the same rank, partitions and model, and rows in = rows out."""
        expected = [(partition.key, partition.bytes) for partition in task.partitions]
        return (
            self.status == "ok"
            and self.rank == task.rank
            and [(partition.key, partition.bytes) for partition in self.partitions] == expected
            and self.model == task.model
            and self.part is not None
            and self.rows_in == self.rows_out == self.part.rows
            and task.rows in (None, self.rows_out)
        )


def describe(error: Exception) -> TaskError:
    """Say of any error what it was and whether trying again can help."""
    if isinstance(error, SkyfanError):
        return TaskError(type(error).__name__, str(error), error.may_pass, error.ends_run, error.exit_code)
    if isinstance(error, MemoryError):
        advice = "give the machine more memory, or use fewer workers, a smaller batch_size or smaller partitions"
        return TaskError("MemoryError", f"the worker ran out of memory; {advice}", may_pass=True)
    return TaskError(type(error).__name__, f"{type(error).__name__}: {error}", may_pass=False)


def decode_task(data: bytes) -> Task:
    """Decode one item of a manifest.

    Raises
    ------
    StoreError
        If it is not one.
    """
    try:
        return msgspec.json.decode(data, type=Task)
    except msgspec.DecodeError as error:
        raise StoreError(f"a task cannot be read ({error}); expected an item of manifest.json") from error


def decode_report(data: bytes | None) -> Report | None:
    """Decode a report; None for one that is absent, cut short or of another version, which is then done anew."""
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, RecursionError):
        return None
