"""Which arrays skyfan takes from a file: their types, and how large a shape may be."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from skyfan.errors import PartitionError

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Every type of number that skyfan reads, by the name that safetensors gives it."""

ALIASES: Final[Mapping[str, str]] = {"images": "image", "magnitudes": "magnitude", "redshifts": "redshift"}
"""What surveys from elsewhere call the arrays of a partition."""

_MAX_DIMENSIONS = 32
_MAX_BYTES = 2**63 - 1


def size_in_bytes(where: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the bytes of a C-contiguous array, in exact integers.

    Raises
    ------
    PartitionError
        It has no rows to read (no dimension), or a shape that no array can have.
    """
    if not shape:
        raise PartitionError(f"{where} is a single number; expected an array with one row an object. Leave it out.")
    # The empty dimensions do not shrink the others: numpy refuses shape (0, 2**62) as well.
    largest = math.prod(n for n in shape if n) * dtype.itemsize
    if len(shape) > _MAX_DIMENSIONS or min(shape) < 0 or largest > _MAX_BYTES:
        raise PartitionError(
            f"{where} says it has shape {short(shape)}, which no array can have; the file is damaged or was not made "
            "as an array. Write it again."
        )
    return math.prod(shape) * dtype.itemsize


def contiguous_strides(dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides in bytes of a C-contiguous array."""
    strides = [dtype.itemsize]
    for n in reversed(shape[1:]):
        strides.append(strides[-1] * max(n, 1))
    return tuple(reversed(strides))


def canonical_name(blob_name: str, name: str, taken: Mapping[str, object]) -> str:
    """Return the name that a partition gives to the array `name`.

    Raises
    ------
    PartitionError
        The file has that array under two names.
    """
    canonical = ALIASES.get(name, name)
    if canonical in taken:
        raise PartitionError(
            f"{blob_name} has array {short(canonical)} twice (as {short(name)} too); expected each once. "
            "Write the file again with one of them."
        )
    return canonical


def short(value: object, limit: int = 80) -> str:
    """Return `repr(value)` cut to one line of a message: what a file holds may be long or unprintable.

    Only for text and flat tuples: the `repr` of nested ones can be exponentially larger than the file.
    """
    if isinstance(value, str | bytes):
        value = value[: limit + 1]
    try:
        text = ascii(value)
    except ValueError:  # an integer of thousands of digits
        text = f"a {type(value).__name__} too large to print"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
