"""How good redshifts are: pure functions of what was predicted and what is true.

Every function takes arrays of n rows and gives NaN where it is not defined: for no rows at all, and where its docstring
says so. Redshifts and all metrics of them have no unit. What needs a PDF is in `skyfan.photoz.probability`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BOOTSTRAP_ROWS = 100_000
"""Largest resample; of larger samples so many rows are drawn, and the error is scaled (see `bootstrap`)."""


@dataclass(frozen=True)
class Scores:
    """The point-estimate metrics of a sample."""

    count: int
    bias: float
    bias_median: float
    sigma_nmad: float
    sigma_68: float
    outlier_fraction_005: float
    outlier_fraction_015: float
    mae: float
    mse: float
    r2: float


@dataclass(frozen=True)
class Gain:
    """What redshifts a have over redshifts b of the same galaxies, with standard errors."""

    sigma_nmad_gain: float
    """1 - sigma_NMAD(a) / sigma_NMAD(b): the share by which the scatter of a is smaller."""
    sigma_nmad_gain_error: float
    outlier_005_difference: float
    """Share of |dz| > 0.05 of a less that of b: negative where a has fewer."""
    outlier_005_difference_error: float
    outlier_015_difference: float
    outlier_015_difference_error: float


def scores(z_phot: ArrayLike, z_spec: ArrayLike) -> Scores:
    """Return every point-estimate metric of redshifts, (n,) each."""
    error = dz(z_phot, z_spec)
    return Scores(
        count=len(error),
        bias=bias(error),
        bias_median=bias_median(error),
        sigma_nmad=sigma_nmad(error),
        sigma_68=sigma_68(error),
        outlier_fraction_005=outlier_fraction(error, 0.05),
        outlier_fraction_015=outlier_fraction(error, 0.15),
        mae=mae(z_phot, z_spec),
        mse=mse(z_phot, z_spec),
        r2=r2(z_phot, z_spec),
    )


def dz(z_phot: ArrayLike, z_spec: ArrayLike) -> Floats:
    """Return (z_phot - z_spec) / (1 + z_spec), (n,) (Cohen et al. 2000, ApJ 538, 29)."""
    truth = np.asarray(z_spec, np.float64)
    return (np.asarray(z_phot, np.float64) - truth) / (1.0 + truth)


def has_truth(z_spec: ArrayLike) -> NDArray[np.bool_]:
    """Return which rows have a true redshift, (n,): finite and above -1; catalogues mark unknown ones -1 or -9999."""
    truth = np.asarray(z_spec, np.float64)
    return np.isfinite(truth) & (truth > -1.0)


def bias(error: ArrayLike) -> float:
    """Return the mean of dz, (n,) (Pasquet et al. 2019, A&A 621, A26, section 4)."""
    return _mean(np.asarray(error, np.float64))


def bias_median(error: ArrayLike) -> float:
    """Return the median of dz, (n,): a bias that outliers do not move (Tanaka et al. 2018, PASJ 70, S9, section 4)."""
    values = np.asarray(error, np.float64)
    return float(np.median(values)) if values.size else float("nan")


def sigma_nmad(error: ArrayLike) -> float:
    """Return 1.4826 median|dz - median(dz)|, (n,): the standard deviation if dz were normal.

    Source: Brammer, van Dokkum & Coppi 2008 (ApJ 686, 1503), section 3, without their luminosity weighting;
    Pasquet et al. 2019 call it sigma_MAD.
    """
    values = np.asarray(error, np.float64)
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else float("nan")


def sigma_68(error: ArrayLike) -> float:
    """Return (Q84(dz) - Q16(dz)) / 2, (n,): half the width of the interval around the median that holds 68 %.

    Quantiles between two rows are interpolated linearly. Source: Sánchez et al. 2014 (MNRAS 445, 1482), section 4.1.
    """
    values = np.asarray(error, np.float64)
    if not values.size:
        return float("nan")
    low, high = np.quantile(values, (0.16, 0.84))
    return float(high - low) / 2.0


def outlier_fraction(error: ArrayLike, threshold: float) -> float:
    """Return the share of |dz| above `threshold`, (n,).

    0.15 is the usual threshold (Hildebrandt et al. 2010, A&A 523, A31); 0.05 suits the SDSS main sample
    (Pasquet et al. 2019).
    """
    return _mean(np.abs(np.asarray(error, np.float64)) > threshold)


def mae(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Return mean|z_phot - z_spec|, of redshifts (n,) each."""
    return _mean(np.abs(np.asarray(z_phot, np.float64) - np.asarray(z_spec, np.float64)))


def mse(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Return mean (z_phot - z_spec)^2, of redshifts (n,) each."""
    return _mean((np.asarray(z_phot, np.float64) - np.asarray(z_spec, np.float64)) ** 2)


def r2(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Return the coefficient of determination 1 - sum(residual^2) / sum((z_spec - mean)^2), of redshifts (n,) each.

    It depends on how widely the sample's redshifts are spread. Where they are not spread at all it is NaN.
    """
    truth = np.asarray(z_spec, np.float64)
    if not truth.size or truth.min() == truth.max():
        return float("nan")
    spread = np.sum((truth - truth.mean()) ** 2)
    residual = np.sum((np.asarray(z_phot, np.float64) - truth) ** 2)
    return float(1.0 - residual / spread) if spread > 0 else float("nan")


def bootstrap(
    measure: Callable[..., Mapping[str, float]], columns: Sequence[NDArray[Any]], samples: int, seed: int = 1
) -> dict[str, float]:
    """Return the standard errors of metrics: the scatter over resamples of the rows, drawn with replacement.

    Parameters
    ----------
    measure : callable
        Takes the columns, gives numbers by name.
    columns : sequence of array, shape (n, ...)
        Resampled together, row by row.
    samples : int
        Number of resamples.
    seed : int
        The same seed gives the same errors.

    Returns
    -------
    errors : dict of float
        By the names that `measure` gives. NaN for fewer than two rows, or fewer than two resamples in which the number
        is defined. Of more than `BOOTSTRAP_ROWS` rows, m = `BOOTSTRAP_ROWS` are drawn and the scatter is scaled by
        sqrt(m / n), as an error that falls with the square root of n allows.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 6; m out of n: Bickel, Götze & van Zwet
    1997 (Statistica Sinica 7, 1).
    """
    rows = len(columns[0])
    drawn = min(rows, BOOTSTRAP_ROWS)
    if rows < 2:
        return dict.fromkeys(measure(*columns), float("nan"))
    rng = np.random.default_rng(seed)
    found = [
        measure(*(column[chosen] for column in columns))
        for chosen in (rng.integers(0, rows, drawn) for _ in range(samples))
    ]
    scale = float(np.sqrt(drawn / rows))
    names = found[0] if found else measure(*columns)
    return {name: scale * _scatter([item[name] for item in found]) for name in names}


def paired_gain(z_a: ArrayLike, z_b: ArrayLike, z_spec: ArrayLike, samples: int, seed: int = 1) -> Gain:
    """Return by how much redshifts a are better than redshifts b, (n,) each, with errors from paired resamples.

    The gain in scatter is 1 - sigma_NMAD(a) / sigma_NMAD(b), that in outliers the difference of their shares. Each
    resample draws the same rows of both (see `bootstrap`): what makes a galaxy hard for both then cancels, and the
    error is that of the comparison, mostly less than the errors of the two put together.

    Raises
    ------
    ValueError
        If the three differ in length.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, sections 6.2 and 8.3, the pair of a galaxy's two
    errors being what is observed.
    """
    shapes = [np.shape(values) for values in (z_a, z_b, z_spec)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ValueError(f"z_a, z_b and z_spec have the shapes {shapes}; expected (n,), the same of each")
    pair = [dz(z_a, z_spec), dz(z_b, z_spec)]
    return Gain(**_gains(*pair), **{f"{name}_error": x for name, x in bootstrap(_gains, pair, samples, seed).items()})


def in_bins(values: ArrayLike, edges: Sequence[float]) -> NDArray[np.int64]:
    """Return the bin of each value, (n,): 0 below the first edge, i from edge i - 1 up to edge i, len(edges) above."""
    return np.searchsorted(np.asarray(edges, np.float64), np.asarray(values, np.float64), side="right").astype(np.int64)


def _gains(a: Floats, b: Floats) -> dict[str, float]:
    """Return the fields of `Gain` but its errors, of dz, (n,) each."""
    scatter = sigma_nmad(b)
    return {
        "sigma_nmad_gain": 1.0 - sigma_nmad(a) / scatter if scatter > 0 else float("nan"),
        "outlier_005_difference": outlier_fraction(a, 0.05) - outlier_fraction(b, 0.05),
        "outlier_015_difference": outlier_fraction(a, 0.15) - outlier_fraction(b, 0.15),
    }


def _mean(values: NDArray[Any]) -> float:
    return float(np.mean(values)) if values.size else float("nan")


def _scatter(values: Sequence[float]) -> float:
    known = np.array([value for value in values if np.isfinite(value)], np.float64)
    return float(np.std(known, ddof=1)) if len(known) > 1 else float("nan")
