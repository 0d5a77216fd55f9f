"""Surveys as astropy, h5py and zarr write them, all of the same galaxies."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from numpy.typing import NDArray

import skyfan
from factories import SIDE, make_rows
from skyfan.errors import InputError, SurveyError

BANDS = "ugriz"
ROWS = 11
SCALE = 0.396
SAID = {"bands": BANDS, "image_unit": "nanomaggy", "size_pixels": SIDE, "magnitude_system": "AB"}


def galaxies(rows: int = ROWS) -> dict[str, NDArray[Any]]:
    content = make_rows(rows, seed=3)
    content["dec"] = np.clip(content["dec"], -80, 80)
    return content


def header(ra: float, dec: float, side: int = SIDE, **extra: Any) -> fits.Header:
    """Return a header with the position at the centre of a square image."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(side + 1) / 2, (side + 1) / 2]
    wcs.wcs.cdelt = [-SCALE / 3600, SCALE / 3600]
    out = wcs.to_header()
    for key, value in extra.items():
        out[key] = value
    return out


def multi_extension(path: Path, image: NDArray[Any], names: Sequence[str], head: fits.Header, key: str) -> None:
    hdus: list[Any] = [fits.PrimaryHDU()]
    for plane, name in zip(image, names, strict=True):
        hdu = fits.ImageHDU(plane, head)
        hdu.header[key] = name
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)


def write_folder(folder: Path, content: dict[str, NDArray[Any]], *, key: str = "EXTNAME", **extra: Any) -> Path:
    folder.mkdir()
    for row, image in enumerate(content["image"]):
        head = header(content["ra"][row], content["dec"][row], image.shape[-1], **extra)
        multi_extension(folder / f"{content['object_id'][row]}.fits", image, BANDS, head, key)
    return folder


def write_cubes(folder: Path, content: dict[str, NDArray[Any]], **extra: Any) -> Path:
    folder.mkdir()
    for row, image in enumerate(content["image"]):
        head = header(content["ra"][row], content["dec"][row], image.shape[-1], **extra)
        fits.PrimaryHDU(image, head).writeto(folder / f"{content['object_id'][row]}.fits")
    return folder


def catalog_of(content: dict[str, NDArray[Any]], bands: str = BANDS) -> Table:
    columns = {name: content[name] for name in ("object_id", "ra", "dec", "redshift")}
    return Table(columns | {f"mag_{band}": content["magnitude"][:, at] for at, band in enumerate(bands)})


def write_table(path: Path, content: dict[str, NDArray[Any]], **keys: Any) -> Path:
    side = content["image"].shape[-1]
    bands = content["image"].shape[1]
    columns = [
        fits.Column("image", f"{bands * side**2}E", dim=f"({side},{side},{bands})", array=content["image"]),
        fits.Column("magnitude", f"{bands}E", array=content["magnitude"], unit="mag"),
        fits.Column("redshift", "E", array=content["redshift"]),
        fits.Column("object_id", "K", array=content["object_id"]),
        fits.Column("ra", "D", array=content["ra"]),
        fits.Column("dec", "D", array=content["dec"]),
        fits.Column("name", "5A", array=np.array(["x"] * len(content["ra"]))),
    ]
    hdu = fits.BinTableHDU.from_columns(columns)
    for key, value in keys.items():
        hdu.header[key] = value
    hdu.writeto(path)
    return path


def write_hdf5(path: Path, content: dict[str, NDArray[Any]], **attributes: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in content.items():
            file[name] = values
        file.attrs.update(attributes)
    return path


def write_multimodal(path: Path, content: dict[str, NDArray[Any]], orders: Sequence[str], *, grouped: bool) -> Path:
    """Write the Multimodal Universe's layout, row i with its bands in the order `orders[i % len(orders)]`."""
    each = [orders[row % len(orders)] for row in range(len(content["ra"]))]
    image = np.stack(
        [values[[BANDS.index(b) for b in order]] for values, order in zip(content["image"], each, strict=True)]
    )
    names = np.array([[f"des-{band}".encode() for band in order] for order in each])
    flux, band, scale = (
        ("image/flux", "image/band", "image/scale") if grouped else ("image_array", "image_band", "image_scale")
    )
    with h5py.File(path, "w") as file:
        file[flux] = image
        file[band] = names.astype(h5py.string_dtype("utf-8", 5))
        file[scale] = np.full(names.shape, 0.262, np.float32)
        file["object_id"] = np.array([str(value).encode() for value in content["object_id"]])
        for name in ("ra", "dec", "redshift"):
            file[name] = content[name]
        for at, letter in enumerate(BANDS):
            file[f"MAG_{letter}"] = content["magnitude"][:, at]
    return path


def write_zarr(path: Path, content: dict[str, NDArray[Any]], version: Any = 3, **attributes: Any) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=version)
    for name, values in content.items():
        group.create_array(name, data=values, chunks=(min(4, len(values)), *values.shape[1:]))
    group.attrs.update(attributes)
    return path


def refused(source: Any, match: str, said: dict[str, Any] = SAID, kind: type[InputError] = SurveyError) -> None:
    """Check that a survey ends in one line, and leaves no index that says complete."""
    store = Path(source).parent / "store"
    with pytest.raises(kind, match=match) as caught:
        skyfan.partition(source, "sky/parts", rows=4, store=store, **said)
    assert "\n" not in str(caught.value)
    index = store / "sky" / "parts" / "index.json"
    assert not index.exists() or not json.loads(index.read_bytes())["complete"]
