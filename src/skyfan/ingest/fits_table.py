"""A FITS binary table with a column of images: rows are read where they lie in the file."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skyfan.blob import Blob
from skyfan.errors import SurveyError
from skyfan.formats.layout import short
from skyfan.formats.tensor import BlobTensor, Tensor, Tensors
from skyfan.ingest.assembling import Said, assemble, column_images
from skyfan.ingest.catalog import join_by_id
from skyfan.ingest.columns import Column
from skyfan.ingest.headers import FITS_ERRORS, bands_of, check_start, number, text
from skyfan.ingest.options import IngestOptions

_FORMATS = "BIJKEDA"


@dataclass(frozen=True)
class _Stored:
    """A column of whole numbers that stand for others: TZERO, TSCAL, TNULL of the FITS standard 4.0, section 7.3.2."""

    where: str
    raw: Tensor
    scale: float
    zero: float
    null: int | None

    @property
    def _unsigned(self) -> bool:
        return self.scale == 1 and self.raw.dtype.kind == "i" and self.zero == 2.0 ** (8 * self.raw.dtype.itemsize - 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        if self.scale == 1 and self.zero == 0:
            return self.raw.dtype
        return np.dtype(f"u{self.raw.dtype.itemsize}") if self._unsigned else np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.raw.shape

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        values = self.raw.rows(start, stop)
        if self.null is not None and (gaps := np.argwhere(values == self.null)).size:
            raise SurveyError(
                f"{self.where}: row {start + gaps[0][0]}: has no value (TNULL); expected one in every row"
            )
        if self.scale == 1 and self.zero == 0:
            return values
        if self._unsigned:  # in whole numbers, since a float has no room for 64 bits
            return np.asarray(values.astype(self.dtype) ^ self.dtype.type(int(self.zero)))
        return np.asarray(values * self.scale + self.zero)


def read(path: Path, blob: Blob, options: IngestOptions) -> Tensors:
    """Return what a FITS table of images holds; no row is read yet.

    Raises
    ------
    SurveyError
        If it is no FITS file, has no table with images, or does not say what they are.
    """
    where = str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a file ends too early is found below
            with path.open("rb") as file:
                check_start(file)
                hdus = fits.open(file, memmap=False, lazy_load_hdus=False)
                tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
                found = [(dict(_columns(where, blob, hdu)), _said(hdu.header)) for hdu in tables]
    except FITS_ERRORS as error:
        raise SurveyError(
            f"{where}: cannot be read as FITS ({short(str(error), 120)}); the file is damaged, incomplete or another "
            "format: write or copy it again"
        ) from error
    with_images = [item for item in found if any(len(column.values.shape) > 2 for column in item[0].values())]
    if len(with_images) != 1:
        raise SurveyError(
            f"{where}: has {len(with_images)} binary tables with a column of images (TDIM); expected one; cutouts in "
            "files of their own are read from their folder: give that"
        )
    columns, said = with_images[0]
    images = column_images(where, columns, said, options)
    return assemble(where, images, join_by_id(where, columns, options), said, options)


def _said(header: fits.Header) -> Said:
    return Said(
        bands=bands_of(header),
        image_unit=text(header, "BUNIT"),
        magnitude_system=text(header, "MAGSYS"),
        pixel_scale=number(header, "PIXSCALE"),
        survey=text(header, "SURVEY"),
    )


def _columns(where: str, blob: Blob, hdu: fits.BinTableHDU) -> Iterator[tuple[str, Column]]:
    header, dtype = hdu.header, hdu.columns.dtype
    width, rows, start = int(header["NAXIS1"]), int(header["NAXIS2"]), int(hdu.fileinfo()["datLoc"])
    if dtype.itemsize != width or start + width * rows > blob.size:
        raise SurveyError(
            f"{where}: a table of {rows} rows of {width} bytes starts at byte {start}, but the file has {blob.size} "
            f"bytes and its columns {dtype.itemsize}; the file is damaged or incomplete: write or copy it again"
        )
    for item, name in zip(hdu.columns, dtype.names or (), strict=True):
        code = str(item.format).lstrip("0123456789")[:1]
        if code not in _FORMATS:
            continue
        field, offset = dtype.fields[name][:2]
        shape = (rows, *field.shape)
        inner = [field.base.itemsize]
        for n in reversed(field.shape[1:]):
            inner.append(inner[-1] * n)
        strides = (width, *reversed(inner[: len(field.shape)]))
        # The table is big-endian, as FITS is; texts have no order.
        raw = BlobTensor(blob, field.base.newbyteorder(">"), shape, start + offset, strides)
        values: Tensor = raw
        if code in "BIJK":
            null = int(item.null) if isinstance(item.null, int | np.integer) else None
            values = _Stored(f"{where}: column {name}", raw, float(item.bscale or 1), float(item.bzero or 0), null)
        elif item.bscale not in {None, "", 1} or item.bzero not in {None, "", 0}:
            raise SurveyError(
                f"{where}: column {name} has scaled floats (TSCAL, TZERO); expected the numbers themselves"
            )
        yield name, Column(where, name, values, str(item.unit) if item.unit else None)
