"""Every bad folder or catalogue is one error with file and row, and leaves no index that says complete."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import skyfan
from factories import SIDE
from ingest.surveys import (
    BANDS,
    SAID,
    catalog_of,
    galaxies,
    header,
    multi_extension,
    refused,
    write_cubes,
    write_folder,
    write_hdf5,
)

FOLDER = {"bands": BANDS, "image_unit": "nanomaggy", "size_pixels": SIDE}


def replace_file(folder: Path, number: int, write: Callable[[Path], object]) -> Path:
    """Write another file in the place of the one of row `number`; return it."""
    path = sorted(folder.iterdir())[number]
    path.unlink()
    write(path)
    return path


def planes(path: Path, count: int = 5, **extra: Any) -> None:
    head = header(10, 10, **extra)
    multi_extension(path, galaxies(1)["image"][0][:count], BANDS[:count], head, "EXTNAME")


def without_wcs(path: Path) -> None:
    multi_extension(path, galaxies(1)["image"][0], BANDS, fits.Header(), "EXTNAME")


def small(path: Path) -> None:
    multi_extension(path, galaxies(1)["image"][0][:, :7], BANDS, header(10, 10), "EXTNAME")


def mixed(path: Path) -> None:
    planes(path, 4)
    with fits.open(path, "append") as hdus:
        hdus.append(fits.ImageHDU(np.zeros((9, 9), np.float32), header(1, 1), name="z"))


def doubled(path: Path) -> None:
    multi_extension(path, galaxies(1)["image"][0], "ugrii", header(10, 10), "EXTNAME")


def unnamed(path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU(), *[fits.ImageHDU(np.ones((8, 8)), header(1, 1)) for _ in BANDS]]).writeto(path)


def cube_without_bands(path: Path) -> None:
    fits.PrimaryHDU(galaxies(1)["image"][0], header(1, 1)).writeto(path)


def truncated(path: Path) -> None:
    planes(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 2880 - 100])


def in_jansky(path: Path) -> None:
    planes(path, BUNIT="Jy")


def in_angstrom(path: Path) -> None:
    planes(path, BUNIT="Angstrom")


def in_nonsense(path: Path) -> None:
    planes(path, BUNIT="blorps")


BAD_FILES = [
    (lambda path: planes(path, 4), "has no band 'z'; found 'u, g, r, i'"),
    (doubled, "band 'i' could be 2 of its bands"),
    (unnamed, "images do not say their bands"),
    (cube_without_bands, "has 1 cubes, of which 0 name their bands"),
    (lambda path: fits.PrimaryHDU().writeto(path), "has no image of two or three axes"),
    (without_wcs, "has no WCS to give right ascension"),
    (small, r"7 x 8 pixels \(height x width\); expected at least 8 x 8: .*--pad"),
    (mixed, "band u has 8 x 8 pixels, band z 9 x 9"),
    (truncated, "cannot be read as FITS"),
    (lambda path: path.write_bytes(b"not fits" * 1000), "cannot be read as FITS"),
    (lambda path: path.write_bytes(gzip.compress(bytes(10000))), "does not start with SIMPLE; compressed files are"),
    (lambda path: path.write_bytes(b""), "cannot be read as FITS"),
    (in_jansky, "unit 'Jy', but --image-unit says nanomaggy"),
    (in_angstrom, "unit Angstrom, which is no flux"),
    (in_nonsense, "unit 'blorps', which astropy does not know"),
]


@pytest.mark.parametrize(("write", "match"), BAD_FILES)
@pytest.mark.parametrize("number", [0, 6])
def test_a_bad_file_of_a_folder_is_named_with_its_row(
    tmp_path: Path, write: Callable[[Path], object], match: str, number: int
) -> None:
    folder = write_folder(tmp_path / "cutouts", galaxies(8))
    path = replace_file(folder, number, write)
    refused(folder, f"{path.name}: row {number}: .*{match}", FOLDER)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cutouts" / "deeper").mkdir(parents=True)
    (tmp_path / "cutouts" / "notes.txt").write_text("x")
    refused(tmp_path / "cutouts", "cutouts: holds no FITS file", FOLDER)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({}, "its pixels have no unit; expected it to be said: give --image-unit nanomaggy.*or --zero-point"),
        ({"image_unit": "nanomaggy", "zero_point": 22.5}, "both are given; expected one"),
        ({"image_unit": "furlong"}, "image_unit 'furlong': expected one of nanomaggy"),
        ({"zero_point": float("nan")}, "zero_point: got nan; expected a finite number"),
        ({"size_pixels": 0}, "size_pixels: got 0"),
        ({"bands": "ugrgz"}, "expected each band once"),
        ({"columns": {"flux": "x"}}, "column 'flux': is none of skyfan's"),
        ({"pixel_scale": -1.0}, "above 0"),
        ({"colour": "red"}, "option 'colour': there is no such option"),
    ],
)
def test_what_is_not_said_or_cannot_be_is_refused(tmp_path: Path, said: dict[str, Any], match: str) -> None:
    folder = write_folder(tmp_path / "cutouts", galaxies(2))
    refused(folder, match, {"size_pixels": SIDE} | said)


BAD_CATALOGS = [
    (lambda table: table[:4], "cutouts: row 4: '3004.*' is not in the column object_id"),
    (lambda table: table[[0, 1, 2, 1, 3, 4]], "row 3: object_id is '3001', as in row 1"),
    (lambda table: table["ra", "dec"], "has no column file or filename or file_name, nor object_id"),
    (lambda table: table[:0], "holds no rows"),
]


@pytest.mark.parametrize(("change", "match"), BAD_CATALOGS)
def test_a_catalogue_that_does_not_fit_is_refused(tmp_path: Path, change: Any, match: str) -> None:
    content = galaxies(5)
    change(catalog_of(content)).write(tmp_path / "objects.csv")
    folder = write_folder(tmp_path / "cutouts", content)
    refused(folder, match, FOLDER | {"catalog": tmp_path / "objects.csv"})


def test_a_catalogue_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    content = galaxies(2)
    folder = write_folder(tmp_path / "cutouts", content)
    shutil.copy(folder / "3000.fits", tmp_path / "outside.fits")
    table = catalog_of(content)
    table["file"] = ["../outside.fits", "3001.fits"]
    table.write(tmp_path / "objects.csv")
    refused(folder, "row 0: '3000.fits' is not in the column file", FOLDER | {"catalog": tmp_path / "objects.csv"})


def test_a_catalogue_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "cutouts", galaxies(2))
    for name, data, match in (
        ("no.csv", None, "there is no such file"),
        ("a.txt", b"x", "expected a name that ends in one of"),
        ("a.fits", b"x" * 5000, "cannot be read as fits"),
        ("a.vot", b"x", "is no VOTable"),
        ("a.csv", b"a,b\n1,2,3\n\xff", "cannot be read as ascii.csv"),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        refused(folder, match, FOLDER | {"catalog": tmp_path / name})


def test_a_votable_whose_rows_lie_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "cutouts", galaxies(2))
    Table({"object_id": [1]}).write(tmp_path / "a.vot", format="votable")
    text = (tmp_path / "a.vot").read_text()
    body = text[text.index("<DATA>") : text.index("</DATA>")]
    stream = '<DATA><BINARY><STREAM href="file:///etc/passwd"/></BINARY>'
    (tmp_path / "a.vot").write_text(text.replace(body, stream))
    refused(folder, "its rows lie elsewhere", FOLDER | {"catalog": tmp_path / "a.vot"})


def test_a_file_in_a_folder_store_is_local(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write_hdf5(tmp_path / "raw" / "a.h5", galaxies(5))
    assert skyfan.partition("raw/a.h5", "sky/parts", rows=5, store=tmp_path, **SAID).rows == 5


def test_a_cube_that_names_another_number_of_bands_is_refused(tmp_path: Path) -> None:
    folder = write_cubes(tmp_path / "cubes", galaxies(2), BANDS="u,g,r,i")
    refused(folder, "3000.fits: row 0: has 1 cubes, of which 0 name their bands", FOLDER)


def test_without_bands_each_file_has_those_of_the_first(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "cutouts", galaxies(8))
    path = replace_file(folder, 0, lambda path: planes(path, 4))
    assert path.name == "3000.fits"
    said = {"image_unit": "nanomaggy", "size_pixels": SIDE}
    refused(folder, "3001.fits: row 1: has 5 bands, the first file 4; expected the same in each, or --bands", said)
