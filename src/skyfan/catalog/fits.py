"""A catalogue as a FITS binary table (FITS standard 4.0, section 7.3), written row by row."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.io import fits

from skyfan.catalog.columns import Column
from skyfan.catalog.content import Content, Progress, fill_records, record_type

BLOCK = 2880
CODES = {
    pa.int16(): "I",
    pa.int32(): "J",
    pa.int64(): "K",
    pa.float32(): "E",
    pa.float64(): "D",
}


def write_fits(content: Content, path: Path, progress: Progress) -> None:
    """Write a FITS file with one table; its header is written again at the end, when the rows are counted."""
    header = _header(content)
    kind = record_type(content.columns)
    rows = 0
    with path.open("wb") as file:
        fits.PrimaryHDU().writeto(file)
        start = file.tell()
        file.write(header.tostring().encode("ascii"))
        for table in content.chunks(progress):
            records = np.zeros(table.num_rows, kind)
            fill_records(records, table, content.columns)
            file.write(records.view(np.uint8).data)
            rows += len(records)
        file.write(b"\0" * (-file.tell() % BLOCK))
        header["NAXIS2"] = rows
        file.seek(start)
        file.write(header.tostring().encode("ascii"))


def _header(content: Content) -> Any:
    table = fits.BinTableHDU.from_columns([_fits_column(column) for column in content.columns], nrows=0)
    header = table.header
    header["EXTNAME"] = "PREDICTIONS"
    for number, column in enumerate(content.columns, 1):
        # TUCD and TCOMM are no standard, but what TOPCAT writes and reads
        if column.ucd:
            header.set(f"TUCD{number}", column.ucd, after=f"TFORM{number}")
        if column.description:
            header.set(f"TCOMM{number}", column.description, after=f"TFORM{number}")
    for name, text in content.infos.items():
        header.add_history(f"{name}: {text.encode('ascii', 'backslashreplace').decode()}")
    return header


def _fits_column(column: Column) -> Any:
    if column.type == pa.string():
        return fits.Column(column.name, f"{column.dtype.itemsize}A")
    null = column.null if column.nullable and not pa.types.is_floating(column.type) else None
    return fits.Column(column.name, f"{column.values or ''}{CODES[column.type]}", unit=column.unit or None, null=null)
