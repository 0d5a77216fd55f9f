"""What the files beside a result say of its run: its payload and, for skyfan's own runs, its summary."""

from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from skyfan.bench.records import MAX_NUMBER, Records, read_file, read_json
from skyfan.errors import InputError
from skyfan.summary import Summary, decode_summary
from skyfan.wording import counted

UNPAGED = 1000
"""Keys that S3 lists at once: a listing that is not paged ends there."""
BESIDE_BYTES = 16 * 1024**2
"""Of a payload or summary."""
_LONGEST = 300  # of a problem quoted
_COUNTS: dict[str, Literal["record", "partition"]] = {"world_size": "record", "file_limit": "partition"}
_BY_SUMMARY = "its summary.json"


class Expected(Struct, frozen=True):
    """How many records, or partitions, a run must have, and who says so."""

    least: int
    """0 if only the most is known."""
    most: int | None
    """None if only the least is known, as where a listing may have ended."""
    of: Literal["record", "partition"]
    by: str

    def found(self, records: Records) -> int:
        """Return how many of them there are."""
        return records.count if self.of == "record" else records.partitions

    def said(self, records: Records) -> str:
        """Return how many of them there are, in words."""
        return counted(self.found(records), self.of)

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
    data_bucket: str = ""
    """Where the partitions lie, by the payload; empty if it does not say."""
    summary: Summary | None = None
    """Skyfan's own; with one, no name of a folder is needed."""
    damaged: bool = False
    """Whether there is a summary that cannot be read."""
    all_paths: bool = True
    """Whether each of `data_paths` must have been read; not where somebody who knows better gave the number."""

    @property
    def lost(self) -> str:
        """Why the run is not complete, as its own summary has it; empty if it does not say that."""
        if self.summary is None or self.summary.complete:
            return ""
        return next(iter(self.summary.problems), "")[:_LONGEST] or "no reason given"


def said_beside(folder: Path, records: Records) -> Beside:
    """Return what the payload and, for skyfan's own results, the summary beside a result say of it."""
    payload = _object(folder / "payload.json")
    path = folder / "summary.json"
    summary = _summary(path)
    expected, data_paths = _of_data_map(payload.get("data_map"))
    expected = (*_of_summary(summary, records), *expected, *_of_payload(payload, records, summary))
    bucket = payload.get("data_bucket")
    return Beside(
        expected,
        data_paths,
        bucket if isinstance(bucket, str) else "",
        summary,
        damaged=summary is None and path.exists(),
    )


def _of_summary(summary: Summary | None, records: Records) -> tuple[Expected, ...]:
    """Return how many records there must be: one per task, but of a list that a script left one per item."""
    if summary is None:
        return ()
    if not summary.results or records.count <= summary.tasks:
        return (Expected(summary.tasks, summary.tasks, "record", _BY_SUMMARY),)
    partitions = Expected(summary.partitions, summary.partitions, "partition", _BY_SUMMARY)
    return Expected(summary.tasks, None, "record", _BY_SUMMARY), partitions


def _of_payload(payload: dict[str, Any], records: Records, summary: Summary | None) -> tuple[Expected, ...]:
    """Return how many records and partitions a payload asks for: of skyfan it takes as many as there are, if fewer."""
    own = records.ours or summary is not None
    found = []
    for key, of in _COUNTS.items():
        count = _whole(payload.get(key))
        if not count or (of == "record" and summary is not None):  # the summary knows better
            continue
        by = f"{key} of its payload.json"
        if of == "record" and count == UNPAGED:  # from the listing, perhaps, that ended there
            found += [] if own else [Expected(count, None, of, by)]
        else:
            found.append(Expected(0 if own else count, count, of, by))
    return tuple(found)


def _of_data_map(data_map: Any) -> tuple[tuple[Expected, ...], frozenset[str] | None]:
    """Return how many records a map of worker to partitions asks for, and which partitions."""
    if not isinstance(data_map, dict) or not data_map:
        return (), None
    count = len(data_map)
    most = None if count == UNPAGED else count  # such a map comes from the listing that ended there
    expected = (Expected(count, most, "record", "the data_map of its payload.json"),)
    given = [value for value in data_map.values() if value is not None]  # null: a worker with nothing to read
    paths = [path for value in given for path in (value if isinstance(value, list) else [value])]
    named = all(isinstance(path, str) and path for path in paths)
    return expected, frozenset(paths) if named else None


def _object(path: Path) -> dict[str, Any]:
    """Return the object in a file beside a result; empty if there is none that can be read."""
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        content = read_json(path, BESIDE_BYTES)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def _summary(path: Path) -> Summary | None:
    """Return skyfan's own summary beside a result; None if there is none that can be read."""
    if path.is_symlink() or not path.is_file():
        return None
    try:
        found = decode_summary(read_file(path, BESIDE_BYTES))
    except InputError:
        return None
    return found if found is not None and _is_possible(found) else None


def _is_possible(summary: Summary) -> bool:
    """Return whether the counts that are taken from a summary can be counts."""
    drive = summary.drive
    counts = (summary.tasks, summary.partitions, summary.bytes_in, summary.threads, drive.tasks, drive.workers)
    return all(0 <= count <= MAX_NUMBER for count in counts) and summary.tasks > 0


def _whole(value: Any) -> int | None:
    """Return a count, which the original's payloads have as a text too."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
