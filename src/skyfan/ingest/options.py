"""What must be said of a survey from elsewhere: bands, size, calibration, and what its columns are called."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from skyfan.errors import SurveyError

SIZE_PIXELS = 32
IMAGE_UNITS = ("nanomaggy", "maggy", "Jy", "mJy", "uJy", "nJy")
MAGNITUDE_SYSTEMS = ("AB", "SDSS", "Vega")
"""As pixels and magnitudes may be said to be; magnitudes are kept as they are."""
COLUMN_NAMES = ("image", "magnitude", "redshift", "object_id", "ra", "dec", "file")
"""What `columns` may name; `file` is the name of a cutout's file in a catalogue."""


@dataclass(frozen=True)
class IngestOptions:
    """What the user says of a survey; what is not said here must be in its files."""

    bands: tuple[str, ...] = ()
    """In the order that the model wants; without it, in the order of the survey, which must name them."""
    size_pixels: int = SIZE_PIXELS
    """Images are cut to this many pixels a side, about their centre."""
    pad: bool = False
    """Put zeros around images that are smaller. These pixels were not observed: `padded_pixels` counts them."""
    image_unit: str | None = None
    """Of pixels, where the survey does not say it itself."""
    zero_point: float | None = None
    """AB magnitude of one count, where pixels are counts."""
    magnitude_columns: tuple[str, ...] = ()
    """One column a band, in the order of `bands`."""
    magnitude_system: str | None = None
    catalog: Path | None = None
    """A table with positions, ids, magnitudes or redshifts of the images."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """What the survey or its catalogue calls `image`, `magnitude`, `redshift`, `object_id`, `ra`, `dec` or `file`."""
    pixel_scale: float | None = None
    """Arcseconds a pixel."""
    survey: str | None = None
    """Its name, for the partitions' metadata."""

    def __post_init__(self) -> None:
        if type(self.size_pixels) is not int or self.size_pixels < 1:
            raise SurveyError(f"size_pixels: got {self.size_pixels!r}; expected a whole number of pixels, 1 or more")
        if len(set(self.bands)) != len(self.bands) or not all(self.bands):
            raise SurveyError(f"bands {','.join(self.bands)!r}: expected each band once, as in ugriz or DES-G,DES-R")
        _check_choice("image_unit", self.image_unit, IMAGE_UNITS)
        _check_choice("magnitude_system", self.magnitude_system, MAGNITUDE_SYSTEMS)
        for name, value in (("zero_point", self.zero_point), ("pixel_scale", self.pixel_scale)):
            if value is not None and not math.isfinite(value):
                raise SurveyError(f"{name}: got {value}; expected a finite number")
        if self.pixel_scale is not None and self.pixel_scale <= 0:
            raise SurveyError(f"pixel_scale: got {self.pixel_scale}; expected arcseconds a pixel, above 0")
        if self.image_unit is not None and self.zero_point is not None:
            raise SurveyError(
                f"image_unit {self.image_unit} and zero_point {self.zero_point}: both are given; expected one: the "
                "unit of fluxes, or the AB magnitude of one count"
            )
        for name in self.columns:
            if name not in COLUMN_NAMES:
                raise SurveyError(f"column {name!r}: is none of skyfan's; expected one of {', '.join(COLUMN_NAMES)}")


def ingest_options(**said: Any) -> IngestOptions:
    """Make options from what a person writes: `bands="ugriz"`, `magnitude_columns="u,g,r,i,z"`, `catalog="x.csv"`.

    Raises
    ------
    SurveyError
        If an option is unknown or cannot be.
    """
    known = [item.name for item in fields(IngestOptions)]
    for name in said:
        if name not in known:
            raise SurveyError(f"option {name!r}: there is no such option; expected one of {', '.join(known)}")
    given = {name: value for name, value in said.items() if value is not None}
    if "bands" in given:
        given["bands"] = split_bands(given["bands"])
    if isinstance(given.get("magnitude_columns"), str):
        given["magnitude_columns"] = [item.strip() for item in given["magnitude_columns"].split(",")]
    if "magnitude_columns" in given:
        given["magnitude_columns"] = tuple(given["magnitude_columns"])
    if "catalog" in given:
        given["catalog"] = Path(given["catalog"])
    return IngestOptions(**given)


def split_bands(bands: Any) -> tuple[str, ...]:
    """Return names of bands: `ugriz` has five of one letter, `DES-G,DES-R` two, `DES-G,` one; a list is itself."""
    if not isinstance(bands, str):
        return tuple(map(str, bands))
    if "," not in bands:
        return tuple(bands.strip())
    return tuple(item.strip() for item in bands.strip().removesuffix(",").split(","))


def join_bands(bands: tuple[str, ...]) -> str:
    """Return names of bands as one text, as `split_bands` reads it."""
    if all(len(band) == 1 for band in bands):
        return "".join(bands)
    return ",".join(bands) if len(bands) > 1 else f"{bands[0]},"


def _check_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise SurveyError(f"{name} {value!r}: expected one of {', '.join(choices)}")
