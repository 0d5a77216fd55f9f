"""What a user asks for: one JSON object. It is checked here, once; everything after trusts it."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct, field

from skyfan.errors import PayloadError
from skyfan.keys import check_bucket, check_key, check_prefix

DEFAULT_BATCH_SIZE = 32
DEFAULT_ATTEMPTS = 3
DEFAULT_TIMEOUT_S = 900.0
DEFAULT_PROCESSES = 256

_Positive = Annotated[int, Meta(ge=1, le=1_000_000_000)]
_MAX_TIMEOUT_S = 14 * 86_400.0

ObjectType = Literal["folder", "file"]


class Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request: which partitions, which model, where to, and how hard to try."""

    bucket: Annotated[str, Meta(description="Bucket that the run writes to, and that holds the model.")]
    data_bucket: Annotated[str, Meta(description="Bucket that holds the partitions.")]
    data_prefix: Annotated[
        str, Meta(description="Folder of the partitions in `data_bucket`. `25MB` means `25MB/`, never `25MB-old/`.")
    ]
    result_path: Annotated[
        str, Meta(description="Folder in `bucket` for all that the run writes. Together they name the run.")
    ]
    model: Annotated[
        str | None,
        Meta(
            description="Key of an ONNX file in `bucket` (ends in `.onnx`), or name of a model that ships with skyfan. "
            "Without it and without `script`: the shipped model."
        ),
    ] = None
    file_limit: Annotated[
        _Positive | None,
        Meta(description="At most so many partitions, the first in natural order (2 before 10). Without it: all."),
    ] = None
    world_size: Annotated[
        _Positive | None,
        Meta(
            description="Number of tasks. Fewer than partitions: a task takes several. More: the rest is not started. "
            "Without it: one task per partition."
        ),
    ] = None
    batch_size: Annotated[_Positive, Meta(description="Rows that the model is given at once.")] = DEFAULT_BATCH_SIZE
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=256)],
        Meta(
            description="Threads of one worker's model. More than 1 is for workers that have several cores each; one "
            "thread per worker, and one worker per core, is the fastest way to fill a machine."
        ),
    ] = 1
    max_concurrency: Annotated[
        _Positive | None, Meta(description="At most so many tasks at a time. Without it: as many as there are workers.")
    ] = None
    max_attempts: Annotated[
        _Positive,
        Meta(description="How often a task is tried when what failed can pass (a store error, a dead worker)."),
    ] = DEFAULT_ATTEMPTS
    tolerated_failure_percentage: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(
            description="Above this percentage of failed tasks the run fails and starts no new task. Without both: 0."
        ),
    ] = None
    tolerated_failure_count: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000_000)] | None,
        Meta(description="Above this number of failed tasks the run fails and starts no new task. Without both: 0."),
    ] = None
    task_timeout_s: Annotated[
        Annotated[float, Meta(gt=0, le=_MAX_TIMEOUT_S)],
        Meta(description="Seconds after which an attempt at a task is ended and counts as failed."),
    ] = DEFAULT_TIMEOUT_S
    script: Annotated[
        str | None,
        Meta(
            description="Python file that every task runs, in `S3_object_name`: `/tmp/<S3_object_name>/...`, or its "
            "place in that folder. Not used if `model` is given."
        ),
    ] = None
    s3_object_name: Annotated[
        str | None,
        Meta(description="Folder or file of code in `bucket`; a script finds it at `/tmp/<S3_object_name>`."),
    ] = field(name="S3_object_name", default=None)
    object_type: Annotated[ObjectType, Meta(description="What `S3_object_name` is.")] = "folder"
    script_memory_mb: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000_000)] | None,
        Meta(description="MiB that a script and all that it starts may take. Without it: what the machine has."),
    ] = None
    script_processes: Annotated[
        _Positive, Meta(description="Processes that a script may have at once, itself among them.")
    ] = DEFAULT_PROCESSES
    script_disk_mb: Annotated[
        Annotated[float, Meta(gt=0, le=1_000_000_000)] | None,
        Meta(description="MiB that a script may write to its `/tmp`. Without it: what the disk has."),
    ] = None

    @property
    def run_id(self) -> str:
        """Return the run's name, `<bucket>/<result_path>`."""
        return f"{self.bucket}/{self.result_path}"

    @property
    def is_script(self) -> bool:
        """Whether its tasks run a user's script instead of a model."""
        return self.model is None and self.script is not None

    def to_mapping(self) -> dict[str, Any]:
        """Return the keys that were given, as JSON has them."""
        mapping: dict[str, Any] = msgspec.to_builtins(self)
        return mapping

    def encode(self) -> bytes:
        """Return the payload as the run stores it: normalised, without defaults."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


EFFORT = frozenset(
    {
        "max_concurrency",
        "max_attempts",
        "tolerated_failure_percentage",
        "tolerated_failure_count",
        "task_timeout_s",
        "script_memory_mb",
        "script_processes",
        "script_disk_mb",
    }
)
"""Keys that say how hard to try, not what to compute: a run may be resumed with others."""

_FIELDS = {item.encode_name: item for item in msgspec.structs.fields(Payload)}
_ALIASES = {"result path": "result_path"}  # as the seed prints it once


def load_payload(path: Path, overrides: Mapping[str, Any] | None = None) -> tuple[Payload, list[str]]:
    """Read a payload file.

    Parameters
    ----------
    path : Path
        A JSON file with one object.
    overrides : mapping, optional
        Keys that replace the file's; None values do not.

    Returns
    -------
    payload, warnings : Payload, list of str

    Raises
    ------
    PayloadError
        If the file cannot be read or its content is no payload.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise PayloadError(
            f"payload {path}: cannot be read ({error.strerror}); expected a JSON file, as in examples/payloads"
        ) from error
    return parse_payload(decode_object(text, str(path)), overrides, source=str(path))


def decode_object(text: bytes, source: str) -> dict[str, Any]:
    """Decode one JSON object without repeated keys; `source` names it in messages."""
    try:
        raw = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            f"payload {source}: not JSON ({error}); expected one object with the keys {_required()}"
        ) from error
    if isinstance(raw, list):
        raise PayloadError(
            f"payload {source}: a list of {len(raw)} items; expected one object: put each into a file of its own"
        )
    if not isinstance(raw, dict):
        raise PayloadError(
            f"payload {source}: got {type(raw).__name__}; expected one object with the keys {_required()}"
        )
    return raw


def parse_payload(
    raw: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, source: str = "(a mapping)"
) -> tuple[Payload, list[str]]:
    """Check a payload given as a mapping; see `load_payload`."""
    warnings: list[str] = []
    merged: dict[str, Any] = {}
    for key, value in raw.items():
        name = _ALIASES.get(key, key)
        if name != key:
            warnings.append(f"payload key {key!r} is taken for {name!r}")
        if name in merged:
            raise PayloadError(f"payload {source}: {name!r} is given twice, once as {_alias_of(name)!r}; keep one")
        merged[name] = value
    merged |= {key: value for key, value in (overrides or {}).items() if value is not None}
    for key in merged:
        if key not in _FIELDS:
            raise PayloadError(_unknown(str(key), source))
    missing = [name for name, item in _FIELDS.items() if item.required and name not in merged]
    if missing:
        raise PayloadError(f"payload {source}: missing {', '.join(map(repr, missing))}; required are {_required()}")
    values = {name: _from_text(value) if _wants_number(name) else value for name, value in merged.items()}
    try:
        payload = msgspec.convert(values, Payload)
    except msgspec.ValidationError as error:
        raise PayloadError(_mistyped(error, merged, source)) from error
    return _checked_names(payload), warnings


def _checked_names(payload: Payload) -> Payload:
    check_bucket(payload.bucket, "payload key 'bucket'")
    check_bucket(payload.data_bucket, "payload key 'data_bucket'")
    if payload.model is not None:
        check_key(payload.model, "payload key 'model'")
    if payload.script is not None:
        check_key(payload.script.removeprefix("/"), "payload key 'script'")  # the seed's are absolute
    folder = payload.s3_object_name
    return msgspec.structs.replace(
        payload,
        s3_object_name=None if folder is None else check_prefix(folder, "payload key 'S3_object_name'"),
        data_prefix=check_prefix(payload.data_prefix, "payload key 'data_prefix'"),
        result_path=check_prefix(payload.result_path, "payload key 'result_path'"),
    )


def differing_keys(one: Payload, other: Payload) -> list[str]:
    """Names of the keys in which two payloads ask for different work."""
    first, second = msgspec.to_builtins(one), msgspec.to_builtins(other)
    return [name for name in _FIELDS if name not in EFFORT and first.get(name) != second.get(name)]


def _required() -> str:
    return ", ".join(name for name, item in _FIELDS.items() if item.required)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        repeated = next(key for key in result if sum(key == name for name, _ in pairs) > 1)
        raise ValueError(f"the key {repeated!r} is given twice")
    return result


def _alias_of(name: str) -> str:
    return next(alias for alias, known in _ALIASES.items() if known == name)


def _unknown(key: str, source: str) -> str:
    near = difflib.get_close_matches(key.lower().replace(" ", "_"), list(_FIELDS), 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_FIELDS)}"
    return f"payload {source}: unknown key {_shown(key)}; {hint}"


def _wants_number(name: str) -> bool:
    default = _FIELDS[name].default
    return isinstance(default, int | float) or name in {"file_limit", "world_size"} | EFFORT


def _from_text(value: Any) -> Any:
    """Return the number that a text is, as the seed gives them; anything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text.isascii() or "_" in text:
        return value
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return value


def _mistyped(error: msgspec.ValidationError, merged: Mapping[str, Any], source: str) -> str:
    text, _, place = str(error).partition(" - at `$.")
    name = place.rstrip("`")
    got = f" {_shown(merged[name])}" if name in merged else ""
    if text.startswith("Invalid enum value"):
        text = f"expected one of {', '.join(get_args(ObjectType))}"
    return f"payload {source}: key {name!r}{got}: {text[:1].lower()}{text[1:].replace('`', '')}"


def _shown(value: Any) -> str:
    """Return a value for a message, cut to a length that a line can hold."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or lists in lists in lists
        return f"of type {type(value).__name__}, too large to print"
    return text if len(text) <= 80 else f"{text[:77]}..."
