"""Partial sums of redshift metrics: a task's fit into its report, and added up they give the metrics of the whole run.

Sums add exactly: mean bias, MAE, MSE, R2, CRPS, coverage and outlier fractions are those of all rows but for rounding.
Medians and quantiles come from histograms of dz with fixed bins, within bounds that `Science` states. How the metrics
are defined: `skyfan.photoz.metrics` and `skyfan.photoz.probability`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct, field
from numpy.typing import ArrayLike, NDArray

from skyfan.photoz import metrics, probability
from skyfan.photoz.histograms import COARSE, FINE, pack, unpack

Floats = NDArray[np.float64]

PIT_BINS = 200
LEVELS = (68, 95)
"""Per cent of the intervals whose coverage is counted."""

INTERVALS = {68: ("z_l68", "z_u68"), 95: ("z_l95", "z_u95")}
"""Outputs of a model that are the ends of its intervals."""

Z_EDGES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
"""Between bins in z_spec; below the first and above the last are bins too."""
R_EDGES = (12.0, 13.0, 14.0, 15.0, 15.5, 16.0, 16.5, 17.0, 17.5, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0)
"""Between bins in r magnitude, AB."""


class Group(Struct, frozen=True, array_like=True):
    """Sums of one bin in redshift or magnitude; in JSON a list in this order."""

    rows: int
    dz_sum: float
    dz_square_sum: float
    outliers_005: int
    outliers_015: int
    dz_counts: str
    """Histogram of dz in wider bins; packed as `Sums.dz_counts`."""


class Sums(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a sample's metrics are computed from; sums of parts of a sample add up to those of the whole."""

    rows: int = 0
    """With both a prediction and a true redshift: all else here is of these."""
    rows_without_prediction: int = 0
    """z_phot is not finite: null in the catalogue."""
    rows_without_redshift: int = 0
    """Predicted, but z_spec is not finite, or not above -1."""
    dz_sum: float = 0.0
    """Of dz = (z_phot - z_spec) / (1 + z_spec)."""
    dz_square_sum: float = 0.0
    residual_abs_sum: float = 0.0
    """Of |z_phot - z_spec|."""
    residual_square_sum: float = 0.0
    z_spec_mean: float = 0.0
    z_spec_scatter: float = 0.0
    """Sum of (z_spec - z_spec_mean)^2."""
    outliers_005: int = 0
    """Rows with |dz| > 0.05."""
    outliers_015: int = 0
    dz_counts: str = ""
    """Histogram of dz: 1,460 bins of 0.0001 up to |dz| = 0.05, 0.001 up to 0.2 and 0.01 up to 1, where what is farther
    out is counted too. A negative number -k stands for k empty bins, and those at the end are left out."""
    pdf_rows: int = 0
    """Rows with a usable PDF."""
    pit_counts: str = ""
    """Histogram of their PIT, 200 bins from 0 to 1; packed as `dz_counts`."""
    crps_sum: float = 0.0
    interval_rows: int = 0
    """Rows of which the 68 % and 95 % intervals are known."""
    within_68: int = 0
    within_95: int = 0
    by_z: dict[int, Group] = field(default_factory=dict)
    """By number of bin in z_spec: 0 below 0, 1 from 0 up to 0.05, ...; edges in `skyfan.photoz.sums.Z_EDGES`."""
    by_r: dict[int, Group] = field(default_factory=dict)
    """By number of bin in r magnitude, where partitions name their bands; edges in `R_EDGES` there."""


def measure(
    z_phot: ArrayLike,
    z_spec: ArrayLike,
    *,
    r: ArrayLike | None = None,
    pdf: ArrayLike | None = None,
    pdf_edges: ArrayLike | None = None,
    intervals: Mapping[int, tuple[ArrayLike, ArrayLike]] | None = None,
) -> Sums:
    """Return the sums of a sample.

    Parameters
    ----------
    z_phot : array, shape (n,)
        Not finite where there is no prediction.
    z_spec : array, shape (n,)
        See `metrics.has_truth`.
    r : array, shape (n,), optional
        Magnitude in r, AB; rows where it is not finite are in no bin.
    pdf, pdf_edges : array, shape (n, bins) and (bins + 1,), optional
        Probabilities and the redshifts between them.
    intervals : mapping, optional
        68 and 95 -> lower and upper end, (n,) each; rows of which one is not finite are left out. Without them
        intervals are the central ones of the PDF.
    """
    predicted, true = np.asarray(z_phot, np.float64), np.asarray(z_spec, np.float64)
    finite, known = np.isfinite(predicted), metrics.has_truth(true)
    used = np.flatnonzero(finite & known)
    predicted, true = predicted[used], true[used]
    dz = metrics.dz(predicted, true)
    mean = float(true.mean()) if len(used) else 0.0
    absolute = np.abs(dz)
    magnitude = np.asarray(r, np.float64)[used] if r is not None else np.empty(0)
    seen = np.isfinite(magnitude)
    return Sums(
        rows=len(used),
        rows_without_prediction=len(finite) - int(np.count_nonzero(finite)),
        rows_without_redshift=int(np.count_nonzero(finite & ~known)),
        dz_sum=float(dz.sum()),
        dz_square_sum=float(dz @ dz),
        residual_abs_sum=float(np.abs(predicted - true).sum()),
        residual_square_sum=float(((predicted - true) ** 2).sum()),
        z_spec_mean=mean,
        z_spec_scatter=float(((true - mean) ** 2).sum()) if len(used) and true.min() < true.max() else 0.0,
        outliers_005=int(np.count_nonzero(absolute > 0.05)),
        outliers_015=int(np.count_nonzero(absolute > 0.15)),
        dz_counts=pack(FINE.count(dz)),
        by_z=_groups(metrics.in_bins(true, Z_EDGES), dz, len(Z_EDGES) + 1),
        by_r=_groups(metrics.in_bins(magnitude[seen], R_EDGES), dz[seen], len(R_EDGES) + 1) if r is not None else {},
        **_pdf_sums(used, true, pdf, pdf_edges, intervals or {}),
    )


def add(*parts: Sums) -> Sums:
    """Return the sums of samples put together.

    The order of the samples does not matter: counts add as integers, and floats are summed by `math.fsum`, which rounds
    once. Adding sums of sums gives the same but for that rounding (some 1e-16 of each figure).
    """
    rows = sum(part.rows for part in parts)
    mean = math.fsum(part.rows * part.z_spec_mean for part in parts) / rows if rows else 0.0
    # deviations from the common mean: those within each part, and those of the parts' own means (Chan et al. 1979)
    scatter = math.fsum(
        term for part in parts for term in (part.z_spec_scatter, part.rows * (part.z_spec_mean - mean) ** 2)
    )
    added: dict[str, Any] = {name: sum(getattr(part, name) for part in parts) for name in _COUNTS}
    added |= {name: math.fsum(getattr(part, name) for part in parts) for name in _SUMS}
    return Sums(
        **added,
        z_spec_mean=mean,
        z_spec_scatter=scatter if rows and scatter > rows * (4e-16 * abs(mean)) ** 2 else 0.0,
        dz_counts=_added((part.dz_counts for part in parts), FINE.bins),
        pit_counts=_added((part.pit_counts for part in parts), PIT_BINS),
        by_z=_added_groups([part.by_z for part in parts]),
        by_r=_added_groups([part.by_r for part in parts]),
    )


_COUNTS = (
    "rows",
    "rows_without_prediction",
    "rows_without_redshift",
    "outliers_005",
    "outliers_015",
    "pdf_rows",
    "interval_rows",
    "within_68",
    "within_95",
)
_SUMS = ("dz_sum", "dz_square_sum", "residual_abs_sum", "residual_square_sum", "crps_sum")


def _added(packed: Iterable[str], bins: int) -> str:
    total = np.zeros(bins, np.int64)
    for counts in packed:
        unpack(counts, total)
    return pack(total)


def _added_groups(parts: Sequence[Mapping[int, Group]]) -> dict[int, Group]:
    added = {}
    for number in sorted(set().union(*parts)):
        groups = [part[number] for part in parts if number in part]
        added[number] = Group(
            rows=sum(group.rows for group in groups),
            dz_sum=math.fsum(group.dz_sum for group in groups),
            dz_square_sum=math.fsum(group.dz_square_sum for group in groups),
            outliers_005=sum(group.outliers_005 for group in groups),
            outliers_015=sum(group.outliers_015 for group in groups),
            dz_counts=_added((group.dz_counts for group in groups), COARSE.bins),
        )
    return added


def _groups(number: NDArray[np.int64], dz: Floats, bins: int) -> dict[int, Group]:
    """Sum dz by number of bin."""
    absolute = np.abs(dz)
    counts = np.bincount(number * COARSE.bins + COARSE.bin_of(dz), minlength=bins * COARSE.bins)
    histograms = counts.reshape(bins, COARSE.bins)
    sums, squares, far, farther = (
        np.bincount(number, weights, bins) for weights in (dz, dz * dz, absolute > 0.05, absolute > 0.15)
    )
    return {
        int(i): Group(
            int(histograms[i].sum()),
            float(sums[i]),
            float(squares[i]),
            int(far[i]),
            int(farther[i]),
            pack(histograms[i]),
        )
        for i in np.flatnonzero(histograms.any(axis=1))
    }


def _pdf_sums(
    used: NDArray[np.intp],
    true: Floats,
    pdf: ArrayLike | None,
    edges: ArrayLike | None,
    intervals: Mapping[int, tuple[ArrayLike, ArrayLike]],
) -> dict[str, Any]:
    """Return the fields of `Sums` that tell of PDFs and intervals."""
    sums: dict[str, Any] = {}
    ends = {level: np.asarray(pair)[:, used] for level, pair in intervals.items()}
    inside = in_intervals(ends, true) if ends else {}
    if pdf is not None and edges is not None:
        pit, crps = probability.pit_and_crps(_rows(np.asarray(pdf), used), edges, true)
        pit, crps = pit[np.isfinite(pit)], crps[np.isfinite(pit)]
        counts = pack(probability.pit_histogram(pit, PIT_BINS))
        sums |= {"pdf_rows": len(pit), "pit_counts": counts, "crps_sum": float(crps.sum())}
        inside = inside or in_central_intervals(pit)
    if inside:
        within = {f"within_{level}": int(np.nansum(inside[level])) for level in LEVELS}
        sums |= {"interval_rows": int(np.count_nonzero(np.isfinite(inside[LEVELS[0]]))), **within}
    return sums


def in_intervals(intervals: Mapping[int, ArrayLike], z_spec: ArrayLike) -> dict[int, Floats]:
    """Return for each level whether z_spec lies in the interval: 1 or 0, NaN where not all ends are finite, (n,) each.

    Parameters
    ----------
    intervals : mapping
        68 and 95 -> lower and upper end, (2, n).
    z_spec : array, shape (n,)
        True redshifts.
    """
    ends = {level: np.asarray(pair, np.float64) for level, pair in intervals.items()}
    known = np.isfinite([*ends.values()]).all(axis=(0, 1))
    return {
        level: np.where(known, probability.covered(low, high, z_spec), np.nan) for level, (low, high) in ends.items()
    }


def in_central_intervals(pit: Floats) -> dict[int, Floats]:
    """Return the same for the central intervals of PDFs, from their PIT values, (n,): NaN where that is NaN."""
    known = np.isfinite(pit)
    return {level: np.where(known, probability.pit_covered(pit, level / 100), np.nan) for level in LEVELS}


def _rows(values: NDArray[Any], used: NDArray[np.intp]) -> NDArray[Any]:
    """Return the rows used, without a copy if that is all."""
    return values if len(used) == len(values) else values[used]
