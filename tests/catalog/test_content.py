"""Types, nulls, chunks and pixels, on contents made by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

import skyfan
from skyfan.catalog import content as module
from skyfan.catalog.columns import describe
from skyfan.catalog.content import Content
from skyfan.catalog.fits import write_fits
from skyfan.catalog.hats import MAX_ORDER, align, write_hats
from skyfan.catalog.votable import write_votable
from skyfan.catalog.votable_parquet import write_parquet
from skyfan.errors import InputError, PartitionError

Write = Callable[[Content, Path, Any], None]
WRITERS = {"fits": write_fits, "votable": write_votable}


def silent(done: int, total: int) -> None:
    """Watch nothing."""


def made_of(table: pa.Table, outputs: str = "{}", *, batch: int = 3, rows: int | None = None) -> Content:
    """Make a content of a table, in small batches."""
    longest = max((len(module.encode_text(key)) for key in table["source"].to_pylist()), default=1)
    columns = describe(table.schema, outputs, longest)
    return Content("sky/made", columns, {}, table.num_rows if rows is None else rows, lambda: table.to_batches(batch))


def sources(rows: int) -> list[str]:
    return [f"s/{row // 4}.pt" for row in range(rows)]


TYPES = [pa.bool_(), pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("kind", [*TYPES, pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_every_type_keeps_its_values_and_its_nulls(kind: Any, form: str, tmp_path: Path) -> None:
    most = 1 if kind == pa.bool_() else 1.5 if pa.types.is_floating(kind) else 2 ** (kind.bit_width - 1) - 1
    values = [most, None, 0, 1]
    numbers = pa.array(values, pa.float64() if isinstance(most, float) else pa.int64()).cast(kind)
    pairs = pa.FixedSizeListArray.from_arrays(
        pa.concat_arrays([numbers, numbers]).take(pa.array([0, 4, 1, 5, 2, 6, 3, 7])), 2
    )
    lists = pairs.take(pa.array([0, None, 2, 3]))
    table = pa.table({"source": sources(4), "number": numbers, "pair": lists})
    path = tmp_path / "c"
    WRITERS[form](made_of(table), path, silent)
    found = Table.read(path, format=form)
    assert found["number"].tolist() == values
    assert found["pair"].tolist() == [[most, most], [None, None], [0, 0], [1, 1]]


@pytest.mark.parametrize("form", WRITERS)
def test_rows_of_many_chunks_follow_each_other(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 7)
    table = pa.table({"source": sources(100), "row": np.arange(100), "odd": pa.array(range(100), pa.int16())})
    seen: list[tuple[int, int]] = []
    path = tmp_path / "c"
    WRITERS[form](made_of(table), path, lambda done, total: seen.append((done, total)))
    found = Table.read(path, format=form)
    assert found["row"].tolist() == found["odd"].tolist() == list(range(100))
    assert found["source"].astype(str).tolist() == sources(100)
    assert seen[:2] == [(6, 100), (12, 100)]
    assert seen[-1] == (100, 100)


def test_small_batches_become_one_row_group(tmp_path: Path) -> None:
    write_parquet(made_of(pa.table({"source": sources(100)})), tmp_path / "c", silent)
    assert pq.read_metadata(tmp_path / "c").num_row_groups == 1


@pytest.mark.parametrize("form", WRITERS)
def test_keys_of_other_letters_are_escaped(form: str, tmp_path: Path) -> None:
    table = pa.table({"source": ["ciel/é.pt", "a.pt"]})
    WRITERS[form](made_of(table), tmp_path / "c", silent)
    assert Table.read(tmp_path / "c", format=form)["source"].astype(str).tolist() == [r"ciel/\xe9.pt", "a.pt"]


def test_hats_has_no_empty_catalogue(tmp_path: Path) -> None:
    table = pa.table({"source": ["a"], "ra": [1.0], "dec": [2.0]}).slice(0, 0)
    with pytest.raises(InputError, match="there are no rows, and HATS has no empty catalogue"):
        write_hats(made_of(table), tmp_path, silent)


@pytest.mark.parametrize("form", WRITERS)
def test_an_empty_catalogue_has_its_columns(form: str, tmp_path: Path) -> None:
    table = pa.table({"source": ["a"], "ra": [1.0], "dec": [2.0]}).slice(0, 0)
    WRITERS[form](made_of(table), tmp_path / "c", silent)
    found = Table.read(tmp_path / "c", format=form)
    assert (len(found), found.colnames) == (0, ["source", "ra", "dec"])


def test_a_number_too_large_for_any_format(tmp_path: Path) -> None:
    table = pa.table({"source": ["a"], "number": pa.array([2**63], pa.uint64())})
    with pytest.raises(InputError, match="that no signed 64-bit integer can hold"):
        write_fits(made_of(table), tmp_path / "c", silent)


def test_rows_that_are_not_there_are_missed(tmp_path: Path) -> None:
    with pytest.raises(PartitionError, match="4 rows came out of the parts; expected 5, as reported"):
        write_fits(made_of(pa.table({"source": sources(4)}), rows=5), tmp_path / "c", silent)


@pytest.mark.parametrize("outputs", ["", "[]", "{", '{"z": 1}', '{"z": {"unit": 5, "ucd": "no such: word"}}', "null"])
def test_a_model_that_says_nothing_of_use_is_no_hindrance(outputs: str) -> None:
    column = describe(pa.schema([("z", pa.float32())]), outputs, 1)[0]
    assert (column.unit, column.ucd, column.description, column.nullable) == ("", "", "", True)


@pytest.mark.parametrize("form", [*WRITERS, "parquet"])
def test_any_unit_and_text_of_a_model_are_held(form: str, tmp_path: Path) -> None:
    table = pa.table({"source": ["a"], "z": [1.0]})
    outputs = '{"z": {"unit": "furlong", "description": "a <b> & \\"c\\"\\nof Ångström, ' + "long " * 40 + '"}}'
    writer: Write = {**WRITERS, "parquet": write_parquet}[form]
    writer(made_of(table, outputs), tmp_path / "c", silent)
    if form == "fits":
        assert b"furlong" in (tmp_path / "c").read_bytes()
    if form == "votable":
        assert 'a <b> & "c" of ?ngstr?m, long' in " ".join(
            Table.read(tmp_path / "c", format=form)["z"].description.split()
        )


def test_the_files_pixels_are_the_largest_that_hold_so_many_rows() -> None:
    counts = np.zeros(12 * 4**2, np.int64)
    counts[0:16] = 1  # pixel 0 of order 0: 16 rows
    counts[16:20] = (0, 9, 1, 0)  # in pixel 1: its quarter 4 has 10
    counts[20] = 4  # and its quarter 5 has 4
    counts[100] = 1
    pixels, chosen = align(counts, 10)
    assert set(pixels) == {(1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (0, 6)}
    assert [pixels[number] for number in chosen[[0, 4, 17, 20, 100]]] == [(1, 0), (1, 1), (1, 4), (1, 5), (0, 6)]
    assert (chosen >= 0)[counts > 0].all()


def test_a_finest_pixel_may_hold_more() -> None:
    counts = np.zeros(12 * 4**MAX_ORDER, np.int64)
    counts[7] = 100
    pixels, chosen = align(counts, 10)
    assert pixels == [(MAX_ORDER, 7)]
    assert chosen[7] == 0
    assert (np.delete(chosen, 7) == -1).all()


def test_parts_say_what_their_models_outputs_are(run: skyfan.Run) -> None:
    assert '"unit": "mag"' in run.metadata["outputs"]
    assert run.metadata["model"] == "models/tiny.onnx"
