"""One combined_data.json, read with suspicion: how many records, what they say, and what is wrong with them."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from skyfan.errors import InputError

MAX_BYTES = 32 * 1024**2
"""Of one file; 40,000 records take 25 MB."""
MAX_NUMBER = 1e15
LEAST_SECONDS = 1e-9
"""Of a record: less is no time that anything took."""

SECONDS, MEMORY, BATCH_SIZE, DATA_PATH = "total_cpu_time (seconds)", "total_cpu_memory (MB)", "batch_size", "data_path"
NEEDED = (SECONDS, MEMORY, BATCH_SIZE, DATA_PATH)
OTHERS = (
    "execution_time (seconds/batch)",
    "num_batches",
    "device",
    "throughput_bps",
    "sample_persec",
    "result_path",
)
OURS = ("rank", "rows", "bytes")
"""Keys that only skyfan's own records have: with them, seconds are seconds of work, and rows are known or, of a script,
null."""


class Records(Struct):
    """What the records of one file say, added up."""

    count: int = 0
    ours: bool = False
    """Whether skyfan wrote them."""
    seconds: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    batch_sizes: set[int] = field(default_factory=set)
    devices: set[str] = field(default_factory=set)
    result_paths: set[str] = field(default_factory=set)
    data_paths: Counter[str] = field(default_factory=Counter)
    """Partition -> how often it was read."""
    without_data: int = 0
    """Records whose `data_path` is null: workers that had nothing to read."""
    rows: int | None = 0
    """None if a record does not know its own."""
    bytes: int = 0
    ranks: Counter[int] = field(default_factory=Counter)
    lacking: Counter[str] = field(default_factory=Counter)
    """Key that is needed -> how many records have none."""
    faults: Counter[str] = field(default_factory=Counter)
    """What else is wrong with a record -> how many have it."""
    absent: Counter[str] = field(default_factory=Counter)
    """Key that is not needed, and null or not there -> how many lack it."""

    @property
    def partitions(self) -> int:
        """Partitions read, repeated ones counted each time."""
        return sum(self.data_paths.values())

    @property
    def folders(self) -> set[str]:
        """Folders of the partitions."""
        return {path.rpartition("/")[0] for path in self.data_paths}


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a file of unknown origin.

    Raises
    ------
    InputError
        If it cannot be read, or is larger than that; the message has no path.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if len(data) > max_bytes:
        raise InputError(f"is larger than {max_bytes // 1024**2} MiB: not read")
    return data


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Read a JSON file of unknown origin; NaN and infinity are read as floats.

    Raises
    ------
    InputError
        As `read_file`, and if it is not JSON.
    """
    data = read_file(path, max_bytes)
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise InputError("not JSON that can be read: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"not JSON ({str(error)[:80]}): cut short or damaged") from error


def read_records(path: Path) -> Records:
    """Read the records of one file.

    Raises
    ------
    InputError
        As `read_json`, and if it is no list.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"is {_type(content)}; expected a list of records, one per worker")
    if not content:
        raise InputError("is an empty list; expected one record per worker")
    records = Records(count=len(content), ours=all(isinstance(item, dict) and _is_ours(item) for item in content))
    for item in content:
        if isinstance(item, dict):
            _add(records, item)
        else:
            records.faults[f"{_type(item)}; expected an object"] += 1
    return records


def _is_ours(item: Mapping[str, Any]) -> bool:
    return all(key in item and (_is_count(item[key]) or (key == "rows" and item[key] is None)) for key in OURS)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _add(records: Records, item: Mapping[str, Any]) -> None:
    records.lacking.update(key for key in NEEDED if key not in item)
    records.absent.update(key for key in OTHERS if item.get(key) is None)
    for key, values in ((SECONDS, records.seconds), (MEMORY, records.memory_mb)):
        if key in item and _is_number(records, item, key):
            values.append(float(item[key]))
    _add_batch_size(records, item)
    for key, texts in (("device", records.devices), ("result_path", records.result_paths)):
        if isinstance(item.get(key), str):
            texts.add(item[key])
    if DATA_PATH in item:
        _add_paths(records, item[DATA_PATH])
    if records.ours:
        known = records.rows is not None and item["rows"] is not None
        records.rows = records.rows + item["rows"] if known else None
        records.bytes += item["bytes"]
        records.ranks[item["rank"]] += 1


def _add_batch_size(records: Records, item: Mapping[str, Any]) -> None:
    value = item.get(BATCH_SIZE)
    if _is_count(value) and value:
        records.batch_sizes.add(int(value))
    elif BATCH_SIZE in item:
        records.faults[f"{BATCH_SIZE!r} is {_shown(value)}; expected a whole number above 0"] += 1


def _is_number(records: Records, item: Mapping[str, Any], key: str) -> bool:
    value = item[key]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_NUMBER:
        if key != SECONDS or value >= LEAST_SECONDS:
            return True
        records.faults[f"{key!r} is {_shown(value)}; expected {LEAST_SECONDS:g} or more"] += 1
        return False
    records.faults[f"{key!r} is {_shown(value)}; expected a number above 0"] += 1
    return False


def _add_paths(records: Records, value: Any) -> None:
    paths = value if isinstance(value, list) else [value]
    if value is None or paths == []:
        records.without_data += 1
    elif all(isinstance(path, str) and path for path in paths):
        records.data_paths.update(paths)
    else:
        records.faults[f"{DATA_PATH!r} is {_type(value)}; expected a name or a list of names"] += 1


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")


def _shown(value: Any) -> str:
    """Return a number as it is, anything else by its type: a text may be anything, of any length."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _type(value)
    return f"{value:g}" if abs(value) <= MAX_NUMBER else "too large"
