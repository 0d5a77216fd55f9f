"""The rows of a catalogue that have a true redshift: read once, as a few numbers per row."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader, list_flatten
from numpy.typing import NDArray

from skyfan.errors import InputError
from skyfan.photoz import metrics, probability
from skyfan.photoz.sums import INTERVALS, in_central_intervals, in_intervals

Floats = NDArray[np.float64]

_address_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)

NEEDED = {
    "z_spec": "true redshifts come from the tensor 'redshift' of the partitions: add it to them, then run anew",
    "z_phot": "a model's output of that name, a number a row, is the redshift: rename it in the export, then run anew",
}
"""Columns without which there is nothing to compare, and how a catalogue gets them."""

_ENDS = frozenset(end for ends in INTERVALS.values() for end in ends)


@dataclass(frozen=True)
class Compared:
    """Predictions with their true redshifts."""

    columns: Mapping[str, NDArray[Any]]
    """`z_phot` and `z_spec`; `pit` and `crps` where there is a PDF; `within_68` and `within_95`, 1 or 0, where there
    are intervals. (rows,) each; NaN for a row whose PDF or interval is null."""
    edges: Floats | None
    """Between the bins of the PDFs, (bins + 1,); None if there are none."""
    stacked_pdf: Floats | None
    """Sum of the PDFs, (bins,)."""
    rows_without_prediction: int
    rows_without_redshift: int

    def __len__(self) -> int:
        return len(self.columns["z_phot"])


def compare(reader: RecordBatchReader, run: str, edges: Floats | None) -> Compared:
    """Read a catalogue once.

    Parameters
    ----------
    reader : RecordBatchReader
        The catalogue.
    run : str
        For messages.
    edges : array, shape (bins + 1,), optional
        Of the column `pdf`; without them it is left aside.

    Raises
    ------
    InputError
        If there is nothing to compare.
    """
    for name, advice in NEEDED.items():
        if name not in reader.schema.names or not DataType.is_floating(reader.schema.field(name).type):
            raise InputError(f"{run}: its catalogue has no numbers {name!r}, so there is nothing to evaluate; {advice}")
    if "pdf" not in reader.schema.names:
        edges = None
    pieces = [_compared(batch, edges) for batch in reader]
    found = Compared(
        {name: np.concatenate([piece.columns[name] for piece in pieces]) for name in pieces[0].columns},
        edges,
        np.sum([piece.stacked_pdf for piece in pieces if piece.stacked_pdf is not None], axis=0)
        if edges is not None
        else None,
        sum(piece.rows_without_prediction for piece in pieces),
        sum(piece.rows_without_redshift for piece in pieces),
    )
    if not len(found):
        raise InputError(
            f"{run}: none of its rows has both a prediction and a true redshift; expected z_spec finite and above -1; "
            "look at the column 'flags', and at the tensor 'redshift' of the partitions"
        )
    return found


def compare_arrays(values: Mapping[str, NDArray[Any]], edges: Floats | None) -> Compared:
    """Compare rows that have both a prediction and a true redshift.

    Parameters
    ----------
    values : mapping
        `z_phot` and `z_spec`, (rows,); `pdf`, (rows, bins), and the ends of intervals, (rows,), if there are any.
    edges : array, shape (bins + 1,), optional
        Of `pdf`; without them it is left aside.
    """
    z_spec = values["z_spec"].astype(np.float64)
    columns = {"z_phot": values["z_phot"].astype(np.float64), "z_spec": z_spec}
    inside: dict[int, Floats] = {}
    stacked = None
    if "pdf" not in values:
        edges = None
    if edges is not None:
        pdf = values["pdf"].astype(np.float64)
        columns["pit"], columns["crps"] = probability.pit_and_crps(pdf, edges, z_spec)
        inside = in_central_intervals(columns["pit"])
        good = np.isfinite(columns["pit"])
        stacked = (pdf[good] / pdf[good].sum(axis=1, keepdims=True)).sum(axis=0)
    if values.keys() >= _ENDS:
        inside = in_intervals({level: [values[end] for end in ends] for level, ends in INTERVALS.items()}, z_spec)
    columns |= {f"within_{level}": row for level, row in inside.items()}
    return Compared(columns, edges, stacked, 0, 0)


def _compared(batch: RecordBatch, edges: Floats | None) -> Compared:
    """Keep of a batch what has a prediction and a true redshift."""
    names = set(batch.schema.names)
    predicted = np.isfinite(_numbers(batch, "z_phot"))
    known = metrics.has_truth(_numbers(batch, "z_spec"))
    kept = batch.take(np.flatnonzero(predicted & known))
    wanted = names.intersection(("z_phot", "z_spec", *(("pdf",) if edges is not None else ()), *_ENDS))
    return replace(
        compare_arrays({name: _numbers(kept, name) for name in wanted}, edges),
        rows_without_prediction=int(np.count_nonzero(~predicted)),
        rows_without_redshift=int(np.count_nonzero(predicted & ~known)),
    )


def _numbers(batch: RecordBatch, name: str) -> Floats:
    """Return a column of numbers or lists, (rows,) or (rows, values), NaN where it is null."""
    column = batch.column(name)
    rows = np.arange(len(column))
    if column.null_count:  # an array with nulls cannot go to numpy
        rows = np.flatnonzero(_is_valid(column))
        column = column.take(Array.from_numpy(rows))
    width = (column.type.list_size or 0,) if DataType.is_fixed_size_list(column.type) else ()
    flat = list_flatten(column) if width else column
    numbers = np.full((batch.num_rows, *width), np.nan)
    numbers[rows] = flat.to_numpy().reshape(len(rows), *width)
    return numbers


def _is_valid(column: Array) -> NDArray[np.bool_]:
    """Return which rows of a column with nulls are not null, (rows,).

    arro3 tells only their number; the bits lie where the Arrow C data interface points.
    """
    _, held = column.__arrow_c_array__()
    length, _, offset, _, _, buffers = (ctypes.c_int64 * 6).from_address(_address_in(held, b"arrow_array"))
    bitmap = ctypes.c_int64.from_address(buffers).value
    packed = np.ctypeslib.as_array((ctypes.c_uint8 * -(-(offset + length) // 8)).from_address(bitmap))
    return np.unpackbits(packed, bitorder="little")[offset : offset + length].astype(np.bool_)
