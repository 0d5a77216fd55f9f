"""Splitting a survey into partitions of a given size, with an index of what they must hold."""

import hashlib
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.blob import Blob
from skyfan.errors import PartitionError, SurveyError
from skyfan.formats import safetensors
from skyfan.keys import index_of, partition_of
from skyfan.partitions import (
    COLUMNS,
    SCHEMA_VERSION,
    SUFFIXES,
    Index,
    Partition,
    PartitionRef,
    as_column,
    open_partition,
)
from skyfan.storage import Bucket

SUFFIX = ".safetensors"

_UNITS: Mapping[str, int] = MappingProxyType(
    {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*((?:[KMGT]i?)?B?)\s*", re.ASCII | re.IGNORECASE)

Progress = Callable[[int, int], None]
"""Told of the rows done and their total."""


def parse_size(text: str) -> int:
    """Return a size in bytes; `25MB` is 25 x 1,048,576 bytes, as in the original system.

    Raises
    ------
    SurveyError
        If the text is no size.
    """
    match = _SIZE.fullmatch(text)
    unit = match[2].upper().replace("I", "") if match else ""
    size = int(Decimal(match[1]) * _UNITS.get(unit if unit in _UNITS else f"{unit}B", 0)) if match else 0
    if size < 1:
        raise SurveyError(
            f"size {text!r}: not a size; expected a number and a unit, as in 25MB or 1GB (MB = 1,048,576 bytes)"
        )
    return size


def split(
    survey: Partition,
    bucket: Bucket,
    prefix: str,
    rows: int,
    *,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Index:
    """Write a survey as partitions 1, 2, 3, ... below a prefix, and the index beside them.

    Never more than two partitions are in memory.

    Parameters
    ----------
    survey : Partition
        Native safetensors, a torch TensorDataset (`.pt`) or `.npz`, opened.
    bucket : Bucket
    prefix : str
    rows : int
        Of a partition; the last one has the rest. See `rows_per_partition`.
    overwrite : bool
        Delete the partitions that are there.
    progress : callable
        Told of the rows written and their total.

    Raises
    ------
    PartitionError
        If the survey cannot be read.
    SurveyError
        If partitions are there already, or what was written is not what was read.
    """
    _clear(bucket, prefix, overwrite, survey)
    metadata = {"schema": SCHEMA_VERSION, **survey.metadata}
    written: list[PartitionRef] = []
    for number, start in enumerate(range(0, survey.rows, rows), 1):
        stop = min(start + rows, survey.rows)
        arrays = {name: _native(name, tensor.rows(start, stop), survey.name) for name, tensor in survey.tensors.items()}
        written.append(_write(bucket, prefix, number, safetensors.encode(arrays, metadata), stop - start))
        survey.blob.release()
        progress(stop, survey.rows)
    _check(bucket, prefix, written, survey)
    index = Index(1, survey.rows, True, tuple(written))
    bucket.put(index_of(prefix), index.encode())
    return index


def rows_per_partition(survey: Partition, size_bytes: int | None, rows: int | None) -> int:
    """Return the rows of a partition that holds at most so many bytes of data, or rows; one of the two is given.

    Raises
    ------
    SurveyError
        If both or neither are, or not one row fits.
    """
    if (size_bytes is None) == (rows is None):
        raise SurveyError("partition: expected either a size or a number of rows: give one of --size and --rows")
    if rows is not None:
        if rows < 1:
            raise SurveyError(f"partition: got {rows} rows a partition; expected 1 or more")
        return rows
    row_bytes = sum(
        _native(name, np.empty((0, *tensor.shape[1:]), tensor.dtype), survey.name).dtype.itemsize
        * int(np.prod(tensor.shape[1:]))
        for name, tensor in survey.tensors.items()
    )
    if size_bytes is None or size_bytes < row_bytes:
        raise SurveyError(
            f"partition: one row has {row_bytes} bytes; expected a size of at least that, got {size_bytes}"
        )
    return size_bytes // row_bytes


def _native(name: str, values: NDArray[Any], where: str) -> NDArray[Any]:
    """Convert rows to the types of a native partition."""
    if name in {"image", "magnitude"} and values.dtype == np.float64:
        return values.astype(np.float32)
    return as_column(name, values, where) if name in COLUMNS else values


def _clear(bucket: Bucket, prefix: str, overwrite: bool, survey: Partition) -> None:
    """Make room; from the first deletion on, an index says that the partitions are not complete."""
    where = f"{bucket.where}/{prefix}"
    there = [key for key in _directly_in(bucket, prefix) if key.endswith(SUFFIXES) or key == index_of(prefix)]
    if there and not overwrite:
        raise SurveyError(
            f"{where}: holds {len(there)} partitions or an index already; expected an empty folder: choose another, or "
            "--overwrite (overwrite=True) if 'skyfan partition' wrote them"
        )
    foreign = [key for key in there if not _ours(prefix, key) or index_of(prefix) not in there]
    if foreign:
        raise SurveyError(
            f"{where}: holds {len(foreign)} files that 'skyfan partition' did not write, the first {foreign[0]}; "
            "expected only its own, with their index, to overwrite: choose another folder"
        )
    if any(_is_survey(survey.blob, bucket, key) for key in there):
        raise SurveyError(
            f"{survey.name}: lies in {where}, which is to be overwritten; expected another folder: choose one, or move "
            "the survey"
        )
    bucket.sweep(prefix, lambda key: _ours(prefix, key))
    bucket.put(index_of(prefix), Index(1, survey.rows, False, ()).encode())
    bucket.delete([key for key in there if key != index_of(prefix)])


def _ours(prefix: str, key: str) -> bool:
    """Whether a key is one that `split` writes."""
    stem = key.removeprefix(f"{prefix}/").removesuffix(SUFFIX)
    return key == index_of(prefix) or (stem.isdecimal() and key == partition_of(prefix, int(stem), SUFFIX))


def _directly_in(bucket: Bucket, prefix: str) -> dict[str, int]:
    """Return the bytes of the objects in a folder, those of its subfolders left out."""
    depth = prefix.count("/") + 1
    return {entry.key: entry.bytes for entry in bucket.list(prefix) if entry.key.count("/") == depth}


def _is_survey(blob: Blob, bucket: Bucket, key: str) -> bool:
    """Whether an object is the survey itself: blobs are named by where they lie."""
    path = bucket.local_path(key)
    return path.resolve() == Path(blob.name).resolve() if path else blob.name == f"{bucket.where}/{key}"


def _write(bucket: Bucket, prefix: str, number: int, pieces: list[bytes | memoryview], rows: int) -> PartitionRef:
    key = partition_of(prefix, number, SUFFIX)
    digest = hashlib.sha256()
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += memoryview(piece).nbytes
    bucket.put(key, pieces)
    return PartitionRef(key.removeprefix(f"{prefix}/"), size, rows, digest.hexdigest())


def _check(bucket: Bucket, prefix: str, written: list[PartitionRef], survey: Partition) -> None:
    """Read back what is stored: the same partitions, bytes and rows as were written."""
    stored = {key: size for key, size in _directly_in(bucket, prefix).items() if key.endswith(SUFFIXES)}
    expected = {f"{prefix}/{item.key}": item.bytes for item in written}
    if stored != expected:
        raise SurveyError(
            f"{bucket.where}/{prefix}: {len(stored)} partitions are stored, {len(expected)} were written, or their "
            "sizes differ; something else writes there: choose another folder, or --overwrite"
        )
    rows = 0
    for key in expected:
        blob = bucket.ranged_blob(key)
        if blob is None:
            raise PartitionError(f"{bucket.where}/{key}: was written but is not there; run again with --overwrite")
        rows += open_partition(blob).rows
    if rows != survey.rows:
        raise SurveyError(
            f"{bucket.where}/{prefix}: holds {rows} rows; expected the survey's {survey.rows}; run again with "
            "--overwrite"
        )
