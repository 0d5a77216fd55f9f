"""Whether a file of results is the whole of its run: the original system never asked, and averaged what was left."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from msgspec import Struct

from skyfan.bench.records import Records, read_json
from skyfan.errors import InputError
from skyfan.wording import counted

UNPAGED = 1000
"""Keys that S3 lists at once: a listing that is not paged ends there."""
BESIDE_BYTES = 16 * 1024**2
"""Of a payload or summary beside a result."""
_SHOWN = 5

Verdict = Literal["complete", "partial", "truncated", "mixed", "damaged", "unclear", "unreadable"]
"""partial: fewer records than workers. truncated: 1,000 records exactly. mixed: of several runs. damaged: a record that
cannot be used. unclear: nothing says how many records there should be. unreadable: no list of records."""

T = TypeVar("T", bound=Hashable)


class Expected(Struct, frozen=True):
    """How many records, or partitions, a run must have, and who says so."""

    least: int
    most: int
    of: Literal["records", "partitions"]
    by: str

    def found(self, records: Records) -> int:
        """Return how many of them there are."""
        return records.count if self.of == "records" else records.partitions

    def __str__(self) -> str:
        span = f"{self.least:,}" if self.least == self.most else f"{self.least:,} or {self.most:,}"
        return f"{span} by {self.by}"


def expected_beside(folder: Path, records: Records) -> Expected | None:
    """Return what the files beside a result say of how many records it must have; None if they say nothing."""
    tasks = _object(folder / "summary.json").get("tasks") if records.ours else None
    if isinstance(tasks, int) and tasks > 0:
        return Expected(tasks, tasks, "records", "its summary.json")
    payload = _object(folder / "payload.json")
    data_map = payload.get("data_map")
    if isinstance(data_map, dict) and data_map:
        return Expected(len(data_map), len(data_map), "records", "the data_map of its payload.json")
    for key in ("world_size", "file_limit"):
        count = _whole(payload.get(key))
        if count:
            return Expected(count, count, "records", f"{key} of its payload.json")
    return None


def fullest_of_repeats(counts: Sequence[tuple[T, int]]) -> dict[T, int]:
    """Return how many records the fullest runs of a group have, where at least two of them have so many.

    Parameters
    ----------
    counts : sequence of (group, records)
        Of each run. A count of 1,000 says nothing: it may be a listing's end.
    """
    groups: defaultdict[T, Counter[int]] = defaultdict(Counter)
    for group, count in counts:
        if count != UNPAGED:
            groups[group][count] += 1
    return {group: max(found) for group, found in groups.items() if found[max(found)] > 1}


def judge(records: Records, expected: Expected | None) -> tuple[Verdict, str]:
    """Say whether a file is the whole of its run, and if not, everything that is wrong with it."""
    found = [*_of_number(records, expected), *_of_ranks(records), *_of_mixing(records)]
    found += [
        ("damaged", f"{count:,} of {counted(records.count, 'record')} {fault}")
        for fault, count in records.faults.most_common(_SHOWN)
    ]
    if not found:
        return "complete", ""
    return found[0][0], "; ".join(text for _, text in found)


def _of_number(records: Records, expected: Expected | None) -> list[tuple[Verdict, str]]:
    found = expected.found(records) if expected else 0
    fits = expected is not None and expected.least <= found <= expected.most
    if records.count == UNPAGED and not fits:
        by = f", expected {expected}" if expected else ""
        return [("truncated", f"exactly 1,000 records{by}: a listing that was not paged ends there")]
    if expected is None:
        return [("unclear", f"{counted(records.count, 'record')}, and nothing says how many there must be")]
    if found < expected.least:
        return [("partial", f"{found:,} {expected.of}, expected {expected}: the others are lost")]
    if found > expected.most:
        return [("mixed", f"{found:,} {expected.of}, expected {expected}: older results may be among them")]
    return []


def _of_ranks(records: Records) -> list[tuple[Verdict, str]]:
    if not records.ours:
        return []
    twice = sum(count > 1 for count in records.ranks.values())
    gaps = max(records.ranks) + 1 - len(records.ranks)
    faults: list[tuple[Verdict, str]] = []
    if twice:
        faults.append(("mixed", f"{counted(twice, 'rank')} more than once"))
    if gaps > 0:
        faults.append(("partial", f"{counted(gaps, 'rank')} below {max(records.ranks)} without a record"))
    return faults


def _of_mixing(records: Records) -> list[tuple[Verdict, str]]:
    faults: list[tuple[Verdict, str]] = []
    repeated = sum(count > 1 for count in records.data_paths.values())
    if repeated:
        faults.append(
            ("mixed", f"{counted(repeated, 'data_path')} more than once: results of several runs, or repeats")
        )
    several: Mapping[str, int] = {
        "batch sizes": len(records.batch_sizes),
        "devices": len(records.devices),
        "result_paths": len(records.result_paths),
        "folders of data": 0 if records.ours else len(records.folders),
    }
    faults += [("mixed", f"{count} different {name}") for name, count in several.items() if count > 1]
    if records.without_data:
        faults.append(("damaged", f"{counted(records.without_data, 'record')} without a data_path: nothing was read"))
    return faults


def _object(path: Path) -> dict[str, Any]:
    """Return the object in a file beside a result; empty if there is none that can be read."""
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        content = read_json(path, BESIDE_BYTES)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def _whole(value: Any) -> int | None:
    """Return a count, which the original's payloads have as a text too."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
