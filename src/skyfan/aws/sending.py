"""What an upload sends: files as they lie on the disk, held against their index, and read piece by piece."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from skyfan.errors import InputError, SurveyError
from skyfan.keys import INDEX_NAME, check_key, index_of, natural
from skyfan.partitions import SUFFIXES, decode_index

CHUNK_BYTES = 1024 * 1024
PART_BYTES = 32 * CHUNK_BYTES
"""A larger file is sent in parts of this size, each of which stays if the rest fails."""
MOST_PARTS = 10_000  # S3's limit


@dataclass(frozen=True)
class File:
    """A file, and the key that it will have."""

    path: Path
    key: str
    size: int
    changed_ns: int

    @property
    def is_index(self) -> bool:
        return self.path.name == INDEX_NAME


@dataclass(frozen=True)
class Part:
    """A stretch of a file that is sent by itself."""

    number: int
    start: int
    length: int


def collect(source: Path, prefix: str) -> list[File]:
    """List what is to be sent, with the names that it will have."""
    with reading(source):
        if not source.is_dir():
            return [_look(source, f"{prefix}/{source.name}")]
        found = []
        for folder, names, inside in os.walk(source, onerror=_refuse):
            for path in (Path(folder, name) for name in [*names, *inside]):
                if path.is_symlink():
                    raise InputError(f"{path}: is a symbolic link; expected files: put the file itself there")
                if path.name not in names:
                    found.append(_look(path, f"{prefix}/{path.relative_to(source).as_posix()}"))
    if not found:
        raise InputError(f"{source}: holds no file; expected partitions or models: see 'skyfan partition'")
    return sorted(found, key=lambda file: natural(file.key))


def _refuse(error: OSError) -> None:
    raise error


def _look(path: Path, key: str) -> File:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{path}: is neither a file nor a folder; expected only those: take it away")
    return File(path, check_key(key, str(path)), state.st_size, state.st_mtime_ns)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say what to do where a file cannot be read."""
    try:
        yield
    except OSError as error:
        where, why = error.filename or path, error.strerror or error
        raise InputError(f"{where}: cannot be read ({why}); expected a file or folder that stays as it is") from error


def indexed(files: Sequence[File]) -> dict[str, str]:
    """Hold every index against the partitions beside it; return the SHA-256 that it gives for their keys."""
    sizes = {file.key: file.size for file in files}
    hashes: dict[str, str] = {}
    for file in (file for file in files if file.is_index):
        with reading(file.path):
            index = decode_index(file.path.read_bytes(), str(file.path))
        if not index.complete:
            raise SurveyError(f"{file.path}: 'skyfan partition' has not finished here; run it again with --overwrite")
        folder = file.key.removesuffix(INDEX_NAME)
        named = {folder + item.key: item for item in index.partitions}
        for key in named.keys() | {key for key in sizes if key.startswith(folder) and key.endswith(SUFFIXES)}:
            if key not in named or sizes.get(key) != named[key].bytes:
                raise SurveyError(
                    f"{file.path.parent / key.removeprefix(folder)}: is not what {INDEX_NAME} says: absent, of another "
                    "size, or not in it; expected exactly its partitions: make them again with 'skyfan partition'"
                )
        hashes |= {key: item.sha256 for key, item in named.items() if item.sha256}
    return hashes


def guards(files: Sequence[File], prefix: str) -> dict[str, set[str]]:
    """Return the partitions that each index guards; where there is none, it is one that goes when they are there.

    Those of a nested folder that have none are guarded at `prefix`, the upload's own, too: a payload may name either.
    """
    known = {file.key for file in files if file.is_index}
    guards: dict[str, set[str]] = {}
    for key in (file.key for file in files if file.key.endswith(SUFFIXES)):
        above = [index_of(str(folder)) for folder in Path(key).parents[:-1]]
        nearest = next((index for index in above if index in known), None)
        for index in [nearest] if nearest else [above[0], index_of(prefix)]:
            guards.setdefault(index, set()).add(key)
    return guards


def strangers(files: Sequence[File], there: Iterable[str]) -> list[str]:
    """Return the partitions among those that are there that would pass as part of this upload, and are none of it.

    An index of the upload says what belongs to it, and lies above all that it speaks for.
    """
    ours = {file.key for file in files}
    spoken_for = tuple(file.key.removesuffix(INDEX_NAME) for file in files if file.is_index)
    return sorted(
        (key for key in there if key.endswith(SUFFIXES) and key not in ours and not key.startswith(spoken_for)),
        key=natural,
    )


def part_bytes(length: int) -> int:
    """Return how large the parts of a file are."""
    return max(PART_BYTES, count(length, MOST_PARTS))


def count(length: int, step: int) -> int:
    """Return how many steps a length takes."""
    return -(-length // max(step, 1))


class StoppedError(BaseException):
    """Another file failed, or this one became shorter; no Exception, which botocore would take for a bad line."""


class Piece:
    """A stretch of an open file as the body of a request, which can be read anew for another attempt."""

    def __init__(self, file: BinaryIO, start: int, length: int, seen: Callable[[int], None]) -> None:
        self._file, self._start, self._length, self._seen = file, start, length, seen
        self._at = self._furthest = 0

    def __len__(self) -> int:
        return self._length

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._length)[whence]
        return self._at

    def read(self, number: int = -1) -> bytes:
        rest = self._length - self._at
        self._file.seek(self._start + self._at)
        data = self._file.read(rest if number < 0 else min(number, rest))
        if not data and rest and number:
            raise StoppedError
        self._at += len(data)
        self._seen(max(0, self._at - self._furthest))
        self._furthest = max(self._at, self._furthest)
        return data
