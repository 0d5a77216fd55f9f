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
_LONGEST = 300  # of a problem quoted
_COUNTS: dict[str, Literal["records", "partitions"]] = {"world_size": "records", "file_limit": "partitions"}

Verdict = Literal["complete", "partial", "truncated", "mixed", "damaged", "unclear", "unreadable"]
"""partial: fewer records than workers. truncated: 1,000 records exactly. mixed: of several runs. damaged: a record that
cannot be used. unclear: nothing says how many records there should be. unreadable: no list of records."""

T = TypeVar("T", bound=Hashable)


class Expected(Struct, frozen=True):
    """How many records, or partitions, a run must have, and who says so."""

    least: int
    """0 if only the most is known."""
    most: int | None
    """None if only the least is known, as where a listing may have ended."""
    of: Literal["records", "partitions"]
    by: str

    def found(self, records: Records) -> int:
        """Return how many of them there are."""
        return records.count if self.of == "records" else records.partitions

    def settles(self, records: Records) -> bool:
        """Return whether it is known by this that there are all: a most does so only once it is reached."""
        found = self.found(records)
        return (
            self.most is not None
            and max(self.least, 1) <= found <= self.most
            and (self.least > 0 or found == self.most)
        )

    def __str__(self) -> str:
        if self.most is None or not self.least:
            return f"at {'least' if self.least else 'most'} {self.least or self.most or 0:,} by {self.by}"
        span = f"{self.least:,}" if self.least == self.most else f"{self.least:,} or {self.most:,}"
        return f"{span} by {self.by}"


class Beside(Struct, frozen=True):
    """What the files beside a result say of it."""

    expected: tuple[Expected, ...] = ()
    data_paths: frozenset[str] | None = None
    """Partitions that the payload gave to the workers; None if it does not name them."""
    lost: str = ""
    """Why the run is not complete, as its own summary has it."""
    sure: bool = False
    """Whether skyfan's own summary says it, so that no name of a folder is needed."""


def said_beside(folder: Path, records: Records) -> Beside:
    """Return what the payload and, for skyfan's own results, the summary beside a result say of it."""
    payload = _object(folder / "payload.json")
    expected, data_paths = _of_data_map(payload.get("data_map"))
    for key, of in _COUNTS.items():
        count = _whole(payload.get(key))
        if not count:
            continue
        by = f"{key} of its payload.json"
        if of == "records" and count == UNPAGED:  # from the listing, perhaps, that ended there
            expected += () if records.ours else (Expected(count, None, of, by),)
        else:  # skyfan takes as many as there are, if there are fewer
            expected += (Expected(0 if records.ours else count, count, of, by),)
    summary = _object(folder / "summary.json") if records.ours else {}
    tasks = _whole(summary.get("tasks"))
    if tasks:
        expected = (Expected(tasks, tasks, "records", "its summary.json"), *expected)
    return Beside(expected, data_paths, _lost(summary), sure=bool(tasks))


def _of_data_map(data_map: Any) -> tuple[tuple[Expected, ...], frozenset[str] | None]:
    """Return how many records a map of worker to partitions asks for, and which partitions."""
    if not isinstance(data_map, dict) or not data_map:
        return (), None
    count = len(data_map)
    most = None if count == UNPAGED else count  # such a map comes from the listing that ended there
    expected = (Expected(count, most, "records", "the data_map of its payload.json"),)
    given = [value for value in data_map.values() if value is not None]  # null: a worker with nothing to read
    paths = [path for value in given for path in (value if isinstance(value, list) else [value])]
    named = all(isinstance(path, str) and path for path in paths)
    return expected, frozenset(paths) if named else None


def _lost(summary: Mapping[str, Any]) -> str:
    """Return why a run is not complete by its own summary; nothing if it does not say that."""
    if summary.get("complete") is not False:
        return ""
    problems = summary.get("problems")
    first = problems[0] if isinstance(problems, list) and problems else None
    return first[:_LONGEST] if isinstance(first, str) and first else "no reason given"


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


def judge(records: Records, beside: Beside) -> tuple[Verdict, str]:
    """Say whether a file is the whole of its run, and if not, everything that is wrong with it."""
    found: list[tuple[Verdict, str]] = []
    if beside.lost:
        found.append(("partial", f"its summary.json says that the run is not complete: {beside.lost}"))
    found += [*_of_number(records, beside.expected), *_of_names(records, beside.data_paths)]
    found += [*_of_ranks(records), *_of_mixing(records)]
    found += [
        ("damaged", f"{count:,} of {counted(records.count, 'record')} {fault}")
        for fault, count in records.faults.most_common(_SHOWN)
    ]
    if not found:
        return "complete", ""
    return found[0][0], "; ".join(text for _, text in found)


def _of_number(records: Records, expected: Sequence[Expected]) -> list[tuple[Verdict, str]]:
    """Hold the number of records and partitions against all that is expected: none of it stands in for the others."""
    faults: list[tuple[Verdict, str]] = []
    for item in expected:
        found = item.found(records)
        if found < item.least:
            faults.append(("partial", f"{found:,} {item.of}, expected {item}: the others are lost"))
        elif item.most is not None and found > item.most:
            faults.append(("mixed", f"{found:,} {item.of}, expected {item}: older results may be among them"))
    settled = any(item.settles(records) for item in expected)
    by = f", expected {'; '.join(map(str, expected))}" if expected else ""
    if records.count == UNPAGED and (faults or not settled):
        return [("truncated", f"exactly 1,000 records{by}: a listing that was not paged ends there")]
    if not faults and not settled:
        must = f"{by}, and nothing says" if expected else ", and nothing says"
        return [("unclear", f"{counted(records.count, 'record')}{must} how many there must be")]
    return faults


def _of_names(records: Records, wanted: frozenset[str] | None) -> list[tuple[Verdict, str]]:
    """Hold the partitions read against those that the payload names."""
    found = set(records.data_paths)
    faults: list[tuple[Verdict, str]] = []
    if wanted is not None and (lost := len(wanted - found)):
        faults.append(("partial", f"{counted(lost, 'partition')} of the data_map of its payload.json without a record"))
    if wanted is not None and (other := len(found - wanted)):
        faults.append(("mixed", f"{counted(other, 'data_path')} that the data_map of its payload.json does not have"))
    return faults


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
