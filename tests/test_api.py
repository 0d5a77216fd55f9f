"""The same verbs as the command line, from Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import skyfan
from factories import expected_z, make_rows
from skyfan.errors import SkyfanError
from skyfan.host import describe_host, usable_cores


def test_a_worker_of_several_threads_gives_the_same_and_fills_the_machine_with_fewer(
    root: Path, asked: dict[str, Any], finished: skyfan.Run
) -> None:
    cores = usable_cores()
    run = skyfan.run(asked | {"result_path": "results/threads"}, store=root, threads=cores)
    assert {report.threads for report in run.reports()} == {cores}
    assert run.summary is not None
    assert run.summary.drive.workers == 1
    assert pa.table(run.predictions()).equals(pa.table(finished.predictions()))
    assert {report.machine for report in run.reports()} == {describe_host()} == set(run.summary.machines)


def test_a_run_returns_every_row_once_and_resumes_to_nothing(root: Path, asked: dict[str, Any]) -> None:
    run = skyfan.run(asked, store=root, workers=2)
    assert run.summary is not None
    assert run.summary.complete
    table = pa.table(run.predictions())
    expected = np.concatenate([expected_z(make_rows(6 + n, n)) for n in range(1, 5)])
    assert table.num_rows == run.summary.rows_in == 7 + 8 + 9 + 10
    np.testing.assert_allclose(table["z_phot"].to_numpy(), expected, rtol=1e-5)
    assert table["source"].to_pylist()[:7] == ["25MB/1.safetensors"] * 7
    assert run.verify().complete
    assert run.status().state == "complete"
    again = skyfan.run(asked, store=root)
    assert again.summary == run.summary


def test_a_stray_object_in_a_finished_run_is_seen_by_every_verb(root: Path, asked: dict[str, Any]) -> None:
    run = skyfan.run(asked, store=root)
    (root / "sky" / "results" / "one" / "predictions" / "stray.parquet").write_bytes(b"")
    assert run.status().state == "incomplete"
    assert "stray.parquet: belongs to no task of the run; delete it" in run.status().problems[0]
    assert not run.verify().complete
    again = skyfan.run(asked, store=root).summary
    assert again is not None
    assert not again.complete


def test_a_run_that_is_refused_leaves_no_folder(root: Path, asked: dict[str, Any]) -> None:
    before = sorted(root.rglob("*"))
    for change in ({"data_prefix": "none"}, {"model": "none.onnx"}, {"bucket": "new", "data_prefix": "none"}):
        with pytest.raises(SkyfanError):
            skyfan.run(asked | change, store=root)
    assert sorted(root.rglob("*")) == before
