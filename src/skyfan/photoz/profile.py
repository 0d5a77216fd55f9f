"""A galaxy's light from its centre outwards, and how it is stretched: what photometry of its image in each band gives.

These are fixed sums over pixels, so any network could learn them; but one that sees pixels on a logarithmic scale
learns them slowly, and they hold much of what an image tells of a redshift (docs/model.md has the figures).
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

RING_EDGES = (0.0, 1.1, 2.2, 3.2, 4.3, 5.5, 7.0, 9.0, 11.5, 15.0)
"""Radii between which light is summed, in pixels of an image of `PIXELS`; of others in proportion."""
MOMENT_SCALES = (2.0, 4.0)
"""Standard deviations of the Gaussian weights of moments, in the same pixels."""
PIXELS = 32
RINGS = len(RING_EDGES) - 1
MOMENTS = 4 * len(MOMENT_SCALES)
_SUBPIXELS = 5


def profile_weights(pixels: int) -> NDArray[np.float32]:
    """Return what each pixel counts in each sum: (`pixels` * `pixels`, `RINGS` + `MOMENTS`), the rings first.

    A ring has the share of each pixel that lies in it, by a grid of 5 x 5 points. The moments, with a Gaussian's weight
    and in units of its scale, are the flux, the two that an ellipticity has (x^2 - y^2 and 2 x y) and the size
    (r^2 - 2): Bernstein & Jarvis 2002, AJ 123, 583, without their fit of the scale to each galaxy.
    """
    scale = pixels / PIXELS
    rings = [_ring(pixels, low * scale, high * scale) for low, high in pairwise(RING_EDGES)]
    moments = [moment for sigma in MOMENT_SCALES for moment in _moments(pixels, sigma * scale)]
    return np.stack([*rings, *moments], axis=-1).reshape(pixels * pixels, RINGS + MOMENTS).astype(np.float32)


def _offsets(pixels: int) -> NDArray[np.floating]:
    """Return how far pixels lie from the centre along one side, (pixels,)."""
    return np.arange(pixels) - (pixels - 1) / 2


def _ring(pixels: int, low: float, high: float) -> NDArray[np.floating]:
    """Return the share of each pixel that is between two radii, (pixels, pixels)."""
    within = (np.arange(_SUBPIXELS) - (_SUBPIXELS - 1) / 2) / _SUBPIXELS
    along = (_offsets(pixels)[:, None] + within).ravel()  # of every subpixel
    radius = np.hypot(along[:, None], along)
    inside = ((radius >= low) & (radius < high)).reshape(pixels, _SUBPIXELS, pixels, _SUBPIXELS)
    share: NDArray[np.floating] = inside.mean(axis=(1, 3))
    return share


def _moments(pixels: int, sigma: float) -> list[NDArray[np.floating]]:
    """Return flux, x^2 - y^2, 2 x y and r^2 - 2 of each pixel, weighted: (pixels, pixels) each."""
    offsets = _offsets(pixels) / sigma
    y, x = offsets[:, None], offsets[None, :]
    squared = x * x + y * y
    weight = np.exp(-squared / 2)
    return [weight, weight * (x * x - y * y), weight * 2 * x * y, weight * (squared - 2)]
