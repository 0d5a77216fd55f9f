"""Each format, read by the library that its users read it with, holds the run's predictions."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.table import Table

import skyfan

BAD_ROW = 7 + 3
"""Row 3 of the second partition has no value."""

COLUMNS = ["source", "row", "object_id", "ra", "dec", "z_spec", "z_phot", "pdf", "flags"]


def same(table: Table, run: skyfan.Run) -> None:
    """Hold a catalogue that astropy read against the parts."""
    expected = pa.table(run.predictions())
    assert table.colnames == COLUMNS
    for name in set(COLUMNS) - {"z_phot", "pdf"}:
        np.testing.assert_array_equal(np.asarray(table[name]).astype(str), expected[name].to_numpy().astype(str))
    good = np.arange(len(table)) != BAD_ROW
    assert table["z_phot"].mask.tolist() == (~good).tolist()
    np.testing.assert_array_equal(table["z_phot"][good], expected["z_phot"].to_numpy()[good])
    assert table["pdf"].shape == (34, 10)
    assert table["pdf"].mask.all(axis=1).tolist() == (~good).tolist()
    lists = np.array([values for values in expected["pdf"].to_pylist() if values], np.float32)
    np.testing.assert_array_equal(table["pdf"][good], lists)


def test_fits(run: skyfan.Run, tmp_path: Path) -> None:
    path = run.catalog(tmp_path / "c.fits", "fits")
    assert path == tmp_path / "c.fits"
    table = Table.read(path)
    same(table, run)
    assert table["ra"].unit == u.deg
    assert table["pdf"].unit == u.mag
    assert path.stat().st_size % 2880 == 0
    header = fits.getheader(path, 1)
    said = {header[f"TTYPE{n}"]: (header.get(f"TUCD{n}"), header.get(f"TCOMM{n}")) for n in range(1, 10)}
    assert said["ra"] == ("pos.eq.ra;meta.main", "Right ascension")
    assert said["z_phot"] == ("src.redshift.phot", "photometric redshift")
    assert said["pdf"] == ("phot.mag", "the magnitudes, twice")
    assert "skyfan_complete: yes" in list(header["HISTORY"])
    assert "skyfan_run: sky/results/one" in list(header["HISTORY"])
    with fits.open(path) as hdus:
        hdus.verify("exception")


def test_votable(run: skyfan.Run, tmp_path: Path) -> None:
    path = run.catalog(tmp_path / "c.vot", "votable")
    same(Table.read(path, format="votable"), run)
    described(votable.parse(path, verify="exception"))
    assert votable.validate(path, output=None)


def test_parquet(run: skyfan.Run, tmp_path: Path) -> None:
    path = run.catalog(tmp_path / "c.parquet")
    table = pq.read_table(path)
    expected = pa.table(run.predictions())
    assert table.column_names == COLUMNS
    assert table.drop_columns("flags").equals(expected.drop_columns("flags").cast(table.schema.remove(8)))
    assert table["flags"].to_pylist() == expected["flags"].to_pylist()
    assert table["pdf"].to_pylist()[BAD_ROW] is None
    described(in_footer(path))


def in_footer(path: Path) -> Any:
    """Return the VOTable in a Parquet file's footer."""
    footer = pq.read_schema(path).metadata
    assert footer[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    return votable.parse(io.BytesIO(footer[b"IVOA.VOTable-Parquet.content"]), verify="exception")


def described(file: Any, before: Mapping[str, str] = MappingProxyType({})) -> None:
    """Check what a VOTable says of the columns; `before` them are others, with these UCDs."""
    table = file.get_first_table()
    fields = {field.name: field for field in table.fields}
    assert list(fields) == [*before, *COLUMNS]
    assert {name: fields.pop(name).ucd for name in before} == before
    assert {name: field.ucd for name, field in fields.items()} == {
        "source": "meta.id;meta.file",
        "row": "meta.record",
        "object_id": "meta.id;meta.main",
        "ra": "pos.eq.ra;meta.main",
        "dec": "pos.eq.dec;meta.main",
        "z_spec": "src.redshift",
        "z_phot": "src.redshift.phot",
        "pdf": "phot.mag",
        "flags": "meta.code",
    }
    assert (fields["ra"].unit, fields["pdf"].unit, fields["z_phot"].unit) == (u.deg, u.mag, None)
    assert fields["pdf"].arraysize == "10"
    assert fields["z_phot"].description == "photometric redshift"
    flags = " ".join(fields["flags"].description.split())
    assert flags.endswith("4 dead_band, 8 non_finite_output, 16 out_of_range, 32 unusual_output")
    assert {info.name: info.value for info in file.resources[0].infos}["skyfan_complete"] == "yes"


@pytest.fixture
def lsdb() -> Any:
    """The library; its first import warns of an option of pandas that it sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lsdb

        yield lsdb


def test_hats(run: skyfan.Run, tmp_path: Path, lsdb: Any) -> None:
    path = run.catalog(tmp_path / "c", "hats")
    catalog = lsdb.open_catalog(path)
    frame = catalog.compute()
    expected = pa.table(run.predictions()).to_pandas().set_index("object_id")
    assert len(frame) == catalog.hc_structure.catalog_info.total_rows == 34
    assert frame.index.is_monotonic_increasing
    found = frame.set_index("object_id").loc[expected.index]
    for name in ("ra", "dec", "z_spec", "source", "row", "flags"):
        assert found[name].tolist() == expected[name].tolist()
    assert found["z_phot"].isna().tolist() == expected["z_phot"].isna().tolist()
    assert found["z_phot"].dropna().tolist() == expected["z_phot"].dropna().tolist()
    assert np.array_equal(found["pdf"].iloc[0], expected["pdf"].iloc[0])
    around = catalog.cone_search(ra=expected["ra"].iloc[0], dec=expected["dec"].iloc[0], radius_arcsec=1).compute()
    assert around["object_id"].tolist() == [expected.index[0]]
    assert "skyfan_complete=yes" in (path / "hats.properties").read_text()
    assert not list(path.glob(".spool*"))
    for file in (*path.rglob("Npix=*.parquet"), path / "dataset" / "_common_metadata"):
        assert pq.read_schema(file).names == ["_healpix_29", *COLUMNS]
        described(in_footer(file), {"_healpix_29": "pos.healpix"})


def test_hats_is_valid_by_its_own_library(run: skyfan.Run, tmp_path: Path) -> None:
    from hats.io.validation import is_valid_catalog

    path = run.catalog(tmp_path / "c", "hats")
    assert is_valid_catalog(path, strict=True, verbose=False)


def test_the_same_run_gives_the_same_bytes(run: skyfan.Run, tmp_path: Path) -> None:
    for form in ("parquet", "fits", "votable"):
        one, two = (run.catalog(tmp_path / f"{number}.{form}", form).read_bytes() for number in (1, 2))  # type: ignore[arg-type]
        assert one == two, form
