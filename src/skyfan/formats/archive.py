"""Zip files: what torch and numpy keep arrays in. Finds where the raw bytes of an entry lie, or streams them."""

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, NoReturn

from skyfan.blob import Blob
from skyfan.errors import PartitionError
from skyfan.formats.layout import short

STREAM_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)
"""What reading a stream of `Archive.open` may raise if the file is damaged."""

_DIRECTORY_ERRORS = (*STREAM_ERRORS, struct.error, OverflowError, IndexError, MemoryError)
_LOCAL_HEADER = struct.Struct("<4s2xHH16xHH")  # signature, flags, method, length of the name, of the extra field
_ENCRYPTED = 0x1
_TAIL = 64 * 1024
_MAX_READ = 16 * 1024 * 1024


class _OutsideError(OSError, ValueError):
    """A seek before the start; zipfile looks for an OSError where a file is too small."""


class _BlobFile(io.RawIOBase):
    """A blob as a seekable file. Its tail, where a zip has its directory, is fetched once."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._position = 0
        self._tail_start = max(0, blob.size - _TAIL)
        self._tail = bytes(blob.view(self._tail_start, blob.size))

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._blob.size}[whence]
        if position < 0:
            raise _OutsideError(errno.EINVAL, f"seek to {position}, before the start of the file")
        self._position = position
        return position

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, fewer if a hostile directory asks for very many at once."""
        start = min(self._position, self._blob.size)
        stop = min(start + min(size if size >= 0 else _MAX_READ, _MAX_READ), self._blob.size)
        if start >= self._tail_start:
            data = self._tail[start - self._tail_start : stop - self._tail_start]
        else:
            data = bytes(self._blob.view(start, stop))
        self._position = start + len(data)
        return data


class Archive:
    """The directory of a zip file over a blob; only the directory has been read.

    Raises
    ------
    PartitionError
        It is no zip file, or has entries that are encrypted, named twice, or named outside the archive.
    """

    def __init__(self, blob: Blob, kind: str) -> None:
        self._blob = blob
        try:
            self._zip = zipfile.ZipFile(_BlobFile(blob))
        except _DIRECTORY_ERRORS as e:
            raise PartitionError(
                f"{blob.name} is not a {kind} file: its zip directory cannot be read ({short(str(e))}). "
                "The file is damaged or incomplete: write or copy it again."
            ) from e
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            self._check(entry)
            self._entries[entry.filename] = entry

    @property
    def entries(self) -> Mapping[str, zipfile.ZipInfo]:
        return self._entries

    def _check(self, entry: zipfile.ZipInfo) -> None:
        name = entry.orig_filename
        if not name.isprintable() or "\\" in name or name.startswith("/") or ".." in name.split("/"):
            self._refuse(name, "could lead outside the archive; expected a plain relative name")
        if name in self._entries:
            self._refuse(name, "is there twice; expected each name once")
        if entry.flag_bits & _ENCRYPTED:
            self._refuse(name, "is encrypted; expected plain bytes")

    def locate(self, name: str) -> tuple[int, int]:
        """Return the offset in the blob and the size of an entry that is stored raw.

        Raises
        ------
        PartitionError
            There is no such entry, it is compressed, or it does not lie within the file.
        """
        entry = self._entries.get(name)
        if entry is None:
            self._refuse(name, "is missing; expected it beside the others")
        if entry.compress_type != zipfile.ZIP_STORED:
            self._refuse(name, "is compressed; expected raw bytes")
        size, header, blob_size = entry.file_size, entry.header_offset, self._blob.size
        if size != entry.compress_size or not 0 <= header <= blob_size - _LOCAL_HEADER.size:
            self._refuse(name, f"of {size} bytes does not lie within the {blob_size} bytes of the file")
        raw = self._blob.view(header, header + _LOCAL_HEADER.size)
        signature, flags, method, name_length, extra_length = _LOCAL_HEADER.unpack(raw)
        if signature != b"PK\x03\x04" or flags & _ENCRYPTED or method != zipfile.ZIP_STORED:
            self._refuse(name, "has another header than the directory says")
        offset = header + _LOCAL_HEADER.size + name_length + extra_length
        if offset + size > blob_size:
            self._refuse(name, f"of {size} bytes does not lie within the {blob_size} bytes of the file")
        return offset, size

    def open(self, name: str) -> IO[bytes]:
        """Return a stream of an entry's bytes, decompressed; reading may raise `STREAM_ERRORS`.

        Raises
        ------
        PartitionError
            The entry cannot be opened.
        """
        try:
            return self._zip.open(self._entries[name])
        except _DIRECTORY_ERRORS as e:
            raise PartitionError(
                f"{self._blob.name}: entry {short(name)} cannot be read ({short(str(e))}). "
                "The file is damaged or incomplete: write or copy it again."
            ) from e

    def _refuse(self, name: str, reason: str) -> NoReturn:
        raise PartitionError(f"{self._blob.name}: entry {short(name)} {reason}. Write the file again.")
