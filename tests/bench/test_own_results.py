"""What skyfan's own runs leave for the original's scripts, imported as the original's results are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skyfan
from bench.results import one

Edit = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def ours(finished: skyfan.Run, root: Path, tmp_path: Path) -> Path:
    """What one of skyfan's own runs leaves, without its reports and parts."""
    folder = tmp_path / "ours"
    folder.mkdir()
    for name in ("combined_data.json", "summary.json"):
        shutil.copy(root / "sky" / "results" / "one" / name, folder / name)
    return folder


def test_skyfans_own_results_say_more(ours: Path, finished: skyfan.Run) -> None:
    run = one(ours)
    summary = finished.summary
    assert summary is not None
    assert (run.verdict, run.measurement.problem) == ("complete", "")
    assert run.measurement.rows == summary.rows_out == 34
    assert run.measurement.bytes_in == summary.bytes_in
    assert run.measurement.task_s_p50 == pytest.approx(summary.task_seconds.median, abs=1e-3)
    assert run.measurement.peak_memory_mb_max == summary.worker_peak_memory_mb.max
    assert run.measurement.run_wall_s is None


@pytest.mark.parametrize(
    ("edit", "verdict", "problem"),
    [
        (lambda items: items[:-1], "partial", "3 records, expected 4 by its summary.json"),
        (lambda items: [items[0], *items[2:]], "partial", "1 rank below 3 without a record"),
        (lambda items: [items[0], *items[:3]], "mixed", "1 rank more than once"),
    ],
)
def test_skyfans_own_results_that_are_not_whole(edit: Edit, verdict: str, problem: str, ours: Path) -> None:
    path = ours / "combined_data.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    run = one(ours)
    assert run.verdict == verdict
    assert problem in run.measurement.problem


def test_a_run_that_its_summary_does_not_call_complete_is_not(ours: Path) -> None:
    path = ours / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"complete": False, "problems": ["a row is\nlost", "other"]}))
    run = one(ours)
    assert (run.verdict, run.measurement.complete) == ("partial", False)
    assert run.measurement.problem.endswith("not complete: a row is?lost")


@pytest.mark.parametrize(
    ("payload", "verdict"),
    [
        ({"file_limit": 9}, "unclear"),
        ({"world_size": 9}, "unclear"),
        ({"file_limit": 4}, "complete"),
        ({"world_size": 4}, "complete"),
        ({"file_limit": 3}, "mixed"),
    ],
)
def test_skyfans_payload_says_only_the_most(payload: Any, verdict: str, ours: Path) -> None:
    (ours / "summary.json").unlink()
    (ours / "payload.json").write_text(json.dumps(payload))
    assert one(ours).verdict == verdict
