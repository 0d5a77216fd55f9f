"""Images of galaxies in colour, as small PNG files."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RGB = ("i", "r", "g")
BALANCE = (1.0, 1.5, 2.5)
"""What i, r and g are multiplied with, in units of flux density: a galaxy of middling colour comes out near white."""
SOFT_SIGMA = 3.0
"""Noise, in standard deviations, up to which the stretch is linear."""


def choose_bands(names: Sequence[str], count: int) -> tuple[tuple[int, ...], str]:
    """Return the bands that become red, green and blue, and what is shown in words.

    Parameters
    ----------
    names : sequence of str
        Of the image's bands, empty if they are not known. `DES-G` counts as g.
    count : int
        Bands of the image.

    Returns
    -------
    bands, words
        Three numbers, or one if there are too few bands for colours.
    """
    letters = [name.strip().lower()[-1:] for name in names]
    if len(letters) == count and all(letter in letters for letter in RGB):
        return tuple(letters.index(letter) for letter in RGB), "red, green and blue are the bands i, r and g"
    if count >= 3:
        chosen = (count - 1, count // 2, 0)
        said = ", ".join(names[band] if len(names) == count else f"number {band + 1}" for band in chosen)
        return chosen, f"red, green and blue are the bands {said}"
    return (0,), f"grey is the band {names[0] if len(names) == count else 'number 1'}"


def stretched(image: NDArray[np.floating], balance: Sequence[float] = BALANCE) -> NDArray[np.uint8]:
    """Return an image for the screen, with the stretch of Lupton et al. 2004 (PASP 116, 133).

    The mean I of the bands goes through arcsinh, and every band is multiplied with f(I) / I: so colours are true at any
    brightness. The sky is the median of the image's edge, the noise 1.4826 median|x - sky| there; each image is
    stretched by itself.

    Parameters
    ----------
    image : array, shape (bands, height, width)
        Three bands, red first, or one.
    balance : sequence of float
        Of three bands.

    Returns
    -------
    array of uint8, shape (height, width, bands)
    """
    values = np.nan_to_num(image.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    edge = np.concatenate([values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]], axis=1)
    values -= np.median(edge, axis=1)[:, None, None]
    if len(values) == len(balance):
        values *= np.asarray(balance)[:, None, None]
    mean = values.mean(axis=0)
    sky = np.concatenate([mean[0], mean[-1], mean[:, 0], mean[:, -1]])
    noise = 1.4826 * float(np.median(np.abs(sky - np.median(sky))))
    peak = float(np.max(mean))
    soft = max(SOFT_SIGMA * noise, 1e-3 * peak, 1e-30)
    light = np.maximum(mean, 1e-9 * soft)
    curve = np.arcsinh(light / soft) / np.arcsinh(max(peak, soft) / soft)
    shown = np.maximum(values, 0.0) * (curve / light)
    shown /= np.maximum(shown.max(axis=0), 1.0)  # too bright in one band: the colour is kept, not the band cut
    return np.moveaxis(np.round(255 * shown).astype(np.uint8), 0, -1)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image as PNG (ISO/IEC 15948), 8 bits per channel.

    Parameters
    ----------
    pixels : array of uint8, shape (height, width, 1 or 3)
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # a row begins with its filter, 0
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
