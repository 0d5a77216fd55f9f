"""What goes into a catalogue, whatever its format: its columns, its origin, and the rows as they stream by."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from skyfan.catalog.columns import Column
from skyfan.errors import InputError, PartitionError

CHUNK_BYTES = 16 * 2**20
CHUNK_ROWS = 131_072

Progress = Callable[[int, int], None]
"""Told of the rows done and their total."""


@dataclass(frozen=True)
class Content:
    """All of a catalogue but its format."""

    name: str
    """Of the run, for messages and titles."""
    columns: list[Column]
    infos: dict[str, str]
    """Run, model, completeness: what a reader must know, by name."""
    rows: int
    open: Callable[[], Iterable[Any]]
    """Starts the stream of Arrow record batches from the beginning."""

    @property
    def schema(self) -> Any:
        return pa.schema([pa.field(column.name, column.stored) for column in self.columns])

    @property
    def row_bytes(self) -> int:
        return sum(column.dtype.itemsize * (column.values or 1) for column in self.columns)

    def chunks(self, progress: Progress) -> Iterator[Any]:
        """Yield all rows as tables of at most `CHUNK_ROWS` rows, or one batch more than `CHUNK_BYTES`.

        Raises
        ------
        PartitionError
            If they are not as many as the reports say.
        """
        done = 0
        for batches in _gathered(self.open()):
            table = self._conform(pa.Table.from_batches(batches))
            done += table.num_rows
            yield table
            progress(done, self.rows)
        if done != self.rows:
            raise PartitionError(
                f"{self.name}: {done} rows came out of the parts; expected {self.rows}, as reported; "
                "look at it with 'skyfan verify'"
            )

    def _conform(self, table: Any) -> Any:
        try:
            return table.cast(self.schema).combine_chunks()
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{self.name}: a column has a number that no signed 64-bit integer can hold ({error}); expected less "
                "than 2^63; give that output of the model another type"
            ) from error


def _gathered(batches: Iterable[Any]) -> Iterator[list[Any]]:
    """Put small batches together: a part may have a thousand rows only."""
    held: list[Any] = []
    for batch in map(pa.record_batch, batches):
        if held and sum(one.num_rows for one in held) + batch.num_rows > CHUNK_ROWS:
            yield held
            held = []
        if batch.num_rows:
            held.append(batch)
        if sum(one.nbytes for one in held) >= CHUNK_BYTES:
            yield held
            held = []
    if held:
        yield held


def record_type(columns: Sequence[Column]) -> np.dtype[Any]:
    """Return the type of a row in binary form, without gaps."""
    return np.dtype([(c.name, c.dtype) if c.values is None else (c.name, c.dtype, (c.values,)) for c in columns])


def fill_records(records: NDArray[Any], table: Any, columns: Sequence[Column]) -> NDArray[np.bool_]:
    """Write a chunk's rows into binary records.

    Parameters
    ----------
    records : structured array, shape (rows,)
        Has a field for each column.
    table : pyarrow.Table
        A chunk of `Content.chunks`.

    Returns
    -------
    array of bool, shape (rows, columns)
        True where there is no value.
    """
    missing = np.zeros((table.num_rows, len(columns)), np.bool_)
    for place, column in enumerate(columns):
        array = table.column(column.name).chunk(0)
        missing[:, place] = array.is_null().to_numpy(zero_copy_only=False)
        records[column.name] = _values(array, column)
        if column.nullable and missing[:, place].any():
            records[column.name][missing[:, place]] = column.null
    return missing


def _values(array: Any, column: Column) -> NDArray[Any]:
    if column.type == pa.string():
        keys = array.dictionary_encode()  # few keys, many rows
        texts = np.array([encode_text(key) for key in keys.dictionary.to_pylist()], column.dtype)
        return np.asarray(texts[keys.indices.to_numpy()])
    if column.values is None:
        return np.asarray(_filled(array, column))
    # not flatten(): it leaves out the lists that are null
    flat = array.values.slice(array.offset * column.values, len(array) * column.values)
    return np.asarray(_filled(flat, column)).reshape(len(array), column.values)


def _filled(array: Any, column: Column) -> NDArray[Any]:
    filled = pc.fill_null(array, pa.scalar(column.null, column.type)) if array.null_count else array
    values: NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return values


def encode_text(text: str) -> bytes:
    r"""Return a text in ASCII, which is all that FITS and VOTable's `char` know: other characters as `\xe9`."""
    return text.encode("ascii", "backslashreplace")
