"""A catalogue as HATS (IVOA Note 1.0, August 2025): Parquet files by HEALPix pixel, for LSDB and cross-matching."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hats.catalog import PartitionInfo, TableProperties
from hats.io import paths
from hats.io.file_io import file_io
from hats.io.parquet_metadata import write_parquet_metadata
from hats.pixel_math import HealpixPixel
from hats.pixel_math.spatial_index import SPATIAL_INDEX_COLUMN, SPATIAL_INDEX_ORDER, compute_spatial_index
from numpy.typing import NDArray

from skyfan import __version__
from skyfan.catalog.columns import Column, names
from skyfan.catalog.content import Content, Progress
from skyfan.catalog.votable_parquet import with_metadata
from skyfan.errors import InputError

MAX_ORDER = 9
"""Finest pixels, 0.11 deg across; a file of one may be larger than `FILE_BYTES`."""
FILE_BYTES = 64 * 2**20
"""Of rows in memory, in one file: a file is sorted in memory."""
MAX_FILE_ROWS = 1_000_000
ZSTD_LEVEL = 3
"""The library's own, 15, takes four times as long and saves 3 %."""
SPOOL = ".spool"
INDEX = Column(
    SPATIAL_INDEX_COLUMN,
    pa.int64(),
    ucd="pos.healpix",
    description=f"HEALPix pixel of order {SPATIAL_INDEX_ORDER}, nested",
)


def write_hats(content: Content, folder: Path, progress: Progress) -> None:
    """Write a HATS catalogue into an empty folder.

    The rows are read twice: to count them by pixel, from which follow the files, and to deal them out to a file of
    Arrow messages for each pixel. Then each pixel is sorted and becomes its Parquet file.

    Raises
    ------
    InputError
        If there are no rows, or they have no positions.
    """
    absent = {"ra", "dec"} - names(content.columns)
    if absent:
        raise InputError(
            f"{content.name}: the catalogue has no column {' and no column '.join(sorted(absent, reverse=True))}, and "
            "HATS sorts rows by their place on the sky; give the partitions ra and dec (deg), or take another format"
        )
    counts = np.zeros(12 * 4**MAX_ORDER, np.int64)
    for table in content.chunks(lambda done, total: None):
        fine, rows = np.unique(_finest(_spatial_index(table, content.name)), return_counts=True)
        counts[fine] += rows
    pixels, chosen = align(counts, min(MAX_FILE_ROWS, max(1, FILE_BYTES // content.row_bytes)))
    if not pixels:
        raise InputError(f"{content.name}: there are no rows, and HATS has no empty catalogue; take another format")
    spool = folder / SPOOL
    spool.mkdir()
    _deal(content, chosen, spool, progress)
    for number, pixel in enumerate(pixels):
        _write_pixel(content, spool / str(number), folder, HealpixPixel(*pixel))
    spool.rmdir()
    _write_metadata(content, folder, pixels)


def align(counts: NDArray[np.int64], rows: int) -> tuple[list[tuple[int, int]], NDArray[np.int32]]:
    """Choose the pixels that the files are of: the largest that hold no more than so many rows.

    Parameters
    ----------
    counts : array of int64, shape (12 * 4**order,)
        Rows by pixel of the finest order, nested.
    rows : int
        Most rows of a file; a pixel of the finest order may have more.

    Returns
    -------
    list of (int, int)
        Order and number of each pixel chosen.
    array of int32, shape (12 * 4**order,)
        By finest pixel, which of them; -1 where there are no rows.
    """
    finest = (len(counts) // 12).bit_length() // 2
    chosen = np.full(len(counts), -1, np.int32)
    pixels: list[tuple[int, int]] = []
    for order in range(finest + 1):
        nested = counts.reshape(12 * 4**order, -1)
        free = chosen.reshape(nested.shape)
        sums = nested.sum(axis=1)
        fits = (sums > 0) & (free[:, 0] < 0) & ((sums <= rows) | (order == finest))
        for pixel in np.flatnonzero(fits).tolist():
            free[pixel] = len(pixels)
            pixels.append((order, pixel))
    return pixels, chosen


def _spatial_index(table: Any, name: str) -> NDArray[np.int64]:
    ra, dec = (table.column(axis).to_numpy() for axis in ("ra", "dec"))
    bad = np.flatnonzero(~np.isfinite(ra) | ~(np.abs(dec) <= 90))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{name}: row {table.column('row')[row]} of {table.column('source')[row]} has ra {ra[row]}, "
            f"dec {dec[row]}; expected degrees, dec from -90 to 90; correct the partition, or take another format"
        )
    index: NDArray[np.int64] = compute_spatial_index(ra % 360.0, dec)
    return index


def _finest(index: NDArray[np.int64]) -> NDArray[np.int64]:
    pixels: NDArray[np.int64] = index >> 2 * (SPATIAL_INDEX_ORDER - MAX_ORDER)
    return pixels


def _deal(content: Content, chosen: NDArray[np.int32], spool: Path, progress: Progress) -> None:
    """Append each row to its pixel's file."""
    for table in content.chunks(progress):
        index = _spatial_index(table, content.name)
        which = chosen[_finest(index)]
        order = np.argsort(which, kind="stable")
        dealt = table.add_column(0, SPATIAL_INDEX_COLUMN, pa.array(index)).take(pa.array(order))
        numbers, starts = np.unique(which[order], return_index=True)
        for number, start, stop in zip(numbers, starts, [*starts[1:], len(order)], strict=True):
            rows = dealt.slice(int(start), int(stop - start)).combine_chunks()
            with (spool / str(number)).open("ab") as file:
                for batch in rows.to_batches():
                    file.write(batch.serialize())


def _read_spooled(path: Path, schema: Any) -> Iterator[Any]:
    with pa.OSFile(str(path)) as file:
        while file.tell() < file.size():
            yield pa.ipc.read_record_batch(pa.ipc.read_message(file), schema)


def _write_pixel(content: Content, spooled: Path, folder: Path, pixel: HealpixPixel) -> None:
    """Sort one pixel's rows and write its file."""
    schema = with_metadata(replace(content, columns=[INDEX, *content.columns]))
    table = pa.Table.from_batches(_read_spooled(spooled, schema), schema)
    spooled.unlink()
    table = table.take(pa.array(np.argsort(table.column(0).to_numpy(), kind="stable")))
    path = Path(str(paths.new_pixel_catalog_file(folder, pixel)))
    options = file_io.get_parquet_write_table_kwargs(schema, write_table_kwargs={"compression_level": ZSTD_LEVEL})
    pq.write_table(table, path, **options)


def _write_metadata(content: Content, folder: Path, pixels: list[tuple[int, int]]) -> None:
    info = PartitionInfo.from_healpix([HealpixPixel(*pixel) for pixel in pixels])
    info.write_to_file(catalog_path=folder)
    write_parquet_metadata(folder)
    properties = TableProperties(
        catalog_name=content.name.rsplit("/", 1)[-1],
        catalog_type="object",
        total_rows=content.rows,
        ra_column="ra",
        dec_column="dec",
        healpix_column=SPATIAL_INDEX_COLUMN,
        healpix_order=SPATIAL_INDEX_ORDER,
        moc_sky_fraction=info.calculate_fractional_coverage(),
        **content.infos,
        **TableProperties.new_provenance_dict(folder, builder=f"skyfan {__version__}"),
    )
    properties.to_properties_file(folder)
