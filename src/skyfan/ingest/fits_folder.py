"""A folder of FITS cutouts, a galaxy a file: an image a band, or one cube of all."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats.layout import short
from skyfan.formats.tensor import Tensors
from skyfan.ingest.assembling import Images, Said, assemble
from skyfan.ingest.bands import check_names, order
from skyfan.ingest.catalog import join_by_file
from skyfan.ingest.columns import ArrayTensor, Column, find
from skyfan.ingest.cutting import Cut, plan_cut
from skyfan.ingest.headers import FITS_ERRORS, Sky, bands_of, check_start, text
from skyfan.ingest.options import IngestOptions
from skyfan.ingest.units import Calibration, calibrate
from skyfan.keys import natural

SUFFIXES = (".fits", ".fit", ".fts")
_NAMES = ("BAND", "FILTER", "FILTNAM", "EXTNAME")
_MAX_SIDE = 4096


@dataclass(frozen=True)
class _Plane:
    """The image of one band in a file."""

    hdu: Any
    index: int | None
    """In a cube."""

    @property
    def header(self) -> Any:
        return self.hdu.header

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.hdu.shape[-2:]
        return int(height), int(width)

    def data(self) -> NDArray[Any]:
        return np.asarray(self.hdu.data if self.index is None else self.hdu.data[self.index])


@dataclass(frozen=True)
class _Cutout:
    """One galaxy."""

    image: NDArray[np.float32]
    cut: Cut
    headers: Sequence[Any]
    """Of the bands."""
    calibration: Calibration
    bands: tuple[str, ...]
    survey: str | None

    @cached_property
    def sky(self) -> Sky | None:
        skies = map(Sky.of, self.headers)
        return next((sky for sky in skies if sky is not None), None)

    @property
    def position(self) -> tuple[float, float] | None:
        return self.sky.position(*self.cut.centre) if self.sky else None


@dataclass
class _Reader:
    """Reads the files of a folder; those of the last rows are kept, since their tensors are asked for in turn."""

    folder: Path
    names: Sequence[str]
    bands: tuple[str, ...]
    options: IngestOptions
    needs_sky: bool
    _range: tuple[int, int] | None = field(default=None, init=False)
    _image: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32), init=False)
    _padded: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32), init=False)
    _sky: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), init=False)

    def image(self, start: int, stop: int) -> NDArray[np.float32]:
        self._read(start, stop)
        return self._image

    def padded(self, start: int, stop: int) -> NDArray[np.int32]:
        self._read(start, stop)
        return self._padded

    def sky(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return right ascension and declination, shape (2, rows)."""
        self._read(start, stop)
        return self._sky

    def _read(self, start: int, stop: int) -> None:
        if self._range == (start, stop):
            return
        size, count = self.options.size_pixels, stop - start
        self._range, self._image = None, np.empty((count, len(self.bands), size, size), np.float32)
        self._padded, self._sky = np.zeros(count, np.int32), np.full((2, count), np.nan)
        for row, name in enumerate(self.names[start:stop]):
            where = f"{self.folder / name}: row {start + row}"
            cutout = read_cutout(where, self.folder / name, self.bands, self.options)
            self._image[row] = cutout.image
            self._padded[row] = cutout.cut.padded_pixels
            if self.needs_sky:
                self._sky[:, row] = _position(where, cutout)
        self._range = (start, stop)


@dataclass(frozen=True)
class _Part:
    """One tensor of the folder."""

    reader: _Reader
    what: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        if self.what == "image":
            return self.reader.image(start, stop)
        return np.asarray(self.reader.sky(start, stop)[("ra", "dec").index(self.what)])


def read(folder: Path, options: IngestOptions) -> Tensors:
    """Return what a folder of cutouts holds, in natural order of the files' names; only the first is read yet.

    Raises
    ------
    SurveyError
        If there are no FITS files, or the first, or the catalogue, cannot be used.
    """
    names = _names(folder, options)
    if not names:
        raise SurveyError(
            f"{folder}: holds no FITS file ({', '.join(SUFFIXES)}) and is no Zarr group; expected one file a galaxy in "
            "the folder itself"
        )
    first = read_cutout(f"{folder / names[0]}: row 0", folder / names[0], options.bands, options)
    columns = dict(join_by_file(str(folder), names, options))
    rows = len(names)
    needs_sky = find(columns, "ra", options) is None or find(columns, "dec", options) is None
    reader = _Reader(folder, names, first.bands, options, needs_sky)
    if needs_sky:
        _position(f"{folder / names[0]}: row 0", first)
        for what in ("ra", "dec"):
            columns[what] = Column(str(folder), what, _Part(reader, what, np.dtype(np.float64), (rows,)))
    stems = [Path(name).stem for name in names]
    if find(columns, "object_id", options) is None and all(stem.isascii() and stem.isdigit() for stem in stems):
        columns["object_id"] = Column(str(folder), "object_id", ArrayTensor(np.array(stems)))
    shape = (rows, len(first.bands), options.size_pixels, options.size_pixels)
    image = _Part(reader, "image", np.dtype(np.float32), shape)
    padded = reader.padded if options.pad else None
    images = Images(image, first.bands, padded, None, first.calibration.zero_point)
    said = Said(pixel_scale=first.sky.pixel_scale() if first.sky else None, survey=first.survey)
    return assemble(str(folder), images, columns, said, options)


def _names(folder: Path, options: IngestOptions) -> list[str]:
    catalog = options.catalog.resolve() if options.catalog else None
    found = [
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    return sorted((name for name in found if (folder / name).resolve() != catalog), key=natural)


def read_cutout(where: str, path: Path, wanted: tuple[str, ...], options: IngestOptions) -> _Cutout:
    """Read one galaxy.

    Parameters
    ----------
    where : str
        File and row, for messages.
    path : Path
    wanted : tuple of str
        The bands, in order; none: those of the file, in its order.
    options : IngestOptions

    Raises
    ------
    SurveyError
        If it cannot be read, or lacks a band.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers against the standard are read as far as they can be
            warnings.filterwarnings("error", message="(?s).*(truncated|Error validating header)")
            with path.open("rb") as file:
                check_start(file)
                hdus = fits.open(file, memmap=False, lazy_load_hdus=False)
                return _cutout(where, hdus, wanted, options)
    except (*FITS_ERRORS, Warning) as error:
        raise SurveyError(
            f"{where}: cannot be read as FITS ({short(str(error), 120)}); the file is damaged, incomplete or another "
            "format: write or copy it again"
        ) from error


def _cutout(where: str, hdus: Any, wanted: tuple[str, ...], options: IngestOptions) -> _Cutout:
    planes, names = _planes(where, hdus, wanted)
    bands = wanted or names
    if not options.bands and len(names) != len(bands):
        raise SurveyError(
            f"{where}: has {len(names)} bands, the first file {len(bands)}; expected the same in each, or --bands"
        )
    planes = [planes[place] for place in order(where, names, bands)]
    height, width = planes[0].shape
    for band, plane in zip(bands, planes, strict=True):
        if plane.shape != (height, width):
            raise SurveyError(
                f"{where}: band {bands[0]} has {height} x {width} pixels, band {band} {plane.shape[0]} x "
                f"{plane.shape[1]}; expected the same: resample them to one grid"
            )
    cut = plan_cut(where, height, width, options)
    if max(height, width) > _MAX_SIDE:
        raise SurveyError(f"{where}: has {height} x {width} pixels; expected a cutout of at most {_MAX_SIDE} a side")
    main = hdus[0].header
    units = [calibrate(where, text(plane.header, "BUNIT") or text(main, "BUNIT"), options) for plane in planes]
    pairs = zip(planes, units, strict=True)
    image = np.stack([cut.apply(plane.data()) * np.float32(unit.factor) for plane, unit in pairs])
    survey = text(main, "SURVEY") or text(planes[0].header, "SURVEY")
    return _Cutout(image, cut, [plane.header for plane in planes], units[0], bands, survey)


def _planes(where: str, hdus: Any, wanted: tuple[str, ...]) -> tuple[list[_Plane], tuple[str, ...]]:
    """Return the images in a file and what their bands are called."""
    shaped = [hdu for hdu in hdus if isinstance(hdu, fits.ImageHDU | fits.PrimaryHDU | fits.CompImageHDU)]
    cubes = [hdu for hdu in shaped if len(hdu.shape) == 3]
    flat = [_Plane(hdu, None) for hdu in shaped if len(hdu.shape) == 2]
    named = [(hdu, bands_of(hdu.header) or bands_of(hdus[0].header) or ()) for hdu in cubes]
    named = [(hdu, bands) for hdu, bands in named if len(bands) == hdu.shape[0]]
    if len(named) == 1:
        hdu, bands = named[0]
        return [_Plane(hdu, index) for index in range(hdu.shape[0])], check_names(where, bands)
    if cubes and not flat:
        raise SurveyError(
            f"{where}: has {len(cubes)} cubes, of which {len(named)} name their bands; expected one cube (bands, y, x) "
            "with a keyword for each band, BAND1, BAND2, ..., or a list, BANDS = 'u,g,r,i,z'"
        )
    if not flat:
        raise SurveyError(
            f"{where}: has no image of two or three axes; expected one a band, or a cube of all: leave the file out"
        )
    return flat, _flat_names(where, flat, wanted)


def _flat_names(where: str, planes: Sequence[_Plane], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bands of images, by the keyword that names those wanted, or else names each of them."""
    by_key = {key: tuple(text(plane.header, key) or "" for plane in planes) for key in _NAMES}
    named = {key: names for key, names in by_key.items() if any(names)}
    for names in named.values():
        try:
            order(where, names, wanted)
        except SurveyError:
            continue
        if wanted or (all(names) and len(set(names)) == len(names)):
            return names
    if not named:
        raise SurveyError(
            f"{where}: its {len(planes)} images do not say their bands; expected EXTNAME, BAND, FILTER or FILTNAM in "
            "each"
        )
    names = max(named.values(), key=lambda names: len(set(names)))
    return names if wanted else check_names(where, names)


def _position(where: str, cutout: _Cutout) -> tuple[float, float]:
    try:
        position = cutout.position
    except FITS_ERRORS as error:
        raise SurveyError(f"{where}: its WCS gives no position ({short(str(error), 120)}); mend the header") from error
    if position is None or not all(map(np.isfinite, position)):
        raise SurveyError(
            f"{where}: has no WCS to give right ascension and declination; expected one, or a table with ra and dec: "
            "give --catalog"
        )
    return position
