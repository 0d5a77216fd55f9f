"""Safetensors files: eight bytes of header length, a JSON header, raw arrays.

The format's own library can neither stream a survey larger than memory to disk, nor give back mapped pages, nor write
its free metadata in a fixed order (the same content hashes differently from call to call), so that this is our own.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from skyfan.blob import Blob
from skyfan.errors import PartitionError
from skyfan.formats.layout import DTYPES, contiguous_strides, short, size_in_bytes
from skyfan.formats.tensor import BlobTensor, Tensor, Tensors

_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000  # the limit of the format
_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}
_AGAIN = "The file is damaged or incomplete: write or copy it again."

Spec = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]


def create(path: Path, spec: Spec, metadata: Mapping[str, str]) -> dict[str, np.memmap[Any, np.dtype[Any]]]:
    """Make a file at its full size, to be filled row block by row block.

    Parameters
    ----------
    path
        Overwritten if it exists.
    spec
        The dtype and shape of each array by name.
    metadata
        The header's free text.

    Returns
    -------
    dict
        Writable maps of the arrays, zero at first. What is assigned to them is in the file, as `encode` would write it.

    Raises
    ------
    PartitionError
        An array of a kind that the format does not hold.
    OSError
        The file cannot be made, or the disk has no room for all of it; then there is no file.
    """
    header, offsets = _lay_out(spec, metadata)
    size = len(header) + max((stop for _, stop in offsets.values()), default=0)
    with path.open("wb") as file:
        try:
            file.write(header)
            file.flush()
            if hasattr(os, "posix_fallocate"):
                # Room is taken now: a full disk met later, through a map, would kill the process with SIGBUS.
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
        except OSError:
            path.unlink()
            raise
    return {
        name: np.memmap(path, _stored(spec[name][0]), "r+", len(header) + start, spec[name][1])
        for name, (start, _) in offsets.items()
    }


def encode(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Return the file as pieces in order, the arrays themselves among them and not copied if they are contiguous.

    The same arrays and metadata give the same bytes, in whatever order they are handed in.

    Raises
    ------
    PartitionError
        An array of a kind that the format does not hold.
    """
    header, offsets = _lay_out({name: (array.dtype, array.shape) for name, array in arrays.items()}, metadata)
    pieces: list[bytes | memoryview] = [header]
    for name, (start, stop) in offsets.items():
        if stop > start:
            array = np.ascontiguousarray(arrays[name], _stored(arrays[name].dtype))
            pieces.append(array.reshape(-1).view(np.uint8).data)
    return pieces


def _lay_out(spec: Spec, metadata: Mapping[str, str]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """Return the header, and where each array starts and stops after it, in file order."""
    entries: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    offsets = {}
    stop = 0
    # Widest first, as the format's library does: every array is then aligned to its own width without a gap.
    for name in sorted(spec, key=lambda name: (-spec[name][0].itemsize, name)):
        dtype, shape = spec[name]
        if name == _METADATA:
            raise PartitionError(f"an array cannot be called {_METADATA}: the header keeps that name. Rename it.")
        start, stop = stop, stop + size_in_bytes(f"array {short(name)}", dtype, shape)
        entries[name] = {"dtype": _code(name, dtype), "shape": list(shape), "data_offsets": [start, stop]}
        offsets[name] = (start, stop)
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % _LENGTH_BYTES)
    return len(header).to_bytes(_LENGTH_BYTES, "little") + header, offsets


def _stored(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _code(name: str, dtype: np.dtype[Any]) -> str:
    for code, known in DTYPES.items():
        if known == _stored(dtype):
            return code
    raise PartitionError(
        f"array {short(name)} is of type {dtype}; a partition holds {', '.join(map(str, DTYPES.values()))}. "
        "Convert it or leave it out."
    )


def read(blob: Blob) -> Tensors:
    """Return what a safetensors file holds; the arrays themselves are not read yet.

    Raises
    ------
    PartitionError
        The file is not exactly as the format says, or holds numbers that skyfan does not read.
    """
    entries, data_start = _read_header(blob)
    metadata = entries.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        _refuse(blob, f"{_METADATA} in its header is not an object of texts")
    found = {name: _read_entry(blob, name, entry, data_start) for name, entry in entries.items()}
    end = data_start
    for name, (tensor, stop) in sorted(found.items(), key=lambda item: (item[1][0].offset, item[1][1])):
        if tensor.offset != end:
            _refuse(
                blob,
                f"array {short(name)} starts at byte {tensor.offset - data_start} of the data, not {end - data_start}",
            )
        end = stop
    if end != blob.size:
        _refuse(blob, f"its header describes {end} bytes, but it has {blob.size}")
    arrays: dict[str, Tensor] = {name: tensor for name, (tensor, _) in found.items()}
    return Tensors(arrays, metadata)


def _read_header(blob: Blob) -> tuple[dict[str, Any], int]:
    """Return the header's entries, and where the data start."""
    if blob.size < _LENGTH_BYTES:
        _refuse(blob, f"it has {blob.size} bytes, too few for a header")
    length = int.from_bytes(blob.view(0, _LENGTH_BYTES), "little")
    data_start = _LENGTH_BYTES + length
    if length > _MAX_HEADER or data_start > blob.size:
        limit = min(_MAX_HEADER, blob.size - _LENGTH_BYTES)
        _refuse(blob, f"its header says it is {length} bytes long, and at most {limit} are possible")
    raw = bytes(blob.view(_LENGTH_BYTES, data_start))
    try:
        entries = json.loads(raw.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as e:
        raise PartitionError(f"{blob.name} is not a safetensors file: its header is not JSON ({e}). {_AGAIN}") from e
    if not raw.startswith(b"{") or not isinstance(entries, dict):
        _refuse(blob, "its header is not a JSON object")
    return entries, data_start


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"{short(name)} appears twice")
        entries[name] = value
    return entries


def _read_entry(blob: Blob, name: str, entry: Any, data_start: int) -> tuple[BlobTensor, int]:
    """Return one array of the header, and where its bytes stop in the blob."""
    where = f"array {short(name)}"
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        _refuse(blob, f"{where} is not described by exactly dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise PartitionError(
            f"{blob.name}: {where} is of type {short(code) if isinstance(code, str) else 'unknown'}; skyfan reads "
            f"{', '.join(DTYPES)}. Write it as one of these."
        )
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        _refuse(blob, f"shape or data_offsets of {where} are not lists of whole numbers")
    dtype = DTYPES[code]
    start, stop = offsets
    size = size_in_bytes(f"{blob.name}: {where}", dtype, tuple(shape))
    if stop - start != size:
        _refuse(blob, f"{where} needs {size} bytes, but its offsets {short(tuple(offsets))} span {short(stop - start)}")
    if data_start + stop > blob.size:
        _refuse(blob, f"{where} ends at byte {short(stop)} of the data, which has {blob.size - data_start}")
    tensor = BlobTensor(blob, dtype, tuple(shape), data_start + start, contiguous_strides(dtype, tuple(shape)))
    return tensor, data_start + stop


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _refuse(blob: Blob, reason: str) -> NoReturn:
    raise PartitionError(f"{blob.name} is not a safetensors file: {reason}. {_AGAIN}")
