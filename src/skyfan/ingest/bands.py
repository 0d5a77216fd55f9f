"""Bands by name: which of those in a file is the one that is wanted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats.layout import short

_SEPARATORS = str.maketrans("_:./ ", "-----")


def order(where: str, found: Sequence[str], wanted: Sequence[str]) -> NDArray[np.intp]:
    """Return the places of the wanted bands among those found, shape (wanted,).

    A band is found by its whole name; else by its whole name in other capitals; else by the last part of a name, so
    that `g` finds `DES-G`, `hsc-g` or `SDSS_g`. What two names fit is an error, and so is one that none fits.

    Raises
    ------
    SurveyError
        If a band is missing, or two could be it.
    """
    return np.array([_place(where, found, band) for band in wanted], np.intp)


def check_names(where: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a survey's own bands.

    Raises
    ------
    SurveyError
        If one is empty or there twice.
    """
    if not names or not all(names) or len(set(names)) != len(names):
        raise SurveyError(
            f"{where}: its bands are {_shown(names)}; expected a name for each, and each once: name those wanted with "
            "--bands"
        )
    return tuple(names)


def _place(where: str, found: Sequence[str], band: str) -> int:
    for fits in (
        [name == band for name in found],
        [name.casefold() == band.casefold() for name in found],
        [name.translate(_SEPARATORS).rsplit("-", 1)[-1].casefold() == band.casefold() for name in found],
    ):
        if sum(fits) == 1:
            return fits.index(True)
        if sum(fits) > 1:
            raise SurveyError(
                f"{where}: band {band!r} could be {sum(fits)} of its bands {_shown(found)}; expected one: give whole "
                "names with --bands"
            )
    raise SurveyError(
        f"{where}: has no band {band!r}; found {_shown(found)}; expected each of those wanted: correct "
        "--bands, or add it"
    )


def _shown(names: Sequence[str]) -> str:
    return short(", ".join(names), 200) if names else "none"
