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
from skyfan.tables import summary_rows


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
    assert (
        "stray.parquet: belongs to no task of the run; delete it and run the payload again" in run.status().problems[0]
    )
    assert not run.verify().complete
    again = skyfan.run(asked, store=root).summary
    assert again is not None
    assert not again.complete


def test_a_run_that_was_mended_says_that_its_summary_is_old_until_it_is_run_again(
    root: Path, asked: dict[str, Any]
) -> None:
    run = skyfan.run(asked, store=root)
    stray = root / "sky" / "results" / "one" / "predictions" / "stray.parquet"
    stray.write_bytes(b"")
    skyfan.run(asked, store=root)
    stray.unlink()
    standing = run.status()
    assert (standing.state, standing.tasks_ok) == ("incomplete", 4)
    assert standing.problems == [
        "its summary was written before this was mended; run the payload again: it does nothing but sum up"
    ]
    again = skyfan.run(asked, store=root)
    assert again.summary is not None
    assert (again.summary.complete, again.summary.drive.tasks) == (True, 0)
    assert (run.status().state, run.status().problems) == ("complete", [])


def test_a_resumed_run_says_of_which_tasks_its_wall_clock_and_its_cost_are(root: Path, asked: dict[str, Any]) -> None:
    def shown() -> dict[str, str]:
        run = skyfan.run(asked, store=root, workers=1)
        assert run.summary is not None
        return dict(summary_rows(run.summary, run.where))

    whole = shown()
    (root / "sky" / "results" / "one" / "reports" / "00002.json").unlink()
    resumed = shown()
    for name in ("wall clock", "cost"):
        assert "of this drive" not in whole[name]
        assert resumed[name].endswith(" (of this drive; 3 tasks were done before)")


def test_a_run_that_is_refused_leaves_no_folder(root: Path, asked: dict[str, Any]) -> None:
    before = sorted(root.rglob("*"))
    for change in ({"data_prefix": "none"}, {"model": "none.onnx"}, {"bucket": "new", "data_prefix": "none"}):
        with pytest.raises(SkyfanError):
            skyfan.run(asked | change, store=root)
    assert sorted(root.rglob("*")) == before
