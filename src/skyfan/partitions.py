"""A partition: one file of rows. What its tensors are called, how they are checked, and the index beside them."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from skyfan.blob import Blob
from skyfan.errors import PartitionError, SurveyError
from skyfan.formats import opening
from skyfan.formats.tensor import Tensor, Tensors

SUFFIXES = opening.PARTITION_SUFFIXES
SCHEMA_VERSION = "1"
HASH_CHUNK_BYTES = 4 * 1024 * 1024

COLUMNS: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "object_id": np.dtype(np.int64),
        "ra": np.dtype(np.float64),
        "dec": np.dtype(np.float64),
        "redshift": np.dtype(np.float32),
    }
)
"""Tensors of one value a row that go to the catalogue as they are (redshift under the name z_spec)."""


class PartitionRef(Struct, frozen=True, omit_defaults=True):
    """A partition as a plan names it."""

    key: str
    bytes: int
    rows: int | None = None
    """Known beforehand only where an index lies beside the partitions."""
    sha256: str | None = None


class Index(Struct, frozen=True):
    """What `skyfan partition` writes beside the partitions: the rows they must give."""

    schema: int
    rows: int
    complete: bool
    """False while partitions are being written: an interrupted `skyfan partition` must not pass for a small survey."""
    partitions: tuple[PartitionRef, ...]
    """Keys are relative to the folder that the index lies in, so that a folder can be copied elsewhere."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def decode_index(data: bytes, name: str) -> Index:
    """Decode an index.

    Raises
    ------
    SurveyError
        If it is not one.
    """
    try:
        return msgspec.json.decode(data, type=Index)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SurveyError(
            f"{name}: not an index ({error}); run 'skyfan partition' again, or delete it to go without"
        ) from error


@dataclass(frozen=True)
class Partition:
    """An open partition. Rows are read when asked for; those of a local file are views of its mapping."""

    name: str
    rows: int
    tensors: Mapping[str, Tensor]
    blob: Blob
    metadata: Mapping[str, str] = field(default_factory=dict)

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Return rows `start` to `stop` of the named tensors."""
        return {name: self.tensors[name].rows(start, stop) for name in names}

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the tensors that go to the catalogue as they are, each of shape (rows,)."""
        return {
            name: as_column(name, self.tensors[name].rows(0, self.rows), self.name).astype(dtype, copy=True)
            for name, dtype in COLUMNS.items()
            if name in self.tensors
        }

    def sha256(self) -> str:
        """Return the hash of the whole file, without keeping it in memory."""
        digest = hashlib.sha256()
        for start in range(0, self.blob.size, HASH_CHUNK_BYTES):
            digest.update(self.blob.view(start, min(start + HASH_CHUNK_BYTES, self.blob.size)))
            self.blob.release()
        return digest.hexdigest()


def as_column(name: str, values: NDArray[Any], where: str) -> NDArray[Any]:
    """Return values in the type of their column, those of floats as they are.

    Raises
    ------
    PartitionError
        If an id is too large for the column, and would come out as another.
    """
    dtype = COLUMNS[name]
    if dtype.kind != "i":
        return values if values.dtype.kind == "f" else values.astype(dtype)
    if values.dtype == np.uint64 and len(values) and int(values.max()) > np.iinfo(dtype).max:
        raise PartitionError(
            f"{where}: {name} is uint64 and holds {int(values.max())}; expected at most {np.iinfo(dtype).max}; "
            "give the objects other ids"
        )
    return values.astype(dtype, copy=False)


def open_partition(blob: Blob) -> Partition:
    """Open a partition from its bytes and check that it is one.

    Raises
    ------
    PartitionError
        If the file cannot be read, its tensors differ in length, or a known tensor has an unexpected shape or type.
    """
    return check_rows(blob, opening.read(blob))


def check_rows(blob: Blob, content: Tensors) -> Partition:
    """Check that what a file holds is one row a galaxy, and name it a partition."""
    name, arrays = blob.name, content.arrays
    if not arrays:
        raise PartitionError(f"{name}: holds no tensor; expected image and magnitude")
    for tensor_name, tensor in arrays.items():
        if not tensor.shape:
            raise PartitionError(f"{name}: tensor {tensor_name!r} is a single number; expected one row a galaxy")
    lengths = {tensor_name: tensor.shape[0] for tensor_name, tensor in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{tensor_name} {rows}" for tensor_name, rows in lengths.items())
        raise PartitionError(f"{name}: tensors differ in rows ({said}); expected the same number in each")
    rows = next(iter(lengths.values()))
    if rows == 0:
        raise PartitionError(f"{name}: holds no rows; delete it or make it again")
    for tensor_name, tensor in arrays.items():
        if 0 in tensor.shape:
            raise PartitionError(f"{name}: {tensor_name} has the shape {tensor.shape}; expected no axis of length 0")
    _check_known(name, arrays, rows)
    return Partition(name, rows, arrays, blob, content.metadata)


def _check_known(name: str, arrays: Mapping[str, Tensor], rows: int) -> None:
    for tensor_name, dtype in COLUMNS.items():
        if tensor_name not in arrays:
            continue
        tensor = arrays[tensor_name]
        if tensor.shape not in {(rows,), (rows, 1)}:
            raise PartitionError(f"{name}: {tensor_name} has the shape {tensor.shape}; expected ({rows},)")
        if tensor.dtype.kind not in ("iu" if dtype.kind == "i" else "fiu"):
            raise PartitionError(f"{name}: {tensor_name} is {tensor.dtype}; expected {dtype}")
    for tensor_name, dimensions in (("image", 4), ("magnitude", 2)):
        if tensor_name not in arrays:
            continue
        tensor = arrays[tensor_name]
        if len(tensor.shape) != dimensions:
            expected = "(rows, bands, height, width)" if dimensions == 4 else "(rows, bands)"
            raise PartitionError(f"{name}: {tensor_name} has the shape {tensor.shape}; expected {expected}")
        if tensor.dtype.kind != "f":
            raise PartitionError(f"{name}: {tensor_name} is {tensor.dtype}; expected float16, float32 or float64")
