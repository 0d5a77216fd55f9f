"""Numpy's `.npz` files: a zip of `.npy` arrays. Raw ones are read where they lie, compressed ones as a stream."""

import io
import math
import tokenize
import warnings
from dataclasses import dataclass, field
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from skyfan.blob import Blob
from skyfan.errors import PartitionError
from skyfan.formats.archive import STREAM_ERRORS, Archive
from skyfan.formats.layout import DTYPES, canonical_name, contiguous_strides, short, size_in_bytes
from skyfan.formats.tensor import BlobTensor, Tensor, Tensors

_STORED, _DEFLATED = 0, 8
_SUFFIX = ".npy"
_HEAD = 64 * 1024  # numpy's own limit of a header is below this
_CHUNK = 1024 * 1024
_HEADER_READERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# Numpy evaluates a header as a literal, and if that fails takes it apart into tokens first.
_HEADER_ERRORS = (ValueError, TypeError, SyntaxError, tokenize.TokenError, KeyError, IndexError, AttributeError)
_RESOURCE_ERRORS = (MemoryError, RecursionError, OverflowError, EOFError)


def read(blob: Blob) -> Tensors:
    """Return the arrays of a `.npz` file; only its directory and the arrays' headers have been read.

    Rows of arrays that `numpy.savez` wrote are views of the blob. Those that `numpy.savez_compressed` wrote are
    decompressed as they are asked for, which must be in order.

    Raises
    ------
    PartitionError
        The file is damaged, or holds objects, texts or arrays in Fortran order.
    """
    archive = Archive(blob, ".npz")
    arrays: dict[str, Tensor] = {}
    for entry in archive.entries:
        if not entry.endswith(_SUFFIX):
            raise PartitionError(
                f"{blob.name}: entry {short(entry)} is no array; expected only {_SUFFIX} entries, as numpy.savez "
                "writes them. Leave it out."
            )
        name = canonical_name(blob.name, entry.removesuffix(_SUFFIX), arrays)
        arrays[name] = _read_array(blob, archive, entry)
    if not arrays:
        raise PartitionError(f"{blob.name} holds no arrays; expected some. Write it again with numpy.savez.")
    return Tensors(arrays)


def _read_array(blob: Blob, archive: Archive, entry: str) -> Tensor:
    where = f"{blob.name}: array {short(entry.removesuffix(_SUFFIX))}"
    info = archive.entries[entry]
    if info.compress_type == _STORED:
        offset, size = archive.locate(entry)
        head = bytes(blob.view(offset, offset + min(size, _HEAD)))
        dtype, shape, header = _parse_header(where, head)
        _check_size(where, dtype, shape, size - header)
        return BlobTensor(blob, dtype, shape, offset + header, contiguous_strides(dtype, shape))
    if info.compress_type != _DEFLATED:
        raise PartitionError(
            f"{where} is compressed by method {info.compress_type}; expected none or deflate, as numpy writes them. "
            "Write it again with numpy.savez."
        )
    with archive.open(entry) as stream:
        dtype, shape, header = _parse_header(where, _take(where, stream, min(info.file_size, _HEAD)))
    _check_size(where, dtype, shape, info.file_size - header)
    return _StreamedTensor(dtype, shape, where, archive, entry, header)


def _parse_header(where: str, head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Return dtype, shape and the length of a `.npy` header."""
    file = io.BytesIO(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers from Python 2 are read, and no news
            shape, fortran_order, dtype = _HEADER_READERS[npy.read_magic(file)](file)
    except (*_HEADER_ERRORS, *_RESOURCE_ERRORS) as e:
        raise PartitionError(
            f"{where} has no header that numpy understands ({short(str(e))}). "
            "The file is damaged: write or copy it again."
        ) from e
    if dtype.newbyteorder("<") not in DTYPES.values():
        raise PartitionError(
            f"{where} is of type {short(str(dtype))}; skyfan reads {', '.join(map(str, DTYPES.values()))}. "
            "Convert it or leave it out."
        )
    if fortran_order and len(shape) > 1:
        raise PartitionError(
            f"{where} is in Fortran order, so that its rows lie scattered; expected C order. "
            "Write it again from numpy.ascontiguousarray(array)."
        )
    return dtype, shape, file.tell()


def _check_size(where: str, dtype: np.dtype[Any], shape: tuple[int, ...], got: int) -> None:
    expected = size_in_bytes(where, dtype, shape)
    if got != expected:
        raise PartitionError(
            f"{where} of shape {short(shape)} needs {expected} bytes, but there are {got}. "
            "The file is damaged: write or copy it again."
        )


def _take(where: str, stream: IO[bytes], count: int) -> bytes:
    try:
        return stream.read(count)
    except STREAM_ERRORS as e:
        raise PartitionError(
            f"{where} cannot be decompressed ({short(str(e))}). The file is damaged: write or copy it again."
        ) from e


@dataclass
class _StreamedTensor:
    """A compressed array: rows are decompressed in order, and none are kept."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    _where: str
    _archive: Archive
    _entry: str
    _header: int
    _stream: IO[bytes] | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)
    """The row that the stream has come to."""

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows `start` to `stop`; each call begins at or after the end of the one before, or at row 0 again.

        Raises
        ------
        PartitionError
            The rows have passed already, or the file is damaged.
        """
        if 0 < start < self._next:
            raise PartitionError(
                f"{self._where} is compressed, and row {start} was asked for after row {self._next - 1}; it can only "
                "be read in order. Write it again with numpy.savez."
            )
        # Kept only when the rows are complete: what fails halfway through must not be gone on with.
        stream, self._stream = self._stream, None
        if stream is None or start == 0:
            stream, self._next = self._archive.open(self._entry), 0
            self._skip(stream, self._header)
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        self._skip(stream, (start - self._next) * row)
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        target = out.reshape(-1).view(np.uint8)
        for first in range(0, len(target), _CHUNK):
            block = target[first : first + _CHUNK]
            block[:] = np.frombuffer(self._read(stream, len(block)), np.uint8)
        self._stream, self._next = stream, stop
        return out

    def _skip(self, stream: IO[bytes], count: int) -> None:
        for first in range(0, count, _CHUNK):
            self._read(stream, min(_CHUNK, count - first))

    def _read(self, stream: IO[bytes], count: int) -> bytes:
        data = _take(self._where, stream, count)
        if len(data) != count:
            raise PartitionError(f"{self._where} ends too early. The file is damaged: write or copy it again.")
        return data
