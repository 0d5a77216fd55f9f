"""What headers of FITS files say: bands, units, positions."""

import math
import warnings
from typing import IO, Any

import astropy.units as u
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from skyfan.ingest.columns import READ_ERRORS
from skyfan.ingest.options import split_bands

FITS_ERRORS = (*READ_ERRORS, fits.VerifyError)
"""What astropy raises on damaged data."""

_START = b"SIMPLE  ="
_LISTS = ("BANDS", "FILTERS", "BAND", "FILTER")


def check_start(file: IO[bytes]) -> None:
    """Check that a file starts as FITS does; astropy would also unpack one that is compressed, to any size.

    Raises
    ------
    ValueError
        If it does not.
    """
    if file.read(len(_START)) != _START:
        raise ValueError("it does not start with SIMPLE; compressed files are to be unpacked first")
    file.seek(0)


def text(header: fits.Header, key: str) -> str | None:
    """Return a keyword's value as text, None if there is none."""
    value = header.get(key)
    return str(value).strip() or None if isinstance(value, str | int | float) else None


def number(header: fits.Header, key: str) -> float | None:
    """Return a keyword's value as a number, None if it is none."""
    value = header.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def bands_of(header: fits.Header) -> tuple[str, ...] | None:
    """Return the bands that a header names, as BAND1, BAND2, ... or as a list, None if it does not."""
    numbered: list[str] = []
    while (name := text(header, f"BAND{len(numbered) + 1}")) is not None:
        numbered.append(name)
    listed = next((found for key in _LISTS if (found := text(header, key))), None)
    return tuple(numbered) or (split_bands(listed) if listed else None)


class Sky:
    """Where the pixels of an image lie on the sky."""

    def __init__(self, wcs: Any) -> None:
        self._wcs = wcs

    @classmethod
    def of(cls, header: fits.Header) -> "Sky | None":
        """Return the celestial part of a header's WCS, None if it has none that astropy can read."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old dates and units that are mended are no news
                wcs = WCS(header)
                return cls(wcs.celestial) if wcs.has_celestial else None
        except FITS_ERRORS:
            return None

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Return right ascension and declination, ICRS degrees, of a pixel; the first pixel's centre is (0, 0)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            place = self._wcs.pixel_to_world(x, y).icrs
        return float(place.ra.deg), float(place.dec.deg)

    def pixel_scale(self) -> float | None:
        """Return the mean of both axes, arcseconds a pixel, None if the WCS does not tell it."""
        try:
            scales = proj_plane_pixel_scales(self._wcs) * u.deg
        except READ_ERRORS:
            return None
        return float(scales.mean().to_value(u.arcsec))
