"""Turns galaxies into pixels, and measures magnitudes on those same noisy pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyfan.photoz.grids import Floats, Grids
from skyfan.photoz.parameters import CUTOUT_PIXELS, PIXEL_SCALE_ARCSEC, ZERO_POINT_MAG, Parameters
from skyfan.photoz.population import Galaxies

Pixels = NDArray[np.float32]

FIELD_PIXELS = 96
"""Three cutouts wide: what wraps around is 0.04 % of a cutout's light in the median, above 0.8 % for one galaxy in
twenty, and a few hundredths of the sky's noise in any pixel."""
OVERSAMPLING = 2
"""Points a pixel: the sharpest images have power beyond one point a pixel, which sampling must fold, not cut off."""
HALF_LIGHT_PER_SCALE = 1.6783469900166605
"""Half-light radius of an exponential disc in scale lengths: the root of (1 + x) exp(-x) = 1 / 2."""
FAINTEST_FLUX_SHARE = 0.02
"""A measured flux is never below this share of the true one, so that every magnitude is finite."""


@dataclass(frozen=True)
class Scene:
    """All light in one cutout, corrected for extinction, before noise."""

    galaxy: Pixels
    """nanomaggies a pixel, (5, 32, 32)."""
    foreign: Pixels
    """Of everything else in the cutout, (5, 32, 32)."""
    flux: Floats
    """Of the galaxy, within the cutout and beyond, nanomaggies, (5,)."""
    extinction_mag: Floats
    """What was corrected for, (5,)."""


class Renderer:
    """Draws cutouts in Fourier space, where bulge, disc, PSF and pixel are products.

    Parameters
    ----------
    grids : Grids
        Tables, of which the profiles' Fourier transforms are used.
    """

    def __init__(self, grids: Grids) -> None:
        self._bulge, self._psf = grids.bulge, grids.psf
        points, spacing = FIELD_PIXELS * OVERSAMPLING, PIXEL_SCALE_ARCSEC / OVERSAMPLING
        self._kx = (2 * np.pi * np.fft.rfftfreq(points, spacing)).astype(np.float32)[None, :]
        self._ky = (2 * np.pi * np.fft.fftfreq(points, spacing)).astype(np.float32)[:, None]
        # The PSF is round: it is looked up for half of the rows, the other half are their mirror image.
        self._half_k = np.hypot(self._kx, np.abs(self._ky[: points // 2 + 1]))
        self._mirror = np.minimum(np.arange(points), points - np.arange(points))
        half = PIXEL_SCALE_ARCSEC / (2 * np.pi)
        self._pixel = (np.sinc(self._kx * half) * np.sinc(self._ky * half)).astype(np.float32)

    def __call__(self, galaxies: Galaxies, row: int) -> Pixels:
        """Return the noiseless cutout of one galaxy, nanomaggies a pixel, (5, 32, 32).

        With no offset the centre of the galaxy is the middle of pixel (16, 16), counted from 0.
        """
        bulge, disc = self._profiles(galaxies, row)
        place = self._placement(galaxies.offset_arcsec[row])
        placed_bulge, placed_disc = bulge * place, disc * place
        bulge_flux, disc_flux = galaxies.bulge_flux[row], galaxies.disc_flux[row]
        image = np.empty((len(bulge_flux), CUTOUT_PIXELS, CUTOUT_PIXELS), np.float32)
        for band, fwhm in enumerate(galaxies.psf_fwhm_arcsec[row]):
            light = np.float32(bulge_flux[band]) * placed_bulge + np.float32(disc_flux[band]) * placed_disc
            light *= self._psf(self._half_k * np.float32(fwhm))[self._mirror]
            image[band] = _sampled(light)
        return image

    def _profiles(self, galaxies: Galaxies, row: int) -> tuple[Pixels, Pixels]:
        """Return the Fourier transforms of bulge and disc at unit flux, (k_y, k_x) each."""
        angle = galaxies.position_angle_rad[row]
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        major2 = (self._kx * cos + self._ky * sin) ** 2
        minor2 = (self._ky * cos - self._kx * sin) ** 2
        q = np.float32(galaxies.bulge_axis_ratio[row])
        radius = np.float32(galaxies.bulge_radius_arcsec[row])
        bulge = self._bulge(radius * np.sqrt(major2 / q + minor2 * q))
        scale2 = np.float32((galaxies.disc_radius_arcsec[row] / HALF_LIGHT_PER_SCALE) ** 2)
        flat2 = np.float32(galaxies.disc_axis_ratio[row] ** 2)
        disc = 1 + scale2 * (major2 + flat2 * minor2)
        return bulge, 1 / (disc * np.sqrt(disc))

    def _placement(self, offset_arcsec: Floats) -> NDArray[np.complex64]:
        """Return the factor that moves a profile from the corner to the cutout's centre and spreads it over pixels."""
        middle = FIELD_PIXELS // 2 * PIXEL_SCALE_ARCSEC
        shift_x, shift_y = offset_arcsec + middle
        # Phases reach 400 radians: in float32 they would blur the position by a ten-thousandth of a pixel.
        phase_x = np.exp(-1j * self._kx.astype(np.float64) * shift_x).astype(np.complex64)
        phase_y = np.exp(-1j * self._ky.astype(np.float64) * shift_y).astype(np.complex64)
        return np.asarray(phase_x * phase_y * self._pixel)


def _sampled(light: NDArray[np.complex64]) -> Pixels:
    """Return the middle of the image of a transform, at one point a pixel.

    Leaving out every other point of an image is adding up halves of its transform.
    """
    window = slice((FIELD_PIXELS - CUTOUT_PIXELS) // 2, (FIELD_PIXELS + CUTOUT_PIXELS) // 2)
    folded = light.reshape(OVERSAMPLING, FIELD_PIXELS, -1).sum(axis=0)
    rows = np.fft.ifft(folded, axis=0)[window]
    points = np.fft.irfft(rows, n=FIELD_PIXELS * OVERSAMPLING, axis=1)
    return np.asarray(points[:, ::OVERSAMPLING][:, window] * OVERSAMPLING, np.float32)


def sky_noise(parameters: Parameters) -> Floats:
    """Return the sky's standard deviation in nanomaggies a pixel, (5,).

    A point source at the depth has S/N 5 through a matched Gaussian of the depth's seeing, which has the noise of
    4 pi sigma^2 pixels.
    """
    depth = 10.0 ** (-0.4 * (np.array(parameters.depth_5sigma_mag) - ZERO_POINT_MAG))
    sigma_pixels = parameters.depth_seeing_arcsec / np.sqrt(8 * np.log(2)) / PIXEL_SCALE_ARCSEC
    return np.asarray(depth / 5.0 / np.sqrt(4 * np.pi * sigma_pixels**2))


def electrons_per_nanomaggy(parameters: Parameters) -> Floats:
    """Return the gain, (5,), at which the sky's Poisson noise is its standard deviation."""
    sky = 10.0 ** (-0.4 * (np.array(parameters.sky_mag_per_arcsec2) - ZERO_POINT_MAG)) * PIXEL_SCALE_ARCSEC**2
    return np.asarray(sky / sky_noise(parameters) ** 2)


def observe(rng: np.random.Generator, scene: Scene, parameters: Parameters) -> tuple[Pixels, NDArray[np.float32]]:
    """Add foreign light and noise to a cutout and measure its magnitudes on those pixels.

    The flux is that of the best-scaled true profile (the ideal "model magnitude"): with p the profile, v the variance
    and d the noise, the error is sum(p d / v) / sum(p^2 / v). Magnitudes thus share the noise of the pixels, and what
    photometry leaves of foreign light. Correcting for the Galaxy's dust makes the noise larger.

    Parameters
    ----------
    rng : Generator
        Source of the noise.
    scene : Scene
        What there is to see.
    parameters : Parameters
        Depth, sky and the errors of model magnitudes.

    Returns
    -------
    image, magnitude : array of float32, array of float32
        Noisy cutout, nanomaggies a pixel, (5, 32, 32); AB, (5,).
    """
    clean, foreign = scene.galaxy, scene.foreign
    gain = electrons_per_nanomaggy(parameters)[:, None, None]
    correction = 10.0 ** (0.4 * scene.extinction_mag[:, None, None])
    light = np.maximum(clean + foreign, 0.0) / correction
    variance = correction**2 * (sky_noise(parameters)[:, None, None] ** 2 + light / gain)
    noise = np.sqrt(variance) * rng.standard_normal(clean.shape)
    wrong = noise + (1.0 - parameters.unblended_share) * foreign
    error = np.sum(clean * wrong / variance, axis=(1, 2)) / np.sum(clean**2 / variance, axis=(1, 2))
    magnitude = ZERO_POINT_MAG - 2.5 * np.log10(scene.flux * np.maximum(1.0 + error, FAINTEST_FLUX_SHARE))
    magnitude += parameters.magnitude_grey_error_mag * rng.standard_normal()
    magnitude += np.array(parameters.magnitude_model_error_mag) * rng.standard_normal(len(scene.flux))
    return (clean + foreign + noise).astype(np.float32), magnitude.astype(np.float32)
