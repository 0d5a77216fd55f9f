"""Every stored name: how it is checked, built and read back. No other module spells a key."""

import re
from dataclasses import dataclass

from skyfan.errors import KeyNameError

MAX_KEY_BYTES = 1024  # S3's own limit, so that what works in a folder works there too
MAX_SEGMENT_BYTES = 255  # that of a folder's file system, so that what works on S3 works there too
INDEX_NAME = "index.json"
SHARED_PAYLOAD = "payload.json"
"""Where the original system wrote the payload of whichever run was the last: at the root of the bucket."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNWRITABLE = re.compile(r"(?:[:|]|#\d+)\Z", re.ASCII)
_DIGITS = re.compile(r"(\d+)", re.ASCII)
_RANKED = re.compile(r"(?:part-)?(\d{5,})\.(?:parquet|json|log)", re.ASCII)
_RESULT = re.compile(r"(0|[1-9]\d*)\.json", re.ASCII)


def check_key(text: str, what: str) -> str:
    """Return a key as it is, or say why it could leave its folder or be read in two ways.

    Raises
    ------
    KeyNameError
        If the key is empty, absolute or too long, or has a `..`, `.`, empty or too long segment, a backslash or a
        control character, or an ending that no
        folder store can hold.
    """
    fault = _fault(text)
    if fault:
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise KeyNameError(
            f"{what}: {shown!r} {fault}; expected names joined by single slashes, as in 'surveys/25MB', "
            "without '.', '..', backslashes or control characters"
        )
    return text


def has_control(text: str) -> bool:
    """Whether a name holds a control character, a line's end or a byte that is no text: no key may."""
    return _CONTROL.search(text) is not None


def _fault(text: str) -> str | None:
    faults = {
        "is empty": not text,
        "holds a control character": has_control(text),
        "is absolute": text.startswith("/"),
        "holds a backslash": "\\" in text,
        f"is longer than {MAX_KEY_BYTES} bytes": _bytes(text) > MAX_KEY_BYTES,
        "has an empty, '.' or '..' segment": not {"", ".", ".."}.isdisjoint(text.split("/")),
        # such files the storage library cannot write, or takes for half-written ones of its own
        "ends with a colon, a bar, or '#' and a number": _UNWRITABLE.search(text) is not None,
        f"has a name longer than {MAX_SEGMENT_BYTES} bytes": max(map(_bytes, text.split("/"))) > MAX_SEGMENT_BYTES,
    }
    return next((fault for fault, found in faults.items() if found), None)


def _bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def check_prefix(text: str, what: str) -> str:
    """Return a prefix as a folder's name; one slash at its end is allowed and dropped.

    Raises
    ------
    KeyNameError
        As `check_key`.
    """
    return check_key(text.removesuffix("/") if text != "/" else text, what)


def check_bucket(text: str, what: str) -> str:
    """Return a bucket's name, which is one segment.

    Raises
    ------
    KeyNameError
        As `check_key`, and if the name holds a slash.
    """
    check_key(text, what)
    if "/" in text:
        raise KeyNameError(f"{what}: {text!r} holds a slash; expected one name; folders belong into the prefix or path")
    return text


def natural(key: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which 2.pt comes before 10.pt; distinct keys never compare equal."""
    pieces = _DIGITS.split(key)
    return tuple((1, int(piece), piece) if i % 2 else (0, 0, piece) for i, piece in enumerate(pieces))


def index_of(prefix: str) -> str:
    """Key of the index beside the partitions of a prefix."""
    return f"{prefix}/{INDEX_NAME}"


def partition_of(prefix: str, number: int, suffix: str) -> str:
    """Key of partition `number`, counted from 1 as in the original system."""
    return f"{prefix}/{number}{suffix}"


@dataclass(frozen=True)
class RunKeys:
    """The names of all that one run stores in its bucket, below its result path."""

    result_path: str

    @property
    def payload(self) -> str:
        return f"{self.result_path}/payload.json"

    @property
    def leases(self) -> str:
        return f"{self.result_path}/lease"

    def lease(self, generation: int) -> str:
        return f"{self.leases}/{generation:05d}.json"

    @property
    def manifest(self) -> str:
        return f"{self.result_path}/manifest.json"

    @property
    def pending(self) -> str:
        """What an execution on AWS maps over: the items of the manifest that it has to do."""
        return f"{self.result_path}/pending.json"

    @property
    def map_results(self) -> str:
        """Folder of what Step Functions itself writes about its map; nothing reads it but people."""
        return f"{self.result_path}/map"

    @property
    def combined(self) -> str:
        return f"{self.result_path}/combined_data.json"

    @property
    def summary(self) -> str:
        return f"{self.result_path}/summary.json"

    @property
    def bill(self) -> str:
        """What an execution on AWS did cost, written by whoever watched it to its end."""
        return f"{self.result_path}/bill.json"

    @property
    def predictions(self) -> str:
        return f"{self.result_path}/predictions"

    @property
    def reports(self) -> str:
        return f"{self.result_path}/reports"

    @property
    def failures(self) -> str:
        return f"{self.result_path}/failures"

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder that a run writes to."""
        return (self.result_path, self.leases, self.predictions, self.reports, self.failures, self.logs)

    @property
    def logs(self) -> str:
        """Folder of what the scripts of script tasks print."""
        return f"{self.result_path}/logs"

    def log(self, rank: int) -> str:
        return f"{self.logs}/{rank:05d}.log"

    def result(self, rank: int) -> str:
        """Where a script may put its result, as in the original system: the rank is not padded."""
        return f"{self.result_path}/{rank}.json"

    def is_result(self, key: str) -> bool:
        """Whether a key is that of a script's result."""
        folder, _, name = key.rpartition("/")
        return folder == self.result_path and _RESULT.fullmatch(name) is not None

    def failure(self, rank: int) -> str:
        return f"{self.failures}/{rank:05d}.json"

    def owns(self, key: str) -> bool:
        """Whether a key is one that this run could have written."""
        if key in {self.payload, self.manifest, self.pending, self.combined, self.summary, self.bill}:
            return True
        rank = rank_of(key)
        named = (self.part, self.report, self.failure, self.log, self.lease)
        return rank is not None and any(key == name(rank) for name in named)

    def part(self, rank: int) -> str:
        return f"{self.predictions}/part-{rank:05d}.parquet"

    def report(self, rank: int) -> str:
        return f"{self.reports}/{rank:05d}.json"


def rank_of(key: str) -> int | None:
    """Rank of a part's or report's key, or generation of a lease's; None for any other name."""
    match = _RANKED.fullmatch(key.rsplit("/", 1)[-1])
    return int(match[1]) if match else None
