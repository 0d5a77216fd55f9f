"""Torch's results held against those of a file, or against torch's own."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import ModelError
from skyfan.photoz.foreign.exchange import Translation, first_line
from skyfan.photoz.onnx_file import open_session

PARITY = 1e-4
"""Largest relative difference (see `difference`) between torch and a float32 file."""


def difference(file: Path, samples: Mapping[str, Any], expected: Mapping[str, Any], found: Translation) -> float:
    """Return the largest relative difference between an ONNX file and torch, over batches of 1, 2, 7 and more rows.

    Relative to the value or, where that is larger, to the root mean square of the output over the rows; NaN equals NaN.

    Raises
    ------
    ModelError
        The file cannot be run on one of the batches, or torch gives no finite number on any row.
    """
    try:
        session = open_session(file)
    except Exception as error:
        raise ModelError(f"the exported file cannot be opened ({first_line(error)}) - export it by hand") from error
    worst, finite = 0.0, False
    for kind in {key.partition("/")[0] for key in expected}:
        feed = {name: samples[f"{kind}/{name}"] for name in found.inputs}
        pieces = []
        for rows in batches(len(next(iter(feed.values())))):
            try:
                pieces.append(session.run(None, {name: values[rows] for name, values in feed.items()}))
            except Exception as error:
                raise ModelError(
                    f"the exported file fails on a batch of {rows.stop - rows.start} rows ({first_line(error)}); "
                    "expected it to take any number - take fixed numbers of rows out of forward, as in x.view(32, -1)"
                ) from error
        for number, got in enumerate(zip(*pieces, strict=True)):
            want = expected[f"{kind}/{number}"].astype(np.float64)
            finite = finite or bool(np.isfinite(want).any())
            worst = max(worst, relative(want, got))
    if not finite:
        raise ModelError("the network gives no finite number on any row compared - give rows as it knows with --test")
    return worst


def relative(want: NDArray[np.float64], pieces: Sequence[NDArray[Any]]) -> float:
    """Return the largest relative difference of one output, given in batches; infinite where the shapes differ."""
    if sum(map(len, pieces)) != len(want) or any(piece.shape[1:] != want.shape[1:] for piece in pieces):
        return float("inf")
    got = np.concatenate(pieces).astype(np.float64)
    known = np.isfinite(want)
    if not np.array_equal(got[~known], want[~known], equal_nan=True):
        return float("inf")
    want, got = want[known], got[known]
    scale = np.maximum(np.abs(want), np.sqrt(np.mean(want**2)) if want.size else 0.0)
    apart = np.abs(got - want)
    ratio = np.divide(apart, scale, out=np.where(apart > 0, np.inf, 0.0), where=scale > 0)
    return float(ratio.max(initial=0.0)) if np.isfinite(ratio).all() else float("inf")


def batches(rows: int) -> list[slice]:
    """Return batches of 1, 2, 7 and the rest: a file that is true for one number of rows only is found out."""
    edges = sorted({min(edge, rows) for edge in (0, 1, 3, 10, rows)})
    return [slice(start, stop) for start, stop in pairwise(edges)]
