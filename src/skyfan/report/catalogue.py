"""The catalogue of a run, read once for all that its report shows of it: metrics, plots, and the strangest rows."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

import numpy as np
from arro3.core import DataType, RecordBatch, RecordBatchReader, Schema, Table
from msgspec import Struct, field
from numpy.typing import NDArray

from skyfan.comparison import NEEDED, Compared, compare
from skyfan.errors import InputError, PartitionError, SkyfanError
from skyfan.predictions import read_part
from skyfan.report.record import Record
from skyfan.staging import find_pdf_edges
from skyfan.task import PartRef
from skyfan.verification import AGAIN

SCORE = "anomaly_score"
SHOWN = ("source", "row", "object_id", "ra", "dec", "z_spec", "z_phot", SCORE, "flags")
"""Columns that are kept of the strangest rows."""
READERS = 8
"""Threads that fetch parts."""
CHUNK_BYTES = 1024**2
MOST_IN_CHUNK = 64
"""Parts that one of them fetches before it asks what is next."""
BATCH_ROWS = 16_384
"""Small parts are looked at together: what is done for each batch takes longer than a few rows do."""

Row = dict[str, Any]


class Glance(Struct):
    """What was found in a catalogue."""

    top: list[Row] = field(default_factory=list)
    """The rows with the highest `anomaly_score`, highest first."""
    has_score: bool = False
    compared: Compared | None = None
    """None if there are no true redshifts, or they were not asked for."""
    warnings: list[str] = field(default_factory=list)
    """What is to be known of the comparison."""
    problem: str = ""
    """Why it could not be read to its end; empty if it could."""


def glance(record: Record, images: int, *, compared: bool) -> Glance:
    """Read a catalogue, batch by batch: never all of it is held.

    Parameters
    ----------
    record : Record
    images : int
        Rows with the highest `anomaly_score` that are kept.
    compared : bool
        Hold it against the true redshifts too, which keeps a few numbers per row.
    """
    if len(record.found.kinds) > 1:
        return Glance(problem="its parts have not the same columns, so that they are not one catalogue")
    found = Glance()
    try:
        schema, batches = _opened(record)
        found.has_score = has_numbers(schema, SCORE)
        seen = _watched(batches, found, images if found.has_score else 0)
        if compared and all(has_numbers(schema, name) for name in NEEDED):
            edges = None
            model = record.tasks[0].model
            if "pdf" in schema.names and model is not None:
                edges, found.warnings = find_pdf_edges(model, record.bucket)
            found.compared = _compared(RecordBatchReader.from_batches(schema, seen), record.id, edges, found)
        elif found.has_score and images:
            deque(seen, 0)
    except SkyfanError as error:
        found.problem = str(error)
    return found


def has_numbers(schema: Schema, name: str) -> bool:
    """Return whether a catalogue has a column of floating-point numbers of that name."""
    return name in schema.names and DataType.is_floating(schema.field(name).type)


def top_rows(best: list[Row], batch: RecordBatch, most: int) -> list[Row]:
    """Return the rows with the highest `anomaly_score` of those so far and a batch, highest first, at most `most`."""
    least = best[-1][SCORE] if len(best) >= most else -np.inf
    numbers = _above(batch, least, most)
    if not len(numbers):
        return best
    taken = batch.select([name for name in batch.schema.names if name in SHOWN]).take(numbers)
    columns = {name: taken.column(name).to_pylist() for name in taken.schema.names}
    more = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return sorted([*best, *more], key=lambda row: (-row[SCORE], row["source"], row["row"]))[:most]


def _above(batch: RecordBatch, least: float, most: int) -> NDArray[np.intp]:
    """Return which rows of a batch have a score above one, the highest of them."""
    column = batch.column(SCORE)
    if column.null_count:  # an array with nulls cannot go to numpy
        scores = np.array([np.nan if value is None else value for value in column.to_pylist()], np.float64)
    else:
        scores = column.to_numpy().astype(np.float64)
    above = np.flatnonzero(scores > least)
    return above[np.argsort(-scores[above], kind="stable")[:most]]


def _watched(batches: Iterable[RecordBatch], found: Glance, images: int) -> Iterator[RecordBatch]:
    for batch in batches:
        if images:
            found.top = top_rows(found.top, batch, images)
        yield batch


def _compared(reader: RecordBatchReader, run: str, edges: Any, found: Glance) -> Compared | None:
    try:
        return compare(reader, run, edges)
    except PartitionError:
        raise
    except InputError as error:  # none of its rows has both a prediction and a true redshift
        found.warnings.append(str(error))
        return None


def _opened(record: Record) -> tuple[Schema, Iterator[RecordBatch]]:
    """Return the columns and the batches of the parts of all tasks that are done, by rank."""
    parts = _parts(record)
    first = next(parts)
    return first[0].schema.remove_metadata(), _together(chain(first, chain.from_iterable(parts)))


def _together(batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """Put small batches together; large ones are passed on as they are."""
    waiting: list[RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= BATCH_ROWS:
            yield from Table.from_batches(waiting).combine_chunks().to_batches()
            waiting, rows = [], 0
    if waiting:
        yield from Table.from_batches(waiting).combine_chunks().to_batches()


def _parts(record: Record) -> Iterator[list[RecordBatch]]:
    """Yield the batches of each part, of which the hash is as its report says; a few are fetched ahead."""

    def fetched(parts: Sequence[PartRef]) -> list[tuple[str, bytes]]:
        return [(part.key, _checked(part, record.bucket.get(part.key))) for part in parts]

    rest = _chunks(item.part for item in record.found.done.values() if item.part is not None)
    with ThreadPoolExecutor(READERS) as pool:
        ahead = deque(pool.submit(fetched, parts) for parts in islice(rest, READERS))
        while ahead:
            for key, data in ahead.popleft().result():
                yield [batch for batch in read_part(data, key) if batch.num_rows]
            ahead.extend(pool.submit(fetched, parts) for parts in islice(rest, 1))


def _checked(part: PartRef, data: bytes | None) -> bytes:
    if data is None or hashlib.sha256(data).hexdigest() != part.sha256:
        raise PartitionError(f"{part.key}: is not what its task wrote; {AGAIN} (see 'skyfan verify')")
    return data


def _chunks(parts: Iterable[PartRef]) -> Iterator[list[PartRef]]:
    """Yield parts that are fetched together: one if it is large, many small ones."""
    chunk: list[PartRef] = []
    for part in parts:
        chunk.append(part)
        if sum(item.bytes for item in chunk) >= CHUNK_BYTES or len(chunk) == MOST_IN_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
