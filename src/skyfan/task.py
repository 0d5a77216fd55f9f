"""One unit of the map, and the report of what became of it."""

from typing import Literal

import msgspec
from msgspec import Struct, field

from skyfan.errors import SkyfanError, StoreError
from skyfan.partitions import PartitionRef
from skyfan.photoz.sums import Sums
from skyfan.scripting.limits import Limits


class ModelRef(Struct, frozen=True):
    """The model that a run uses, and the hash that every worker must find."""

    name: str
    """A key in the run's bucket (ends in .onnx), or a name that ships with skyfan."""
    sha256: str


class ScriptRef(Struct, frozen=True):
    """The user's script that a run's tasks run, and the hash of its code that every worker must find."""

    folder: str
    """`S3_object_name`: the folder of code in the run's bucket, or the file; when the script runs, below `/tmp`."""
    file: str
    """The Python file to run, below `/tmp`."""
    said: str
    """`script`, as the payload has it."""
    object_type: Literal["folder", "file"]
    sha256: str
    """Of the names and the content of all files of the code."""

    @property
    def name(self) -> str:
        """What a person calls it: the script, as the payload has it."""
        return self.said


class ScriptSetting(Struct, frozen=True, kw_only=True):
    """What is around a script: what it is told of its run, and what it may use."""

    world_size: int
    """Tasks of the run."""
    data_prefix: str
    limits: Limits


class Task(Struct, frozen=True, omit_defaults=True):
    """One rank: all that a worker needs to know, so that it can be handed over as it is.

    It has a model, or a script and its setting.
    """

    rank: int
    bucket: str
    result_path: str
    data_bucket: str
    partitions: tuple[PartitionRef, ...]
    model: ModelRef | None
    batch_size: int
    threads: int = 1
    """Of the worker's model."""
    script: ScriptRef | None = None
    setting: ScriptSetting | None = None

    @property
    def program(self) -> ModelRef | ScriptRef:
        """What it runs."""
        found = self.model or self.script
        if found is None:
            raise StoreError(f"task {self.rank}: has neither model nor script; run with --overwrite to plan anew")
        return found

    @property
    def rows(self) -> int | None:
        """Rows that the task must return, None if not known beforehand, or a script decides."""
        if self.script is not None:
            return None
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
    """Fetching and loading the model, or the code of a script; near zero in a worker that has it already."""
    open: float = 0.0
    """Opening the partition and reading its columns; with a remote store, fetching it."""
    hash: float = 0.0
    """Hashing the partition."""
    read: float = 0.0
    """Reading, checking and converting batches."""
    predict: float = 0.0
    """The model itself."""
    script: float = 0.0
    """A user's script, from its start to its end."""
    write: float = 0.0
    """Encoding, hashing and storing the part; of a script its log, and reading its result."""


class PartRef(Struct, frozen=True):
    """The part that a task wrote."""

    key: str
    bytes: int
    rows: int
    sha256: str


class ResultRef(Struct, frozen=True):
    """The result that a script put where the original system looks for it."""

    key: str
    bytes: int
    sha256: str


class ScriptEnd(Struct, frozen=True, kw_only=True):
    """How a user's script ended."""

    exit_code: int
    """As a shell has it: 128 + its number if a signal ended it."""
    why: str | None
    """Why that is a failure; None if it is none."""
    wall_s: float
    peak_memory_mb: float
    """Of all its processes together, resident, MiB."""
    log: str
    """Key of what it printed."""
    last_lines: list[str]
    """Of that."""
    result: ResultRef | None = None
    """What it left at `<RESULT_PATH>/<rank>.json`; None if nothing."""


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
    script: ScriptRef | None = None
    ending: ScriptEnd | None = None
    """How the script ended; None where there was none, or it did not come to its start."""
    batch_size: int = 0
    batches: int = 0
    threads: int = 1
    """Of the worker's model."""
    device: str = "cpu"
    seconds: Seconds = Seconds()
    first_prediction_s: float | None = None
    """From the start of the worker process to its first batch predicted, waiting left out; None in a warm worker."""
    peak_memory_mb: float = 0.0
    """Largest resident set of the worker process up to the end of the task, MiB; with a script, of all its processes
    together."""
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
        """Whether this is the report of that task done.

        The same rank, partitions and model, and rows in = rows out; or the same script, which ended well. A worker of a
        run that was written over may store its report late: all that values depend on must be as planned. That is
        the threads too, since how a sum is shared out among them decides how it is rounded.
        """
        return (
            self.status == "ok"
            and self.rank == task.rank
            and self._read_as_planned(task)
            and (self.model, self.script) == (task.model, task.script)
            and (self.batch_size, self.threads) == (task.batch_size, task.threads)
            and (self._script_ended_well() if task.script else self._rows_agree(task))
        )

    def _read_as_planned(self, task: Task) -> bool:
        """Whether the partitions are the task's, with the rows and hashes that it knows."""
        return len(self.partitions) == len(task.partitions) and all(
            (read.key, read.bytes) == (planned.key, planned.bytes)
            and planned.rows in (None, read.rows)
            and planned.sha256 in (None, read.sha256)
            for read, planned in zip(self.partitions, task.partitions, strict=True)
        )

    def _rows_agree(self, task: Task) -> bool:
        return (
            self.part is not None
            and self.rows_in == self.rows_out == self.part.rows
            and task.rows in (None, self.rows_out)
        )

    def _script_ended_well(self) -> bool:
        return self.ending is not None and self.ending.why is None

    @property
    def output(self) -> PartRef | ResultRef | None:
        """What the task left besides this report: its part, or the result of its script."""
        return self.part or (self.ending.result if self.ending else None)


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
