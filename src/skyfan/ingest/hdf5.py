"""HDF5: one array a column, or the layout of the Multimodal Universe."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from skyfan.errors import SurveyError
from skyfan.formats.layout import short
from skyfan.formats.tensor import Tensor, Tensors
from skyfan.ingest.assembling import Said, assemble, column_images, read_said
from skyfan.ingest.bands import order
from skyfan.ingest.catalog import join_by_id
from skyfan.ingest.columns import READ_ERRORS, Column, Sliced, find
from skyfan.ingest.options import IngestOptions

_BAND, _IMAGES, _SCALE = "image_band", ("image_array", "image_flux"), "image_scale"
"""Datasets of the Multimodal Universe, written flat or as a group `image`: `image/flux` is `image_flux`."""
_SAMPLE = 1000


@dataclass(frozen=True)
class _RowPlaces:
    """Where the wanted bands lie, by the names that each row has."""

    where: str
    names: Tensor
    wanted: tuple[str, ...]

    def rows(self, start: int, stop: int) -> NDArray[np.intp]:
        names = _texts(self.names.rows(start, stop))
        unique, first, inverse = np.unique(names, axis=0, return_index=True, return_inverse=True)
        found = [
            order(f"{self.where}: row {start + row}", tuple(line), self.wanted)
            for line, row in zip(unique.tolist(), first.tolist(), strict=True)
        ]
        return np.stack(found)[inverse.reshape(-1)]


def read(path: Path, options: IngestOptions) -> Tensors:
    """Return what an HDF5 file holds; no image is read yet.

    Nothing outside the file is opened: external and soft links, virtual datasets and external storage are refused.

    Raises
    ------
    SurveyError
        If it is no HDF5 file, has no images, or does not say what they are.
    """
    where = str(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path, "r"))
            columns = {name: _column(where, name, dataset) for name, dataset in _datasets(where, file)}
            said = read_said(where, *[item.attrs for item in (file.get("image"), file) if item is not None])
        except READ_ERRORS as error:
            raise SurveyError(
                f"{where}: cannot be read as HDF5 ({short(str(error), 120)}); the file is damaged, incomplete or "
                "another format: write or copy it again"
            ) from error
        places = None
        if _BAND in columns:
            image = next((columns[name] for name in _IMAGES if name in columns), None)
            if image is not None and find(columns, "image", options) is None:
                columns["image"] = image
            places, said = _multimodal(where, columns, said, options)
        images = column_images(where, columns, said, options, places)
        content = assemble(where, images, join_by_id(where, columns, options), said, options)
        stack.pop_all()  # rows are read later; the file is closed with the last of its datasets
    return content


def _datasets(where: str, file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield datasets by name; one `b` in a group `a` is called `a_b`."""
    for name in file:
        item = _own(where, file, name)
        if isinstance(item, h5py.Dataset):
            yield name, item
        elif isinstance(item, h5py.Group):
            for inner in item:
                child = _own(where, item, inner)
                if isinstance(child, h5py.Dataset):
                    yield f"{name}_{inner}", child


def _own(where: str, group: h5py.Group, name: str) -> Any:
    """Return what a group holds under a name, if it lies in this file."""
    label = f"{where}: {short(name)}"
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise SurveyError(f"{label} is a link to elsewhere; expected data in the file itself: write it with the data")
    item = group[name]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise SurveyError(f"{label} has its data in other files; expected them in this one: write it with the data")
    return item


def _column(where: str, name: str, dataset: h5py.Dataset) -> Column:
    unit = next((dataset.attrs[key] for key in ("unit", "units", "BUNIT") if key in dataset.attrs), None)
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else unit
    shape = tuple(dataset.shape or ())
    values = Sliced(f"{where}: {name}", dataset, dataset.dtype, shape)
    return Column(where, name, values, str(text) if text is not None else None)


def _multimodal(where: str, columns: dict[str, Column], said: Said, options: IngestOptions) -> tuple[_RowPlaces, Said]:
    """Return where the bands lie in each row, and what the file says of bands and pixels."""
    names = columns[_BAND].values
    if len(names.shape) != 2 or names.dtype.kind not in "SO" or 0 in names.shape:
        raise SurveyError(
            f"{where}: {_BAND} is {names.dtype} of the shape {names.shape}; expected names of the shape (rows, bands)"
        )
    image = find(columns, "image", options)
    if image is not None and tuple(image.values.shape[:2]) != names.shape:
        raise SurveyError(
            f"{where}: {_BAND} has the shape {names.shape} and {image.name} {image.values.shape}; expected the same "
            "rows and bands"
        )
    first = tuple(_texts(names.rows(0, 1))[0].tolist())
    scale = said.pixel_scale
    if _SCALE in columns and columns[_SCALE].values.dtype.kind == "f":
        scales = columns[_SCALE].values.rows(0, min(_SAMPLE, names.shape[0]))
        scale = float(scales.flat[0]) if scale is None and np.ptp(scales) == 0 else scale
    return _RowPlaces(where, names, options.bands or first), replace(said, bands=first, pixel_scale=scale)


def _texts(names: NDArray[Any]) -> NDArray[np.str_]:
    flat = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names.ravel()]
    return np.array([name.strip() for name in flat], np.str_).reshape(names.shape)
