"""How good redshifts are: pure functions of what was predicted and what is true."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """The point-estimate metrics of a sample."""

    count: int
    bias: float
    sigma_nmad: float
    outlier_fraction_005: float
    outlier_fraction_015: float
    mae: float
    mse: float
    r2: float


def scores(z_phot: ArrayLike, z_spec: ArrayLike) -> Scores:
    """Return every point-estimate metric of redshifts, (n,) each."""
    error = dz(z_phot, z_spec)
    return Scores(
        count=len(error),
        bias=bias(error),
        sigma_nmad=sigma_nmad(error),
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


def bias(error: ArrayLike) -> float:
    """Return the mean of dz, (n,) (Pasquet et al. 2019, A&A 621, A26, section 4)."""
    return float(np.mean(np.asarray(error, np.float64)))


def sigma_nmad(error: ArrayLike) -> float:
    """Return 1.4826 median|dz - median(dz)|, (n,): the standard deviation if dz were normal.

    Source: Brammer, van Dokkum & Coppi 2008 (ApJ 686, 1503), section 3, without their luminosity weighting;
    Pasquet et al. 2019 call it sigma_MAD.
    """
    values = np.asarray(error, np.float64)
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def outlier_fraction(error: ArrayLike, threshold: float) -> float:
    """Return the share of |dz| above `threshold`, (n,).

    0.15 is the usual threshold (Hildebrandt et al. 2010, A&A 523, A31); 0.05 suits the SDSS main sample
    (Pasquet et al. 2019).
    """
    return float(np.mean(np.abs(np.asarray(error, np.float64)) > threshold))


def mae(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Return mean|z_phot - z_spec|, of redshifts (n,) each."""
    return float(np.mean(np.abs(np.asarray(z_phot, np.float64) - np.asarray(z_spec, np.float64))))


def mse(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Return mean (z_phot - z_spec)^2, of redshifts (n,) each."""
    return float(np.mean((np.asarray(z_phot, np.float64) - np.asarray(z_spec, np.float64)) ** 2))


def r2(z_phot: ArrayLike, z_spec: ArrayLike) -> float:
    """Return the coefficient of determination 1 - sum(residual^2) / sum((z_spec - mean)^2), of redshifts (n,) each.

    It depends on how widely the sample's redshifts are spread. Where they are not spread at all it is not defined: nan.
    """
    truth = np.asarray(z_spec, np.float64)
    spread = np.sum((truth - truth.mean()) ** 2)
    residual = np.sum((np.asarray(z_phot, np.float64) - truth) ** 2)
    return float(1.0 - residual / spread) if spread > 0 else float("nan")
