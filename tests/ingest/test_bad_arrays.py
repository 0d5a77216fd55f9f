"""Every bad HDF5, Zarr or FITS table is one error that names file and row; nothing in it is followed or run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits

import skyfan
from ingest.surveys import (
    BANDS,
    SAID,
    galaxies,
    refused,
    write_hdf5,
    write_multimodal,
    write_table,
    write_zarr,
)
from skyfan.errors import InputError, SurveyError
from skyfan.ingest.options import ingest_options
from skyfan.ingest.units import AB_JANSKY, calibrate


@pytest.mark.parametrize(
    ("attributes", "said", "match"),
    [
        ({}, {}, "its pixels have no unit"),
        ({"image_unit": "adu"}, {}, r"are counts \('adu'\) of unknown zero point"),
        ({"image_unit": "adu"}, {"image_unit": "nJy"}, r"its pixels are counts \('adu'\), --image-unit says nJy"),
        ({"image_unit": "nanomaggies"}, {"zero_point": 30.0}, "the zero point is said to be 30.0"),
        ({"zero_point": 27.0}, {"zero_point": 30.0}, "says the zero point 27.0, --zero-point says 30.0"),
        ({"zero_point": 27.0}, {"image_unit": "nJy"}, "counts of zero point 27.0, --image-unit says nJy"),
        ({"zero_point": "high"}, {}, "attribute zero_point is 'high'; expected a number"),
        ({"image_unit": "Jy", "magnitude_system": "Vega"}, {}, "says the magnitude system Vega"),
        ({"image_unit": "Jy", "pixel_scale": 0.2}, {"pixel_scale": 0.4}, "has 0.2 arcsec a pixel"),
        ({"image_unit": "Jy", "bands": "ugri"}, {}, "has 5 bands, but names 4"),
        ({"image_unit": "Jy", "bands": "ugrii"}, {}, "expected a name for each, and each once"),
        ({"image_unit": "Jy", "bands": "grizy"}, {}, "has no band 'u'; found 'g, r, i, z, y'"),
        ({"image_unit": "Jy"}, {"bands": "gri"}, "has 5 bands, and --bands names 3"),
        ({"image_unit": "Jy"}, {"bands": None}, "has 5 bands, and it does not say which"),
        ({"image_unit": "Jy"}, {"magnitude_system": None}, "give it, as in --magnitude-system AB"),
        ({"image_unit": "Jy"}, {"columns": {"redshift": "Z"}}, "there is no column 'Z' for redshift"),
        ({"image_unit": "Jy"}, {"columns": {"image": "pics"}}, "has no column image"),
        ({"image_unit": "Jy"}, {"magnitude_columns": "a,b"}, "names 2 columns; expected one a band: ugriz"),
        ({"image_unit": "Jy"}, {"magnitude_columns": "a,b,c,d,e"}, "has no column 'a' of magnitudes"),
        ({"image_unit": "Jy"}, {"size_pixels": 9}, "expected at least 9 x 9"),
    ],
)
@pytest.mark.parametrize("write", [write_hdf5, write_zarr])
def test_what_a_file_of_arrays_says_must_fit(
    tmp_path: Path, write: Any, attributes: dict[str, Any], said: dict[str, Any], match: str
) -> None:
    path = write(tmp_path / ("a.h5" if write is write_hdf5 else "a.zarr"), galaxies(5), **attributes)
    all_said = {name: value for name, value in (SAID | {"image_unit": None} | said).items() if value is not None}
    refused(path, f"a.(h5|zarr).*{match}", all_said)


@pytest.mark.parametrize("write", [write_hdf5, write_zarr])
def test_arrays_of_the_wrong_kind_are_refused(tmp_path: Path, write: Any) -> None:
    def case(match: str, kind: type[InputError] = SurveyError, **changes: Any) -> None:
        content = {name: value for name, value in (galaxies(5) | changes).items() if value is not None}
        path = tmp_path / ("a.h5" if write is write_hdf5 else "a.zarr")
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        refused(write(path, content), match, SAID, kind)

    case("has no column image; found", image=None)
    case(r"shape \(5, 8, 8\); expected \(rows, bands, height, width\)", image=np.zeros((5, 8, 8)))
    case("column image is bool; expected numbers", image=np.zeros((5, 5, 8, 8), bool))
    case("no axis of length 0", image=np.zeros((5, 5, 0, 8), np.float32))
    case("ra has 4 rows and image 5", ra=np.zeros(4))
    case(r"redshift has the shape \(5, 2\)", redshift=np.zeros((5, 2)))
    case("column object_id is float32", object_id=np.zeros(5, np.float32))
    case("column magnitude is int64", magnitude=np.zeros((5, 5), np.int64))
    case("column magnitude has 3 bands; expected 5", magnitude=np.zeros((5, 3), np.float32))


def test_columns_of_fluxes_are_no_magnitudes(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", galaxies(5))
    with h5py.File(path, "a") as file:
        file["magnitude"].attrs["unit"] = "nJy"
        file["flux_r"] = np.ones(5)
    refused(path, "a.h5: column magnitude holds fluxes")
    refused(path, "a.h5: column flux_r holds fluxes", SAID | {"bands": BANDS, "magnitude_columns": ["flux_r"] * 5})


def test_positions_in_other_units_than_degrees_are_refused(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", galaxies(5))
    with h5py.File(path, "a") as file:
        file["ra"].attrs["unit"] = "rad"
    refused(path, "a.h5: column ra is in 'rad'; expected degrees")


def test_ids_that_are_no_numbers_name_their_row(tmp_path: Path) -> None:
    content = galaxies(5) | {"object_id": np.array([b"1", b"2", b"J0312", b"4", b"5"])}
    refused(write_hdf5(tmp_path / "a.h5", content), "a.h5: row 2: object_id is 'J0312'; expected a whole number")


@pytest.mark.parametrize("grouped", [True, False])
def test_a_row_of_the_multimodal_universe_without_a_band_is_named(tmp_path: Path, grouped: bool) -> None:
    path = write_multimodal(tmp_path / "a.hdf5", galaxies(9), ["ugriz"], grouped=grouped)
    with h5py.File(path, "a") as file:
        file["image/band" if grouped else "image_band"][6, 3] = b"des-y"
    refused(path, "a.hdf5: row 6: has no band 'i'; found 'des-u, des-g, des-r, des-y, des-z'")


def test_the_multimodal_universe_with_other_shapes_is_refused(tmp_path: Path) -> None:
    path = write_multimodal(tmp_path / "a.hdf5", galaxies(9), ["ugriz"], grouped=False)
    with h5py.File(path, "a") as file:
        names = file["image_band"][:, :4]
        del file["image_band"]
        file["image_band"] = names
    refused(path, r"image_band has the shape \(9, 4\)")
    path = write_multimodal(tmp_path / "b.hdf5", galaxies(9), ["ugriz"], grouped=False)
    with h5py.File(path, "a") as file:
        del file["image_band"]
        file["image_band"] = np.zeros((9, 5))
    refused(path, "image_band is float64")


@pytest.mark.parametrize("name", ["a.h5", "a.fits"])
@pytest.mark.parametrize("cut", [0, 10, 3000, -3000])
def test_a_truncated_or_other_file_is_refused(tmp_path: Path, name: str, cut: int) -> None:
    content = galaxies(20)
    path = write_hdf5(tmp_path / name, content) if name == "a.h5" else write_table(tmp_path / name, content)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    refused(path, f"{name}: .*(damaged|incomplete|expected one)")
    path.write_bytes(b"\x89 something else" * 200)
    refused(path, f"{name}: cannot be read as")


def test_hdf5_that_leaves_its_file_is_not_followed(tmp_path: Path) -> None:
    other = write_hdf5(tmp_path / "other.h5", galaxies(5))
    path = tmp_path / "a.h5"
    for link in (h5py.ExternalLink("other.h5", "/image"), h5py.SoftLink("/other")):
        with h5py.File(path, "w") as file:
            file["image"] = link
        refused(path, "a.h5: 'image' is a link to elsewhere")
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((5, 5, 8, 8), np.float32)
        layout[:] = h5py.VirtualSource(other, "image", (5, 5, 8, 8))
        file.create_virtual_dataset("image", layout)
    refused(path, "a.h5: 'image' has its data in other files")
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (5, 5, 8, 8), np.float32, external=[(str(other), 0, 6400)])
    refused(path, "a.h5: 'image' has its data in other files")


def test_hdf5_objects_are_refused(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", {"image": galaxies(2)["image"]})
    with h5py.File(path, "a") as file:
        file.create_dataset("redshift", (2,), h5py.vlen_dtype(np.float32))
    refused(path, "column redshift is object; expected numbers")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["image"] = galaxies(2)["image"]
        file.create_dataset("object_id", (2,), h5py.ref_dtype)
    refused(tmp_path / "b.h5", "b.h5: row 0: object_id is .*; expected a whole number")


def test_a_zarr_group_is_checked_before_zarr_sees_it(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", galaxies(5), 2)
    file = path / "image" / ".zarray"
    good = json.loads(file.read_text())
    for change in ({"filters": [{"id": "pickle"}]}, {"dtype": "|O", "filters": [{"id": "pickle"}]}):
        file.write_text(json.dumps(good | change))
        refused(path, "a.zarr: array 'image' is of type .* with the codec 'pickle'; expected numbers")
    file.write_text(json.dumps(good | {"dtype": "|O"}))
    refused(path, r"a.zarr: array 'image' is of type '\|O' of objects")
    file.write_text("{")
    refused(path, r"a.zarr: image/.zarray: is not JSON")
    third = write_zarr(tmp_path / "b.zarr", galaxies(5), 3)
    file = third / "image" / "zarr.json"
    good = json.loads(file.read_text())
    inner = {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "evil"}]}}
    for codec in ({"name": "numcodecs.pickle"}, inner):
        file.write_text(json.dumps(good | {"codecs": [codec]}))
        refused(third, "with the codec '(numcodecs.pickle|evil)'")


def test_a_damaged_or_missing_zarr_is_refused(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", galaxies(9), 3)
    chunk = path / "image" / "c" / "1" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    refused(path, "a.zarr: image: rows 4 to 7 cannot be read")
    (path / "zarr.json").unlink()
    refused(path, "a.zarr: is no Zarr group")
    (tmp_path / "b.zarr").write_bytes(b"PK")
    refused(tmp_path / "b.zarr", "b.zarr: is a file; expected a Zarr group")


def test_a_fits_file_without_one_table_of_images_is_refused(tmp_path: Path) -> None:
    fits.PrimaryHDU(galaxies(1)["image"][0]).writeto(tmp_path / "a.fits")
    refused(tmp_path / "a.fits", "a.fits: has 0 binary tables with a column of images.*give that")
    table = fits.BinTableHDU.from_columns([fits.Column("image", "PE()", array=[np.zeros(3)] * 2)])
    table.writeto(tmp_path / "b.fits")
    refused(tmp_path / "b.fits", "b.fits: has 0 binary tables")


def test_a_gap_among_whole_numbers_of_a_table_names_its_row(tmp_path: Path) -> None:
    content = galaxies(5)
    columns = [
        fits.Column("image", "320E", dim="(8,8,5)", array=content["image"]),
        fits.Column("object_id", "J", array=np.array([1, 2, 3, -99, 5]), null=-99),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    refused(tmp_path / "a.fits", r"a.fits: column object_id: row 3: has no value \(TNULL\)")


@pytest.mark.parametrize("name", ["s3://sky/a.h5", "s3://sky/a.zarr/", "s3://sky/a.fits"])
def test_a_remote_survey_of_these_formats_is_refused_without_a_request(tmp_path: Path, name: str) -> None:
    with pytest.raises(SurveyError, match="from local files and folders only; expected one: copy it here first"):
        skyfan.partition(name, "sky/parts", rows=5, store=tmp_path)


def test_a_missing_extra_names_what_to_install(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", galaxies(5))
    script = (
        "import sys; sys.modules['h5py'] = None\n"
        "import skyfan\n"
        f"try: skyfan.partition({str(path)!r}, 'sky/parts', rows=5, store={str(tmp_path)!r})\n"
        "except skyfan.errors.InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "h5py is not installed" in done.stdout
    assert (
        "install skyfan with its extra 'ingest', as in pip install '.[ingest]' in the folder of its repository"
        in done.stdout
    )


@pytest.mark.parametrize(
    ("unit", "said", "factor"),
    [
        ("nanomaggy", {}, 1),
        ("nanomaggies", {"zero_point": 22.5}, 1),
        ("maggy", {}, 1e9),
        ("Jy", {}, 1e9 / AB_JANSKY),
        ("uJy", {"image_unit": "uJy"}, 1e3 / AB_JANSKY),
        ("nJy", {"zero_point": 31.4}, 1 / AB_JANSKY),
        ("nmgy / pix", {}, 1),
        ("count/s", {"zero_point": 25.0}, 0.1),
        (None, {"zero_point": 20.0}, 10),
        (None, {"image_unit": "mJy"}, 1e6 / AB_JANSKY),
    ],
)
def test_every_unit_becomes_nanomaggies(unit: str | None, said: dict[str, Any], factor: float) -> None:
    assert calibrate("x", unit, ingest_options(**said)).factor == pytest.approx(factor)


def test_one_nanomaggy_is_magnitude_22_5_and_3631_jansky() -> None:
    assert abs(AB_JANSKY / 3631 - 1) < 1e-4
    assert 22.5 - 2.5 * np.log10(calibrate("x", "nJy", ingest_options()).factor) == pytest.approx(31.4, abs=1e-3)
