"""The catalogue: what a part's columns are, what its flags mean, and how a part is written and read."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from enum import IntFlag
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Field, RecordBatchReader, Schema, Table, fixed_size_list_array
from arro3.io import read_parquet, write_parquet
from numpy.typing import NDArray

from skyfan.errors import PartitionError

SCHEMA_VERSION = "1"
COMPRESSION = "snappy"
"""Every reader of Parquet knows it; a part of few rows is read and written five times as fast as with zstd."""
READ_BATCH_ROWS = 65_536
FOOTER_KEY = "skyfan"

REPEATING = ("source", "flags")
"""Columns with a dictionary: hardly two rows have the same number in the others, and a dictionary only adds to them."""
_MAGIC = b"PAR1"
_FRAME_BYTES = 12  # magic, ..., footer, length of the footer, magic


class Flag(IntFlag):
    """What is to be known of a row; the column `flags` is their sum. Rows with one of `NO_VALUE` have no output."""

    NON_FINITE_IMAGE = 1
    """A pixel is NaN or infinite."""
    NON_FINITE_MAGNITUDE = 2
    """A magnitude, or another input that is not the image, is NaN or infinite."""
    DEAD_BAND = 4
    """All pixels of a band have the same value: nothing was observed."""
    NON_FINITE_OUTPUT = 8
    """The model returned NaN or infinity: the outputs that hold it are null, the others are given."""
    OUT_OF_RANGE = 16
    """An input lies outside the range that the model's metadata call valid; the prediction is given all the same."""
    UNUSUAL_OUTPUT = 32
    """An output is above what the model's metadata call usual, as a high `anomaly_score`; it is given all the same."""


NO_VALUE = Flag.NON_FINITE_IMAGE | Flag.NON_FINITE_MAGNITUDE | Flag.DEAD_BAND
"""Of rows whose inputs cannot be used: every output is null."""

RENAMED = {"redshift": "z_spec"}
"""Partition tensors whose column has another name."""

RESERVED = frozenset({"source", "row", "object_id", "ra", "dec", "z_spec", "flags"})
"""Columns that a model's outputs may not be called."""


def count_flags(flags: NDArray[np.uint16]) -> dict[str, int]:
    """Return the number of rows by name of flag, without the flags that no row has."""
    counts = {str(flag.name).lower(): int(np.count_nonzero(flags & flag.value)) for flag in Flag}
    return {name: count for name, count in counts.items() if count}


def missing(values: NDArray[Any], flags: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Say which rows have no value of an output.

    Parameters
    ----------
    values : array, shape (rows,) or (rows, ...)
        The output, as the model returned it.
    flags : array of uint16, shape (rows,)
        Of the rows.

    Returns
    -------
    array of bool, shape (rows,)
        True for rows with one of `NO_VALUE`, and where a number is not finite.
    """
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    absent: NDArray[np.bool_] = ~finite | ((flags & NO_VALUE.value) != 0)
    return absent


def build_part(
    sources: list[tuple[str, int]],
    columns: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
    flags: NDArray[np.uint16],
) -> Table:
    """Put a task's results together as one table.

    Parameters
    ----------
    sources : list of (str, int)
        Key and rows of each partition, in the order read.
    columns : mapping
        Tensors taken over from the partitions, shape (rows,).
    outputs : mapping
        What the model returned, shape (rows,) or (rows, values).
    flags : array of uint16, shape (rows,)
        Of the rows; an output is null where it is `missing`.
    """
    counts = np.array([rows for _, rows in sources], np.int64)
    which = np.repeat(np.arange(len(sources), dtype=np.uint32), counts)
    rows = np.arange(len(flags), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    source = Array([key for key, _ in sources], type=DataType.utf8()).take(Array.from_numpy(which))
    table: dict[str, Any] = {"source": source, "row": Array.from_numpy(rows)}
    table |= {RENAMED.get(name, name): Array.from_numpy(_flat(values)) for name, values in columns.items()}
    table |= {name: _output_column(values, missing(values, flags)) for name, values in outputs.items()}
    table["flags"] = Array.from_numpy(flags)
    return Table.from_pydict(table)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values.reshape(len(values)))


def _output_column(values: NDArray[Any], absent: NDArray[np.bool_]) -> Array:
    values = np.ascontiguousarray(values)
    if values.ndim == 1 or values.shape[1:] == (1,):
        column = Array.from_numpy(values.reshape(-1))
    else:
        width = int(np.prod(values.shape[1:]))
        flat = Array.from_numpy(values.reshape(-1))
        column = fixed_size_list_array(flat, width, type=DataType.list(Field("item", flat.type), width))
    if not absent.any():
        return column
    rows = [None if gone else row for row, gone in enumerate(absent.tolist())]
    return column.take(Array(rows, type=DataType.uint32()))


def encode_part(table: Table, metadata: Mapping[str, str]) -> bytes:
    """Encode a part as Parquet; the same table gives the same bytes."""
    buffer = io.BytesIO()
    # one key only: the writer puts several in random order, and then equal parts would differ in their hash
    footer = {FOOTER_KEY: json.dumps({"schema": SCHEMA_VERSION, **metadata}, sort_keys=True)}
    write_parquet(
        table,
        buffer,
        compression=COMPRESSION,
        dictionary_enabled=False,
        column_dictionary_enabled=dict.fromkeys(REPEATING, True),
        key_value_metadata=footer,
    )
    return buffer.getvalue()


def column_types(table: Table) -> dict[str, str]:
    """Return the Arrow type of each column, by name, in order."""
    fields = (table.schema.field(i) for i in range(len(table.schema)))
    return {
        field.name: str(field.type).strip().removeprefix("arro3.core.DataType<").removesuffix(">") for field in fields
    }


def read_part(data: bytes, name: str) -> RecordBatchReader:
    """Open a part.

    Raises
    ------
    PartitionError
        If the bytes are no Parquet file.
    """
    framed = data.startswith(_MAGIC) and data.endswith(_MAGIC)
    # looked at here, since the reader panics where a file is too small for its footer
    if not framed or len(data) < _FRAME_BYTES + int.from_bytes(data[-8:-4], "little"):
        raise PartitionError(f"{name}: not a Parquet file, or cut short; run the payload again to write it anew")
    try:
        return read_parquet(io.BytesIO(data), batch_size=READ_BATCH_ROWS)
    except Exception as error:  # the reader raises bare Exceptions
        text = str(error).split("\n", 1)[0]
        raise PartitionError(f"{name}: not a Parquet file ({text}); run the payload again to write it anew") from error


def chain_parts(parts: Iterable[tuple[str, bytes]]) -> RecordBatchReader:
    """Read many parts as one stream of batches, opening each only when the stream gets there.

    Raises
    ------
    PartitionError
        If there is no part, or one has other columns than the first.
    """
    iterator = iter(parts)
    try:
        first_name, first_data = next(iterator)
    except StopIteration:
        raise PartitionError("no part to read: the run has not finished a task; run it, then ask again") from None
    first = read_part(first_data, first_name)
    schema = _fields(first)

    def batches() -> Iterator[Any]:
        yield from first
        for name, data in iterator:
            reader = read_part(data, name)
            if _fields(reader) != schema:
                raise PartitionError(
                    f"{name}: differs from {first_name} in {', '.join(_differing(_fields(reader), schema))}; "
                    "expected the same in all; give a survey's partitions the same tensors, then run with --overwrite"
                )
            yield from reader

    return RecordBatchReader.from_batches(schema, batches())


def _fields(reader: RecordBatchReader) -> Schema:
    """Return a part's columns without what its footer says."""
    return Schema([reader.schema.field(i) for i in range(len(reader.schema))])


def _differing(one: Schema, other: Schema) -> list[str]:
    """Return the names of the columns that only one has, or both in another type or place."""
    first, second = ({name: (i, schema.field(i)) for i, name in enumerate(schema.names)} for schema in (one, other))
    return [name for name in first | second if first.get(name) != second.get(name)]
