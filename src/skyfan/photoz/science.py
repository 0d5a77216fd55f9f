"""The metrics of a whole run, from the sums of its tasks."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct, field

from skyfan.photoz.histograms import COARSE, FINE, Histogram, Ordered, unpack
from skyfan.photoz.probability import histogram_ks
from skyfan.photoz.sums import PIT_BINS, R_EDGES, Z_EDGES, Group, Sums


class Bin(Struct, frozen=True, kw_only=True):
    """The metrics of the rows in one bin of redshift or magnitude."""

    low: float | None
    """None for the bin that has no lower end."""
    high: float | None
    """Not in the bin itself; None for the bin that has no upper end."""
    rows: int
    bias_mean: float | None
    bias_mean_error: float | None
    """Standard deviation of dz / sqrt(rows); None for one row."""
    sigma_nmad: float | None
    """From a histogram with bins of 0.001: within 0.003, in practice within 0.0002 for some hundred rows."""
    outlier_fraction_005: float
    outlier_fraction_015: float


class Science(Struct, frozen=True, kw_only=True):
    """Predictions against true redshifts. A figure that is not defined, or that the model gives no column for, is None.

    All are exact but for those of which the error is stated.
    """

    rows: int
    """Galaxies with both a prediction and a true redshift: all figures are of these."""
    rows_without_prediction: int
    rows_without_redshift: int
    """Predicted, but without a true redshift."""
    bias_mean: float | None
    """Mean of dz = (z_phot - z_spec) / (1 + z_spec)."""
    bias_mean_error: float | None
    """Standard deviation of dz / sqrt(rows)."""
    bias_median: float | None
    """Median of dz, within `quantiles_within`."""
    sigma_nmad: float | None
    """1.4826 median|dz - median(dz)|, within `sigma_nmad_within`."""
    sigma_68: float | None
    """Half of the central 68 % of dz, within `quantiles_within`."""
    quantiles_within: float | None
    """Most by which medians and quantiles of dz can differ: a bin's width, 0.0001 wherever |dz| is below 0.05 there."""
    sigma_nmad_within: float | None
    """Most by which sigma_nmad can differ: 0.0003 where the above is 0.0001; in practice a hundredth of it."""
    outlier_fraction_005: float | None
    """Share of |dz| > 0.05."""
    outlier_fraction_015: float | None
    """Share of |dz| > 0.15."""
    mae: float | None
    """Mean |z_phot - z_spec|."""
    mse: float | None
    """Mean (z_phot - z_spec)^2."""
    r2: float | None
    """1 - sum of (z_phot - z_spec)^2 / sum of (z_spec - mean)^2."""
    pit_ks: float | None = None
    """Kolmogorov-Smirnov distance of the PIT from a flat one; too small by 0.005 at most."""
    crps: float | None = None
    """Mean continuous ranked probability score, in redshift."""
    coverage_68: float | None = None
    """Share of true redshifts within the 68 % interval: z_l68 to z_u68, or the PDF's central one."""
    coverage_95: float | None = None
    by_z: list[Bin] = field(default_factory=list)
    """In bins of true redshift."""
    by_r: list[Bin] = field(default_factory=list)
    """In bins of r magnitude, where partitions name their bands."""


def scores(sums: Sums) -> Science:
    """Return the metrics that sums tell."""
    rows = sums.rows
    ordered = _ordered(FINE, sums.dz_counts)
    median, median_within = ordered.quantile(0.5)
    (low, low_within), (high, high_within) = ordered.quantile(0.16), ordered.quantile(0.84)
    deviation, deviation_within = ordered.median_deviation()
    return Science(
        rows=rows,
        rows_without_prediction=sums.rows_without_prediction,
        rows_without_redshift=sums.rows_without_redshift,
        bias_mean=_share(sums.dz_sum, rows),
        bias_mean_error=_mean_error(rows, sums.dz_sum, sums.dz_square_sum),
        bias_median=_known(median),
        sigma_nmad=_known(1.4826 * deviation),
        sigma_68=_known((high - low) / 2.0),
        quantiles_within=_known(max(median_within, low_within, high_within)),
        sigma_nmad_within=_known(1.4826 * deviation_within),
        outlier_fraction_005=_share(sums.outliers_005, rows),
        outlier_fraction_015=_share(sums.outliers_015, rows),
        mae=_share(sums.residual_abs_sum, rows),
        mse=_share(sums.residual_square_sum, rows),
        r2=1.0 - sums.residual_square_sum / sums.z_spec_scatter if sums.z_spec_scatter > 0 else None,
        pit_ks=_known(histogram_ks(_unpacked(sums.pit_counts, PIT_BINS))),
        crps=_share(sums.crps_sum, sums.pdf_rows),
        coverage_68=_share(sums.within_68, sums.interval_rows),
        coverage_95=_share(sums.within_95, sums.interval_rows),
        by_z=_bins(sums.by_z, Z_EDGES),
        by_r=_bins(sums.by_r, R_EDGES),
    )


def _bins(groups: Mapping[int, Group], edges: Sequence[float]) -> list[Bin]:
    ends = [None, *edges, None]
    return [
        Bin(
            low=ends[number],
            high=ends[number + 1],
            rows=group.rows,
            bias_mean=_share(group.dz_sum, group.rows),
            bias_mean_error=_mean_error(group.rows, group.dz_sum, group.dz_square_sum),
            sigma_nmad=_known(1.4826 * _ordered(COARSE, group.dz_counts).median_deviation()[0]),
            outlier_fraction_005=group.outliers_005 / group.rows,
            outlier_fraction_015=group.outliers_015 / group.rows,
        )
        for number, group in sorted(groups.items())
    ]


def _unpacked(packed: str, bins: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    counts = np.zeros(bins, np.int64)
    unpack(packed, counts)
    return counts


def _ordered(histogram: Histogram, packed: str) -> Ordered:
    return Ordered(histogram, _unpacked(packed, histogram.bins))


def _share(part: float, rows: int) -> float | None:
    return part / rows if rows else None


def _mean_error(rows: int, total: float, squares: float) -> float | None:
    if rows < 2:
        return None
    return math.sqrt(max(squares - total * total / rows, 0.0) / (rows - 1) / rows)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
