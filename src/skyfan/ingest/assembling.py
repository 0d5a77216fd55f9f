"""From images and columns to what a partition holds: the same for every format."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats.layout import short
from skyfan.formats.tensor import Tensor, Tensors
from skyfan.ingest.bands import check_names, order
from skyfan.ingest.columns import Columns, Stacked, by_name, check_named, find, floats, ids, shown
from skyfan.ingest.cutting import CutImages, PickedMagnitudes, Places, RowPlaces, plan_cut
from skyfan.ingest.options import IngestOptions, join_bands, split_bands
from skyfan.ingest.units import calibrate, is_magnitude


@dataclass(frozen=True)
class Said:
    """What a file says of itself."""

    bands: tuple[str, ...] | None = None
    image_unit: str | None = None
    zero_point: float | None = None
    magnitude_system: str | None = None
    pixel_scale: float | None = None
    survey: str | None = None


_DEGREES = {"", "deg", "degree", "degrees"}

ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "bands": ("bands", "band"),
    "image_unit": ("image_unit", "bunit", "unit", "units"),
    "zero_point": ("zero_point",),
    "magnitude_system": ("magnitude_system",),
    "pixel_scale": ("pixel_scale_arcsec", "pixel_scale"),
    "survey": ("survey",),
}
"""What HDF5 and Zarr files may say in attributes, of the file or of `image`."""


@dataclass(frozen=True)
class Images:
    """Images in the order of `bands`, cut to size, in nanomaggies."""

    values: Tensor
    bands: tuple[str, ...]
    padded: Callable[[int, int], NDArray[np.int32]] | None
    """Pixels a band that were not observed, for each of some rows; None if there can be none."""
    places: RowPlaces | None
    """Where the bands lie in the file, for magnitudes that lie there in the same order."""
    zero_point: float | None


@dataclass(frozen=True)
class _Padded:
    shape: tuple[int, ...]
    count: Callable[[int, int], NDArray[np.int32]]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int32)

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        return self.count(start, stop)


def read_said(where: str, *attributes: Mapping[str, Any]) -> Said:
    """Return what attributes say; the first that says something counts.

    Raises
    ------
    SurveyError
        If a number is none.
    """
    said: dict[str, Any] = {}
    for name, keys in ATTRIBUTES.items():
        found = [item[key] for item in attributes for key in keys if key in item]
        text = _text(found[0]) if found else ""
        if text and name in {"zero_point", "pixel_scale"}:
            try:
                said[name] = float(text)
            except ValueError:
                raise SurveyError(f"{where}: its attribute {name} is {short(text)}; expected a number") from None
        elif text:
            said[name] = split_bands(text if np.ndim(found[0]) == 0 else text.split(",")) if name == "bands" else text
    return Said(**said)


def _text(value: Any) -> str:
    """Return an attribute as text, a list of names with commas between."""
    values = np.asarray(value).ravel().tolist()
    return ",".join(item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in values)


def column_images(
    where: str, columns: Columns, said: Said, options: IngestOptions, places: RowPlaces | None = None
) -> Images:
    """Return the images of a file of columns.

    Parameters
    ----------
    where : str
        The file, for messages.
    columns : mapping
    said : Said
    options : IngestOptions
    places : RowPlaces, optional
        Where the bands `said.bands` or those wanted lie, if that differs from row to row.

    Raises
    ------
    SurveyError
        If there are none, or they cannot be used.
    """
    named = options.columns.get("image")
    column = by_name(columns, named) if named else find(columns, "image", options)
    if column is None:
        raise SurveyError(
            f"{where}: has no column image; found {shown(columns)}; name the one with images with --column image=NAME"
        )
    raw, label = column.values, f"{where}: column {column.name}"
    if raw.dtype.kind not in "fiu":
        raise SurveyError(f"{label} is {raw.dtype}; expected numbers")
    if len(raw.shape) != 4:
        raise SurveyError(f"{label} has the shape {raw.shape}; expected (rows, bands, height, width)")
    if 0 in raw.shape:
        raise SurveyError(f"{label} has the shape {raw.shape}; expected no axis of length 0")
    bands, same = _bands(label, raw.shape[1], said, options, places)
    cut = plan_cut(label, raw.shape[2], raw.shape[3], options)
    calibration = calibrate(label, column.unit or said.image_unit, options, said.zero_point)
    found = places or Places(same)
    images = CutImages(raw, found, calibration.factor, cut, len(bands))
    padded = (lambda start, stop: np.full(stop - start, cut.padded_pixels, np.int32)) if options.pad else None
    return Images(images, bands, padded, found, calibration.zero_point)


def _bands(
    where: str, count: int, said: Said, options: IngestOptions, places: RowPlaces | None
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Return the bands in the order wanted, and their places where these are the same in each row."""
    if said.bands is None and places is None:
        if len(options.bands) != count:
            got = f"--bands names {len(options.bands)}" if options.bands else "it does not say which"
            raise SurveyError(f"{where} has {count} bands, and {got}; expected --bands with the name of each, in order")
        return options.bands, np.arange(count)
    found = check_names(where, said.bands or ())
    if places is None and len(found) != count:
        raise SurveyError(f"{where} has {count} bands, but names {len(found)}; expected as many names as bands")
    bands = options.bands or found
    return bands, order(where, found, bands)


def assemble(where: str, images: Images, columns: Columns, said: Said, options: IngestOptions) -> Tensors:
    """Return everything that a partition is to hold.

    Raises
    ------
    SurveyError
        If a column is missing, of the wrong kind, or longer or shorter than the images.
    """
    check_named(where, columns, options, ("image", "file"))
    arrays: dict[str, Tensor] = {"image": images.values}
    magnitudes = _magnitudes(where, images, columns, options)
    if magnitudes is not None:
        arrays["magnitude"] = magnitudes
    for role, dtype in (("redshift", np.float32), ("ra", np.float64), ("dec", np.float64)):
        column = find(columns, role, options)
        if column is not None:
            if role != "redshift" and (column.unit or "deg").strip().lower() not in _DEGREES:
                raise SurveyError(f"{column.where}: column {column.name} is in {short(column.unit)}; expected degrees")
            arrays[role] = floats(column, role, dtype)
    column = find(columns, "object_id", options)
    if column is not None:
        arrays["object_id"] = ids(column)
    if images.padded is not None:
        arrays["padded_pixels"] = _Padded(images.values.shape[:1], images.padded)
    _check_lengths(where, arrays)
    return Tensors(arrays, _metadata(where, images, said, options, magnitudes is not None))


def _check_lengths(where: str, arrays: Mapping[str, Tensor]) -> None:
    rows = arrays["image"].shape[0]
    for name, tensor in arrays.items():
        if tensor.shape[0] != rows:
            raise SurveyError(f"{where}: {name} has {tensor.shape[0]} rows and image {rows}; expected the same number")


def _magnitudes(where: str, images: Images, columns: Columns, options: IngestOptions) -> Tensor | None:
    names = options.magnitude_columns
    if names and len(names) != len(images.bands):
        raise SurveyError(
            f"{where}: --magnitude-columns names {len(names)} columns; expected one a band: {join_bands(images.bands)}"
        )
    found = [(name, by_name(columns, name)) for name in names]
    single = None if names else find(columns, "magnitude", options)
    used = [column for _, column in found if column is not None] + ([single] if single else [])
    for name, column in found:
        if column is None:
            raise SurveyError(f"{where}: has no column {name!r} of magnitudes; found {shown(columns)}")
    for column in used:
        if not is_magnitude(column.unit) or "flux" in column.name.casefold():
            raise SurveyError(
                f"{column.where}: column {column.name} holds fluxes ({short(column.unit)}); expected magnitudes: "
                "convert them, m_AB = 22.5 - 2.5 lg(f / nanomaggy)"
            )
    if names:
        return Stacked([floats(column, "magnitude", np.float32).column for column in used])
    if single is None:
        return None
    raw = single.values
    if len(raw.shape) != 2 or raw.dtype.kind != "f" or images.places is None:
        raise SurveyError(
            f"{single.where}: column {single.name} is {raw.dtype} of the shape {raw.shape}; expected floats of the "
            "shape (rows, bands); or name one column a band with --magnitude-columns"
        )
    wanted = images.places.rows(0, 1).max() + 1
    if raw.shape[1] < wanted:
        raise SurveyError(f"{single.where}: column {single.name} has {raw.shape[1]} bands; expected {wanted}, as image")
    return PickedMagnitudes(raw, images.places, len(images.bands))


def _metadata(where: str, images: Images, said: Said, options: IngestOptions, magnitudes: bool) -> dict[str, str]:
    system, scale = options.magnitude_system or said.magnitude_system, options.pixel_scale or said.pixel_scale
    if options.magnitude_system and said.magnitude_system not in {None, options.magnitude_system}:
        raise SurveyError(
            f"{where}: says the magnitude system {said.magnitude_system}, --magnitude-system says "
            f"{options.magnitude_system}; expected the same: leave one out"
        )
    if magnitudes and system is None:
        raise SurveyError(f"{where}: does not say the system of its magnitudes; give it, as in --magnitude-system AB")
    if options.pixel_scale and said.pixel_scale and abs(options.pixel_scale / said.pixel_scale - 1) > 0.01:
        raise SurveyError(
            f"{where}: has {said.pixel_scale:.4g} arcsec a pixel, --pixel-scale says {options.pixel_scale}; expected "
            "the same: leave one out"
        )
    metadata = {
        "bands": join_bands(images.bands),
        "image_unit": "nanomaggy",
        "survey": options.survey or said.survey or Path(where).stem,
        "magnitude_system": system if magnitudes else None,
        "pixel_scale_arcsec": f"{scale:.6g}" if scale else None,
        "zero_point": str(images.zero_point) if images.zero_point is not None else None,
        "padding": "zeros; padded_pixels counts those of a row" if images.padded is not None else None,
    }
    return {name: text for name, text in metadata.items() if text}
