"""What the states of the state machine hand to each other. Nothing here grows with the number of tasks."""

from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from skyfan.errors import InputError
from skyfan.task import ScriptRef, Task


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """The input of an execution: what a user starts it with."""

    payload: dict[str, Any]
    overwrite: bool = False
    """Delete first what an earlier run stored at the result path."""


class Start(Struct, frozen=True):
    """What Initialize is started with."""

    request: Request
    execution: str
    """Its ARN."""


class Begun(Struct, frozen=True, kw_only=True):
    """What Initialize returns, and what the state machine knows of the run from then on."""

    execution: str
    """Its ARN: by that it holds the run's lease."""
    payload: dict[str, Any]
    """Normalised."""
    bucket: str
    pending_key: str
    """Object in `bucket`: a JSON array of the tasks to do."""
    map_prefix: str
    """Folder in `bucket` for what Step Functions writes of its map."""
    tasks: int
    """Of the run."""
    pending: int
    """Of them, those to do."""
    max_concurrency: int
    max_attempts: int
    task_timeout_s: int
    tolerated_failure_percentage: float
    tolerated_failure_count: int
    started_at: str
    planned_at: str
    """Just before the map."""
    warnings: list[str]
    found_finished: bool
    """Nothing was left to do, and nothing is surplus."""
    script: ScriptRef | None = None
    """What the tasks run if it is no model. It decides which function does them: what the store says of each is held
    against it."""
    map_error: dict[str, str] | None = None
    """Set by the state machine if its map failed."""


class Item(Struct, frozen=True):
    """What Infer is started with, once an attempt."""

    task: Task
    started_at: str
    """Of the execution."""
    max_attempts: int
    retry_count: int
    """How often this state was started before, be it for nothing: throttled starts count."""
    script: ScriptRef | None = None
    """Of the run, as Initialize planned it."""
    caught: dict[str, str] | None = None
    """On the larger worker: how it ended on the usual one, `Error` and `Cause`."""


class Inferred(Struct, frozen=True):
    """What Infer returns; its report is in the store."""

    rank: int
    rows: int


class Ended(Struct, frozen=True):
    """What Summarize is started with."""

    begun: Begun
    map_ended_at: str


class Verdict(Struct, frozen=True):
    """What Summarize returns, and with it the execution; the summary is in the store."""

    run: str
    status: Literal["complete", "incomplete", "failed"]
    """`incomplete`: tasks failed within what the payload tolerates, or something is surplus."""
    tasks: int
    tasks_ok: int
    rows_out: int
    message: str
    """What is missing, and what to do."""


Parsed = TypeVar("Parsed", Start, Item, Ended)


def parse(event: object, kind: type[Parsed]) -> Parsed:
    """Check what a function was started with.

    Raises
    ------
    InputError
        If it is not of that kind.
    """
    try:
        return msgspec.convert(event, kind)
    except msgspec.ValidationError as error:
        users = Request if kind is Start else kind  # what a user wrote of it, if anything
        fields = ", ".join(field.encode_name for field in msgspec.structs.fields(users))
        raise InputError(
            f"event: {error}; expected a JSON object with {fields}, as skyfan's state machine gives it"
        ) from error


def to_json(result: Begun | Inferred | Verdict) -> dict[str, Any]:
    """Return a result as a Lambda function returns it."""
    mapping: dict[str, Any] = msgspec.to_builtins(result)
    return mapping
