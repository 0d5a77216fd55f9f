"""What one pixel value is in nanomaggies: said by the file or by the user, never guessed."""

from dataclasses import dataclass

from astropy import units

from skyfan.errors import SurveyError
from skyfan.formats.layout import short
from skyfan.ingest.options import IMAGE_UNITS, IngestOptions

AB_JANSKY = 10 ** (-0.4 * 48.6) * 1e23
"""Flux density of AB magnitude 0, 3630.78 Jy: m_AB = -2.5 lg(f / erg s-1 cm-2 Hz-1) - 48.6, Oke & Gunn 1983."""
NANOMAGGY_ZERO_POINT = 22.5
"""AB magnitude of one nanomaggy: 10^-9 of the flux of magnitude 0, hence 2.5 x 9 (SDSS DR7 glossary, 'maggy')."""

_PLURALS = {"nanomaggies": "nanomaggy", "nmgys": "nmgy", "nmaggies": "nmaggy", "maggies": "maggy"}
_COUNTS = (units.adu, units.ct, units.electron, units.photon, units.DN, units.dimensionless_unscaled)
_FLAGS = f"--image-unit {'|'.join(IMAGE_UNITS)}, or --zero-point with the AB magnitude of one count"


@dataclass(frozen=True)
class Calibration:
    """How pixel values become nanomaggies."""

    factor: float
    """Nanomaggies of one."""
    zero_point: float | None
    """AB magnitude of one count, where that was how it was said."""


def calibrate(where: str, unit: str | None, options: IngestOptions, zero_point: float | None = None) -> Calibration:
    """Return how the pixels of an image become nanomaggies.

    Counts c of zero point ZP are c x 10^((22.5 - ZP) / 2.5) nanomaggies, since m = ZP - 2.5 lg(c) = 22.5 - 2.5 lg(f).
    Flux densities are divided by 10^-9 of `AB_JANSKY`.

    Parameters
    ----------
    where : str
        The file, for messages.
    unit, zero_point : str, float, optional
        As the file has them.
    options : IngestOptions

    Raises
    ------
    SurveyError
        If neither file nor user says it, if they contradict each other, or the unit is none of fluxes or counts.
    """
    said = options.zero_point if options.zero_point is not None else zero_point
    if zero_point is not None and said != zero_point:
        raise SurveyError(
            f"{where}: says the zero point {zero_point}, --zero-point says {said}; expected the same: leave one out"
        )
    found = _parse(where, unit) if unit and unit.strip() else None
    if found is not None and not _is_counts(found):
        return _flux(where, short(unit), _nanomaggies(where, found), options, said)
    if options.image_unit is not None:
        if found is not None or said is not None:
            stated = f"counts ({short(unit)})" if found is not None else f"counts of zero point {said}"
            raise SurveyError(
                f"{where}: its pixels are {stated}, --image-unit says {options.image_unit}; expected --zero-point with "
                "the AB magnitude of one count"
            )
        return Calibration(_nanomaggies(where, units.Unit(options.image_unit)), None)
    if said is None:
        counted = f"are counts ({short(unit)}) of unknown zero point" if found is not None else "have no unit"
        raise SurveyError(f"{where}: its pixels {counted}; expected it to be said: give {_FLAGS}")
    return Calibration(10 ** ((NANOMAGGY_ZERO_POINT - said) / 2.5), said)


def is_magnitude(unit: str | None) -> bool:
    """Whether a column's unit, if it has one, is that of magnitudes."""
    return unit is None or unit.strip().lower() in {"", "mag", "mag(ab)", "abmag", "asinh_mag", "mags", "magnitude"}


def _flux(where: str, unit: str, factor: float, options: IngestOptions, zero_point: float | None) -> Calibration:
    said = options.image_unit
    stated = None
    if said is not None and abs(_nanomaggies(where, units.Unit(said)) / factor - 1) > 1e-6:
        stated = f"--image-unit says {said}"
    if zero_point is not None and abs(10 ** ((NANOMAGGY_ZERO_POINT - zero_point) / 2.5) / factor - 1) > 1e-3:
        stated = f"the zero point is said to be {zero_point}"
    if stated:
        raise SurveyError(f"{where}: its pixels have the unit {unit}, but {stated}; expected the same: leave one out")
    return Calibration(factor, None)


def _parse(where: str, text: str) -> units.UnitBase:
    name = text.strip()
    try:
        return units.Unit(_PLURALS.get(name.lower(), name))
    except (ValueError, TypeError) as error:
        raise SurveyError(
            f"{where}: its pixels have the unit {short(text)}, which astropy does not know; expected one such as "
            f"{', '.join(IMAGE_UNITS)}, adu or count; write it so in the file"
        ) from error


def _is_counts(unit: units.UnitBase) -> bool:
    return any(unit.is_equivalent(kind) or unit.is_equivalent(kind / units.s) for kind in _COUNTS)


def _nanomaggies(where: str, unit: units.UnitBase) -> float:
    """Return the nanomaggies of one of a unit of flux; a pixel's own flux may be written as a flux a pixel."""
    for candidate in (unit, unit * units.pix):
        if candidate.is_equivalent(units.maggy):
            return float(candidate.to(units.maggy)) * 1e9
        if candidate.is_equivalent(units.Jy):
            return float(candidate.to(units.Jy)) / (AB_JANSKY * 1e-9)
    raise SurveyError(
        f"{where}: its pixels have the unit {unit}, which is no flux; expected one such as {', '.join(IMAGE_UNITS)}, "
        "or counts with --zero-point"
    )
