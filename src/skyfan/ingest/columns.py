"""Columns of one value an object, in the types of a partition, with the row in every message."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats.layout import ALIASES, short
from skyfan.formats.tensor import Tensor
from skyfan.ingest.options import IngestOptions

READ_ERRORS = (
    *(OSError, EOFError, zlib.error, MemoryError),
    *(ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AttributeError, NameError),
)
"""What libraries raise on damaged data."""

_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class Column:
    """A column as a file or a catalogue has it."""

    where: str
    """The file, for messages."""
    name: str
    values: Tensor
    unit: str | None = None


Columns = Mapping[str, Column]


@dataclass(frozen=True)
class ArrayTensor:
    """A column that is in memory: one number an object is little beside its images."""

    values: NDArray[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        return self.values[start:stop]


@dataclass(frozen=True)
class Sliced:
    """An array of a library that reads slices, such as h5py's or zarr's."""

    where: str
    array: Any
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        try:
            return np.asarray(self.array[start:stop])
        except READ_ERRORS as error:
            raise SurveyError(
                f"{self.where}: rows {start} to {stop - 1} cannot be read ({short(str(error))}); the file is damaged "
                "or incomplete: write or copy it again"
            ) from error


@dataclass(frozen=True)
class Numbers:
    """A column of floats, shape (rows,)."""

    column: Column
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.column.values.shape[:1]

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        return self.column.values.rows(start, stop).reshape(stop - start).astype(self.dtype)


@dataclass(frozen=True)
class Ids:
    """A column of ids, shape (rows,) int64; texts of digits are taken."""

    column: Column

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.column.values.shape[:1]

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        values = self.column.values.rows(start, stop).reshape(stop - start)
        if values.dtype.kind == "i":
            return values.astype(np.int64)
        return np.array([self._id(value, start + row) for row, value in enumerate(values.tolist())], np.int64)

    def _id(self, value: Any, row: int) -> int:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        text = text.strip()
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and _INT64.min <= int(text) <= _INT64.max):
            raise SurveyError(
                f"{self.column.where}: row {row}: {self.column.name} is {short(text)}; expected a whole number of at "
                "most 64 bits: name another column with --column object_id=NAME"
            )
        return int(text)


@dataclass(frozen=True)
class Stacked:
    """One column a band as one array, shape (rows, bands), in float32."""

    columns: Sequence[Column]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.columns[0].values.shape[0], len(self.columns))

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        each = [column.values.rows(start, stop).reshape(stop - start) for column in self.columns]
        return np.stack([values.astype(np.float32) for values in each], axis=1)


def find(columns: Columns, role: str, options: IngestOptions) -> Column | None:
    """Return the column that has a role: under the name that the user gave, else under skyfan's own, or None."""
    names = [options.columns[role]] if role in options.columns else []
    names += [role, *(alias for alias, name in ALIASES.items() if name == role)]
    return next((found for name in names if (found := by_name(columns, name))), None)


def by_name(columns: Columns, name: str) -> Column | None:
    """Return the column of a name, in other capitals if none is written so."""
    if name in columns:
        return columns[name]
    fits = [column for other, column in columns.items() if other.casefold() == name.casefold()]
    return fits[0] if len(fits) == 1 else None


def check_named(where: str, columns: Columns, options: IngestOptions, taken: Sequence[str] = ()) -> None:
    """Check that every column that the user named is somewhere.

    Raises
    ------
    SurveyError
        If one is not.
    """
    for role, name in options.columns.items():
        if role not in taken and by_name(columns, name) is None:
            raise SurveyError(
                f"{where}: there is no column {name!r} for {role}; found {shown(columns)}; correct --column"
            )


def floats(column: Column, role: str, dtype: type[np.floating[Any]]) -> Numbers:
    """Return a column as floats.

    Raises
    ------
    SurveyError
        If it is of another kind or shape.
    """
    _check_single(column, role)
    if column.values.dtype.kind not in "fiu":
        raise SurveyError(
            f"{column.where}: column {column.name} is {column.values.dtype}; expected numbers for {role}: name another "
            f"with --column {role}=NAME"
        )
    return Numbers(column, np.dtype(dtype))


def ids(column: Column) -> Ids:
    """Return a column as ids.

    Raises
    ------
    SurveyError
        If it is of another kind or shape.
    """
    _check_single(column, "object_id")
    if column.values.dtype.kind not in "iuSUO":
        raise SurveyError(
            f"{column.where}: column {column.name} is {column.values.dtype}; expected whole numbers for object_id: "
            "name another with --column object_id=NAME"
        )
    return Ids(column)


def shown(columns: Columns) -> str:
    """Return the names of columns for a message."""
    return short(", ".join(columns), 200) if columns else "none"


def _check_single(column: Column, role: str) -> None:
    shape = column.values.shape
    if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
        raise SurveyError(
            f"{column.where}: column {column.name} has the shape {shape}; expected one value a row for {role}"
        )
