"""The bytes of one stored file, wherever it lies, read by range and without a copy where that is possible."""

import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


class Blob(ABC):
    """A read-only sequence of bytes with a name for messages."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size

    @abstractmethod
    def view(self, start: int, stop: int) -> memoryview:
        """Return bytes `start` to `stop`; the caller has checked that they lie within the blob."""

    def release(self) -> None:  # noqa: B027  most blobs have nothing to let go of
        """Let go of what reading has brought into memory; views stay valid."""

    def is_changed(self) -> bool:
        """Return whether its name stands for other content by now than when it was opened, as far as can be told."""
        return False


class MappedBlob(Blob):
    """A local file, memory-mapped: nothing is copied, and `release` takes its pages out of the resident set."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            opened = os.fstat(file.fileno())
            super().__init__(str(path), opened.st_size)
            self._map: mmap.mmap | None = None
            if opened.st_size:
                self._map = mmap.mmap(file.fileno(), opened.st_size, access=mmap.ACCESS_READ)
        self._state = _state(opened)

    def view(self, start: int, stop: int) -> memoryview:
        return memoryview(self._map)[start:stop] if self._map is not None else memoryview(b"")

    def release(self) -> None:
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def is_changed(self) -> bool:
        try:
            with self._path.open("rb") as file:  # a network file system tells of writes elsewhere only when one opens
                return _state(os.fstat(file.fileno())) != self._state
        except (FileNotFoundError, NotADirectoryError):
            return True


def _state(found: os.stat_result) -> tuple[int, ...]:
    """Return what is another as soon as a file is written to, or another one lies there."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class BufferBlob(Blob):
    """Bytes that are in memory already: a partition fetched by one request."""

    def __init__(self, name: str, data: bytes | memoryview) -> None:
        self._data = memoryview(data).cast("B").toreadonly()
        super().__init__(name, len(self._data))

    def view(self, start: int, stop: int) -> memoryview:
        return self._data[start:stop]


class RangedBlob(Blob):
    """A remote object read range by range: a survey larger than memory."""

    def __init__(self, name: str, size: int, fetch: Callable[[int, int], memoryview]) -> None:
        super().__init__(name, size)
        self._fetch = fetch

    def view(self, start: int, stop: int) -> memoryview:
        return self._fetch(start, stop) if stop > start else memoryview(b"")


def is_file(path: Path) -> bool:
    """Return whether a local file lies there."""
    try:
        return path.is_file()
    except OSError:  # a name too long for a file can still be that of an object
        return False


def write_whole(path: Path, data: bytes) -> None:
    """Write a local file whole or not at all: what was there stays until the new one is complete.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left beside it.
    """
    half = path.with_name(f".skyfan-{os.getpid()}.part")
    try:
        half.write_bytes(data)
        half.replace(path)
    finally:
        with suppress(OSError):
            half.unlink(missing_ok=True)
