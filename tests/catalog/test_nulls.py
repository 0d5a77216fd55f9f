"""A row keeps the outputs that are finite, in every format: what is null is null by itself, with its flag."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

import skyfan
from factories import UNUSUAL_ABOVE, doubtful_model, doubtful_rows, write_partition
from skyfan.tables import summary_rows

ROWS = 12
ABSENT = {"z_phot": [2, 4], "z_l68": [2, 3, 4], "z_u95": [2, 3, 4], "pdf": [1, 2], "anomaly_score": [2]}
FLAGS = {1: 8, 2: 2, 3: 8, 4: 8, 5: 32}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> skyfan.Run:
    """A run over `doubtful_rows`."""
    root = tmp_path_factory.mktemp("doubtful")
    write_partition(root / "sky" / "odd" / "1.safetensors", arrays=doubtful_rows(ROWS))
    model = root / "sky" / "models" / "doubtful.onnx"
    model.parent.mkdir()
    model.write_bytes(doubtful_model(unusual_above=json.dumps({"anomaly_score": UNUSUAL_ABOVE})))
    names = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "odd", "result_path": "out"}
    return skyfan.run(names | {"model": "models/doubtful.onnx", "batch_size": 5}, store=root, workers=1)


@pytest.fixture(scope="module")
def table(run: skyfan.Run) -> Any:
    return pa.table(run.predictions())


def absent(column: Any) -> list[int]:
    """Rows without a value, of an Arrow column."""
    return [row for row, value in enumerate(column.to_pylist()) if value is None]


def test_arrow(table: Any) -> None:
    assert {name: absent(table[name]) for name in ABSENT} == ABSENT
    assert {row: flag for row, flag in enumerate(table["flags"].to_pylist()) if flag} == FLAGS
    assert table["anomaly_score"][5].as_py() == 99
    assert table["pdf"][3].as_py() == [1.0] * 5


def test_parquet(run: skyfan.Run, table: Any, tmp_path: Path) -> None:
    found = pq.read_table(run.catalog(tmp_path / "c.parquet"))
    for name in ABSENT:
        assert found[name].equals(table[name]), name


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_fits_and_votable(run: skyfan.Run, table: Any, tmp_path: Path, form: Any) -> None:
    found = Table.read(run.catalog(tmp_path / "c", form), format=form)
    for name, rows in ABSENT.items():
        mask = np.ma.getmaskarray(np.ma.asarray(found[name])).reshape(ROWS, -1)
        assert np.flatnonzero(mask.all(axis=1)).tolist() == np.flatnonzero(mask.any(axis=1)).tolist() == rows
        given = [value for value in table[name].to_pylist() if value is not None]
        np.testing.assert_array_equal(np.asarray(found[name][~mask[:, 0]]), np.array(given, np.float32))


def test_hats(run: skyfan.Run, table: Any, tmp_path: Path) -> None:
    files = run.catalog(tmp_path / "c", "hats").rglob("Npix=*.parquet")
    found = pa.concat_tables([pq.read_table(file, partitioning=None) for file in files]).sort_by("row")
    for name in ABSENT:
        assert found[name].to_pylist() == table[name].to_pylist(), name


def test_the_summary_counts_the_flags_and_shows_them(run: skyfan.Run) -> None:
    summary = run.summary
    assert summary is not None
    assert summary.complete
    assert summary.flags == {"non_finite_magnitude": 1, "non_finite_output": 3, "unusual_output": 1}
    assert summary.rows_flagged == 5
    shown = dict(summary_rows(summary, run.where))["flagged"]
    assert shown == "5 rows (non_finite_magnitude 1, non_finite_output 3, unusual_output 1)"
