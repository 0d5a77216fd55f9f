"""The rows of a catalogue that have a true redshift: read once, as a few numbers a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from arro3.core import DataType, RecordBatch, RecordBatchReader, list_flatten
from numpy.typing import NDArray

from skyfan.errors import InputError
from skyfan.photoz import metrics, probability
from skyfan.photoz.sums import INTERVALS, LEVELS
from skyfan.predictions import NO_VALUE

Floats = NDArray[np.float64]

NEEDED = {
    "z_spec": "true redshifts come from the tensor 'redshift' of the partitions: add it to them, then run anew",
    "z_phot": "a model's output of that name, a number a row, is the redshift: rename it in the export, then run anew",
}
"""Columns without which there is nothing to compare, and how a catalogue gets them."""


@dataclass(frozen=True)
class Compared:
    """Predictions with their true redshifts."""

    columns: Mapping[str, NDArray[Any]]
    """`z_phot` and `z_spec`; `pit` and `crps` where there is a PDF; `within_68` and `within_95` where there are
    intervals. (rows,) each."""
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


def _compared(batch: RecordBatch, edges: Floats | None) -> Compared:
    """Keep of a batch what has a prediction and a true redshift."""
    names = set(batch.schema.names)
    valued = np.flatnonzero((_numbers(batch, "flags") & NO_VALUE.value) == 0)
    known = metrics.has_truth(_numbers(batch, "z_spec")[valued])
    kept = batch.take(valued[known])
    z_spec = _numbers(kept, "z_spec").astype(np.float64)
    columns: dict[str, NDArray[Any]] = {"z_phot": _numbers(kept, "z_phot").astype(np.float64), "z_spec": z_spec}
    stacked = None
    if edges is not None:
        pdf = np.asarray(list_flatten(kept.column("pdf")).to_numpy(), np.float64).reshape(len(z_spec), -1)
        pit, columns["crps"] = probability.pit_and_crps(pdf, edges, z_spec)
        columns |= {"pit": pit} | {f"within_{level}": probability.pit_covered(pit, level / 100) for level in LEVELS}
        good = np.isfinite(pit)
        stacked = (pdf[good] / pdf[good].sum(axis=1, keepdims=True)).sum(axis=0)
    if all(names.issuperset(ends) for ends in INTERVALS.values()):
        for level, (low, high) in INTERVALS.items():
            columns[f"within_{level}"] = probability.covered(_numbers(kept, low), _numbers(kept, high), z_spec)
    return Compared(columns, edges, stacked, batch.num_rows - len(valued), int(np.count_nonzero(~known)))


def _numbers(batch: RecordBatch, name: str) -> NDArray[Any]:
    return np.asarray(batch.column(name).to_numpy())
