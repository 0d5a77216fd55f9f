"""The tables a simulation is drawn from: plain arrays and their interpolation, cheap to send to worker processes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """An evenly spaced axis of a table."""

    first: float
    step: float
    size: int

    @property
    def values(self) -> Floats:
        return np.asarray(self.first + self.step * np.arange(self.size), np.float64)

    def locate(self, x: Floats) -> tuple[NDArray[np.int64], Floats]:
        """Return the cell of `x` and the fraction of the way through it; beyond the ends the end cell's edge."""
        position = np.clip((x - self.first) / self.step, 0.0, self.size - 1.0)
        cell = np.minimum(position.astype(np.int64), self.size - 2)
        return cell, position - cell


@dataclass(frozen=True)
class SedGrid:
    """Broad-band flux of every SED, dust column and redshift."""

    sed_type: Axis
    dust_mag: Axis
    """A_V."""
    redshift: Axis
    log_flux: NDArray[np.float32]
    """log10 of the mean f_nu through a filter at equal rest-frame flux at 5500 A, (type, A_V, z, band)."""

    def __call__(self, sed_type: Floats, dust_mag: Floats, redshift: Floats) -> Floats:
        """Return log10 flux, (n, 5), by trilinear interpolation."""
        (i, fi), (j, fj), (k, fk) = (
            axis.locate(x)
            for axis, x in ((self.sed_type, sed_type), (self.dust_mag, dust_mag), (self.redshift, redshift))
        )
        total = np.zeros((len(i), self.log_flux.shape[-1]))
        for a in (0, 1):
            for b in (0, 1):
                for c in (0, 1):
                    weight = np.abs(1 - a - fi) * np.abs(1 - b - fj) * np.abs(1 - c - fk)
                    total += weight[:, None] * self.log_flux[i + a, j + b, k + c]
        return total


@dataclass(frozen=True)
class DistanceGrid:
    """Distance and scale at a redshift."""

    redshift: Floats
    modulus_mag: Floats
    kpc_per_arcsec: Floats

    def modulus(self, redshift: Floats) -> Floats:
        """Return the distance modulus in magnitudes."""
        return np.interp(redshift, self.redshift, self.modulus_mag)

    def scale(self, redshift: Floats) -> Floats:
        """Return the proper kpc that an arcsecond spans."""
        return np.interp(redshift, self.redshift, self.kpc_per_arcsec)


@dataclass(frozen=True)
class LuminosityGrid:
    """How many galaxies of which population, redshift and absolute magnitude a magnitude-limited survey holds."""

    redshift: Axis
    magnitude: Axis
    cumulative: Floats
    """Cumulative share over the flattened (population, z, M) cells; populations are red, blue."""

    def draw(self, rng: np.random.Generator, count: int) -> tuple[NDArray[np.bool_], Floats, Floats]:
        """Return is_red, z and M_r of `count` galaxies, each (count,)."""
        cell = np.searchsorted(self.cumulative, rng.random(count) * self.cumulative[-1], side="right")
        cell = np.minimum(cell, len(self.cumulative) - 1)
        population, i, j = np.unravel_index(cell, (2, self.redshift.size, self.magnitude.size))
        z = self.redshift.first + self.redshift.step * (i + rng.random(count))
        m = self.magnitude.first + self.magnitude.step * (j + rng.random(count))
        return population == 0, z, m


@dataclass(frozen=True)
class FourierGrid:
    """The Fourier transform of a round profile of unit flux, even in sqrt(k) as it falls steepest at the origin."""

    k_max: float
    """In units of 1 / radius."""
    amplitude: NDArray[np.float32]

    def __call__(self, k: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the amplitude at `k`, of its shape; beyond `k_max` the last value."""
        last = np.float32(len(self.amplitude) - 1)
        position = np.minimum(np.sqrt(k * np.float32(1.0 / self.k_max)) * last, last * np.float32(0.999999))
        cell = position.astype(np.int32)
        low: NDArray[np.float32] = self.amplitude[cell]
        slope: NDArray[np.float32] = self.amplitude[cell + 1] - low
        return np.asarray(low + (position - cell.astype(np.float32)) * slope)


@dataclass(frozen=True)
class Grids:
    """All tables of one simulation."""

    sed: SedGrid
    distance: DistanceGrid
    luminosity: LuminosityGrid
    bulge: FourierGrid
    """de Vaucouleurs profile of half-light radius 1."""
    psf: FourierGrid
    """Moffat profile of FWHM 1."""
