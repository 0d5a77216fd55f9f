"""Every format, end to end: what was written arrives, in order, through `skyfan partition` and `skyfan run`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from astropy.io import fits
from astropy.table import Table
from click.testing import CliRunner
from numpy.typing import NDArray

import skyfan
from factories import SIDE, expected_z, tiny_model
from ingest.surveys import (
    BANDS,
    SAID,
    SCALE,
    catalog_of,
    galaxies,
    header,
    multi_extension,
    write_cubes,
    write_folder,
    write_hdf5,
    write_multimodal,
    write_table,
    write_zarr,
)
from skyfan.cli import cli

ALL = ("image", "magnitude", "redshift", "object_id", "ra", "dec")
MAGNITUDES = ",".join(f"mag_{band}" for band in BANDS)


def read_back(store: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    files = sorted((store / "sky" / "parts").glob("*.safetensors"), key=lambda path: int(path.stem))
    parts = [safetensors.numpy.load_file(path) for path in files]
    with safetensors.safe_open(files[0], "numpy") as file:
        metadata = file.metadata()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, metadata


def split(source: Path, store: Path, **said: Any) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    skyfan.partition(source, "sky/parts", rows=4, store=store, **said)
    return read_back(store)


def same(found: dict[str, NDArray[Any]], content: dict[str, NDArray[Any]], names: tuple[str, ...] = ALL) -> None:
    for name in names:
        assert found[name].dtype.isnative
        np.testing.assert_allclose(found[name], content[name], rtol=1e-6, err_msg=name)


def folder_with_catalog(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    catalog_of(content)[::-1].write(tmp / "objects.csv")
    source = write_folder(tmp / "cutouts", content, BUNIT="nanomaggy")
    return source, ["--catalog", str(tmp / "objects.csv"), "--magnitude-columns", MAGNITUDES]


def cubes_with_catalog(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    catalog_of(content).write(tmp / "objects.vot", format="votable")
    bands = {f"BAND{number}": band for number, band in enumerate(BANDS, 1)}
    source = write_cubes(tmp / "cubes", content, **bands)
    said = ["--image-unit", "nanomaggy", "--catalog", str(tmp / "objects.vot"), "--magnitude-columns", MAGNITUDES]
    return source, said


def table(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    return write_table(tmp / "survey.fits", content, BANDS=BANDS, BUNIT="nanomaggy"), []


def hdf5(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    return write_hdf5(tmp / "survey.h5", content, bands=BANDS), ["--zero-point", "22.5"]


def multimodal_flat(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    path = write_multimodal(tmp / "001-of-001.hdf5", content, ["ugriz", "zirgu", "gruzi"], grouped=False)
    return path, ["--image-unit", "nanomaggy", "--magnitude-columns", ",".join(f"MAG_{band}" for band in BANDS)]


def multimodal_grouped(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    path = write_multimodal(tmp / "001-of-001.hdf5", content, ["zirgu"], grouped=True)
    return path, ["--image-unit", "nanomaggy", "--magnitude-columns", ",".join(f"MAG_{band}" for band in BANDS)]


def zarr_2(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    return write_zarr(tmp / "survey.zarr", content, 2, image_unit="nanomaggy"), []


def zarr_3(tmp: Path, content: dict[str, NDArray[Any]]) -> tuple[Path, list[str]]:
    return write_zarr(tmp / "a-folder", content, 3, bands=list(BANDS), image_unit="nanomaggy"), []


MAKERS: list[Callable[..., tuple[Path, list[str]]]] = [
    folder_with_catalog,
    cubes_with_catalog,
    table,
    hdf5,
    multimodal_flat,
    multimodal_grouped,
    zarr_2,
    zarr_3,
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_survey_becomes_partitions_and_a_catalogue(
    tmp_path: Path, make: Callable[..., tuple[Path, list[str]]]
) -> None:
    content, store = galaxies(), tmp_path / "store"
    source, options = make(tmp_path, content)
    size = ["--bands", BANDS, "--size-pixels", str(SIDE), "--magnitude-system", "AB", "--survey", "mine"]
    command = ["partition", str(source), "sky/parts", "--rows", "4", "--store", str(store), *size, *options]
    done = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert "3 partitions, 11 rows" in done.output
    found, metadata = read_back(store)
    same(found, content)
    assert metadata["bands"] == BANDS
    assert (metadata["image_unit"], metadata["magnitude_system"], metadata["survey"]) == ("nanomaggy", "AB", "mine")
    tiny_model(store / "sky" / "tiny.onnx")
    payload = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "parts", "result_path": "r", "model": "tiny.onnx"}
    run = skyfan.run(payload, store=store, workers=1)
    assert run.summary.complete
    rows = run.predictions().read_all()
    np.testing.assert_allclose(np.asarray(rows["z_phot"]), expected_z(content), rtol=1e-4, atol=1e-5)
    assert rows["object_id"].to_pylist() == content["object_id"].tolist()


def test_positions_and_scale_come_from_the_wcs_and_ids_from_the_names(tmp_path: Path) -> None:
    content = galaxies()
    source = write_folder(tmp_path / "cutouts", content, BUNIT="nmgy", key="FILTER")
    found, metadata = split(source, tmp_path / "store", size_pixels=SIDE)
    same(found, content, ("image", "object_id", "ra", "dec"))
    assert metadata["bands"] == BANDS
    assert float(metadata["pixel_scale_arcsec"]) == pytest.approx(SCALE)


def test_a_larger_image_is_cut_about_its_centre_and_its_position_is_that_of_the_cut(tmp_path: Path) -> None:
    content = galaxies(3)
    large = np.zeros((3, 5, 13, 12), np.float32)
    large[..., 2:10, 2:10] = content["image"]
    (tmp_path / "cutouts").mkdir()
    for row in range(3):
        head = header(content["ra"][row], content["dec"][row], BUNIT="nanomaggy")
        head["CRPIX1"], head["CRPIX2"] = 2 + 4.5, 2 + 4.5
        multi_extension(tmp_path / "cutouts" / f"{row}.fits", large[row], BANDS, head, "EXTNAME")
    found, _ = split(tmp_path / "cutouts", tmp_path / "store", size_pixels=SIDE)
    same(found, content, ("image", "ra", "dec"))


def test_other_frames_become_icrs(tmp_path: Path) -> None:
    (tmp_path / "cutouts").mkdir()
    head = header(0, 0, BUNIT="nanomaggy")
    head["CTYPE1"], head["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    multi_extension(tmp_path / "cutouts" / "a.fits", galaxies(1)["image"][0], BANDS, head, "EXTNAME")
    found, _ = split(tmp_path / "cutouts", tmp_path / "store", size_pixels=SIDE)
    np.testing.assert_allclose([found["ra"][0], found["dec"][0]], [266.405, -28.936], atol=1e-3)
    assert "object_id" not in found


def test_padding_is_zero_and_counted(tmp_path: Path) -> None:
    content = galaxies(5)
    path = write_hdf5(tmp_path / "a.h5", content, bands=BANDS, image_unit="nanomaggy")
    found, metadata = split(path, tmp_path / "store", size_pixels=SIDE + 3, pad=True, magnitude_system="AB")
    assert found["image"].shape == (5, 5, SIDE + 3, SIDE + 3)
    np.testing.assert_array_equal(found["image"][:, :, 2:10, 2:10], content["image"])
    assert np.abs(found["image"]).sum() == pytest.approx(np.abs(content["image"]).sum())
    assert found["padded_pixels"].tolist() == [(SIDE + 3) ** 2 - SIDE**2] * 5
    assert "zeros" in metadata["padding"]


def test_padding_of_files_is_counted_a_file(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "cutouts", galaxies(2), BUNIT="nanomaggy")
    large = np.zeros((5, 12, 12), np.float32)
    multi_extension(source / "9999.fits", large, BANDS, header(1, 1, 12, BUNIT="nanomaggy"), "EXTNAME")
    found, _ = split(source, tmp_path / "store", size_pixels=10, pad=True)
    assert found["padded_pixels"].tolist() == [36, 36, 0]


@pytest.mark.parametrize("make", [hdf5, zarr_3, table], ids=lambda make: make.__name__)
def test_another_order_of_bands_is_taken_by_name(tmp_path: Path, make: Callable[..., tuple[Path, list[str]]]) -> None:
    content = galaxies()
    source, _ = make(tmp_path, content)
    said = SAID | ({"bands": "zrg"})
    found, metadata = split(source, tmp_path / "store", **said)
    np.testing.assert_array_equal(found["image"], content["image"][:, [4, 2, 1]])
    np.testing.assert_array_equal(found["magnitude"], content["magnitude"][:, [4, 2, 1]])
    assert metadata["bands"] == "zrg"


def test_long_names_of_bands_are_kept_as_given(tmp_path: Path) -> None:
    path = write_multimodal(tmp_path / "a.hdf5", galaxies(), ["ugriz", "zirgu"], grouped=False)
    found, metadata = split(path, tmp_path / "store", image_unit="nanomaggy", size_pixels=SIDE, bands="des-r,des-g")
    np.testing.assert_array_equal(found["image"], galaxies()["image"][:, [2, 1]])
    assert metadata["bands"] == "des-r,des-g"
    assert float(metadata["pixel_scale_arcsec"]) == pytest.approx(0.262)


def test_scaled_and_unsigned_whole_numbers_of_fits_are_what_they_stand_for(tmp_path: Path) -> None:
    content = galaxies(4)
    counts = np.random.default_rng(0).integers(0, 60_000, (4, 5, SIDE, SIDE)).astype(np.uint16)
    ids = np.array([1, 2**62 + 1, 2**62 + 2, 2**63 - 1], np.uint64)
    (tmp_path / "cutouts").mkdir()
    for row in range(4):
        head = header(content["ra"][row], content["dec"][row], BUNIT="adu")
        multi_extension(tmp_path / "cutouts" / f"{row}.fits", counts[row], BANDS, head, "EXTNAME")
    found, metadata = split(tmp_path / "cutouts", tmp_path / "store", size_pixels=SIDE, zero_point=25.0)
    np.testing.assert_allclose(found["image"], counts / 10.0, rtol=1e-5)
    assert metadata["zero_point"] == "25.0"
    width = 5 * SIDE**2
    columns = [
        fits.Column("image", f"{width}I", dim=f"({SIDE},{SIDE},5)", array=counts, bzero=32768),
        fits.Column("object_id", "K", array=ids, bzero=2**63),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "table.fits")
    found, _ = split(tmp_path / "table.fits", tmp_path / "second", size_pixels=SIDE, zero_point=25.0, bands=BANDS)
    np.testing.assert_allclose(found["image"], counts / 10.0, rtol=1e-5)
    assert found["object_id"].tolist() == ids.tolist()


def test_compressed_images_are_read(tmp_path: Path) -> None:
    (tmp_path / "cutouts").mkdir()
    counts = np.arange(5 * 32 * 32, dtype=np.int32).reshape(5, 32, 32)
    hdus: list[Any] = [fits.PrimaryHDU()]
    for plane, band in zip(counts, BANDS, strict=True):
        hdus.append(fits.CompImageHDU(plane, header(10, 20, 32, BUNIT="nanomaggy"), name=band))
    fits.HDUList(hdus).writeto(tmp_path / "cutouts" / "7.fits")
    found, _ = split(tmp_path / "cutouts", tmp_path / "store")
    np.testing.assert_array_equal(found["image"][0], counts)


@pytest.mark.parametrize("suffix", ["csv", "fits", "vot"])
def test_a_catalogue_is_joined_by_file_name_too(tmp_path: Path, suffix: str) -> None:
    content = galaxies()
    objects = catalog_of(content)
    objects["where"] = [f"{value}.fits" for value in content["object_id"]]
    objects["object_id"] += 10**15
    path = tmp_path / f"objects.{suffix}"
    objects[::-1].write(path, **({"format": "votable"} if suffix == "vot" else {}))
    source = write_folder(tmp_path / "cutouts", content)
    said = SAID | {"catalog": path, "columns": {"file": "where"}, "magnitude_columns": MAGNITUDES}
    found, _ = split(source, tmp_path / "store", **said)
    same(found, content | {"object_id": content["object_id"] + 10**15})


def test_a_catalogue_adds_what_a_file_lacks_by_object_id(tmp_path: Path) -> None:
    content = galaxies()
    path = write_hdf5(tmp_path / "a.h5", {name: content[name] for name in ("image", "object_id")}, bands=BANDS)
    catalog_of(content)[::-1].write(tmp_path / "objects.csv")
    said = SAID | {"catalog": tmp_path / "objects.csv", "magnitude_columns": MAGNITUDES}
    found, _ = split(path, tmp_path / "store", **said)
    same(found, content)


def test_a_gap_in_a_catalogue_is_nan(tmp_path: Path) -> None:
    content = galaxies()
    objects = Table(catalog_of(content), masked=True)
    objects["redshift"].mask[2] = True
    objects.write(tmp_path / "objects.csv")
    source = write_folder(tmp_path / "cutouts", content)
    found, _ = split(source, tmp_path / "store", catalog=tmp_path / "objects.csv", **SAID)
    assert np.flatnonzero(np.isnan(found["redshift"])).tolist() == [2]


def test_npz_goes_on_as_before_and_takes_no_such_options(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **galaxies())
    found, _ = split(tmp_path / "a.npz", tmp_path / "store")
    same(found, galaxies())
    with pytest.raises(skyfan.errors.SurveyError, match="are for FITS, HDF5 and Zarr; expected none"):
        split(tmp_path / "a.npz", tmp_path / "store", bands="ugriz")
