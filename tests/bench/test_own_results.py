"""What skyfan's own runs leave for the original's scripts, imported as the original's results are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skyfan
from bench.results import one, record
from scripted import SCRIPT, script_run
from skyfan.bench.importing import import_results
from skyfan.bench.table import seed_table, table_rows
from skyfan.storage import Store

Edit = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def ours(finished: skyfan.Run, root: Path, tmp_path: Path) -> Path:
    """What one of skyfan's own runs leaves, without its reports and parts."""
    folder = tmp_path / "ours"
    folder.mkdir()
    for name in ("combined_data.json", "summary.json"):
        shutil.copy(root / "sky" / "results" / "one" / name, folder / name)
    return folder


@pytest.fixture
def scripted(store: Store, asked: dict[str, Any], root: Path, tmp_path: Path) -> Path:
    """What a run of a script leaves, whose results are as the original's own."""
    script_run(store, asked, results=(0, 1, 2, 3))
    shutil.copytree(root / "sky" / "results" / "one", tmp_path / "scripted")
    write_records(tmp_path / "scripted", [of_script(number) for number in range(1, 5)])
    return tmp_path / "scripted"


def of_script(number: int, **changes: Any) -> dict[str, Any]:
    return record(number, data_path=f"25MB/{number}.safetensors", result_path="results/one", **changes)


def write_records(folder: Path, items: list[dict[str, Any]]) -> None:
    (folder / "combined_data.json").write_text(json.dumps(items))


def change_summary(folder: Path, **changes: Any) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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
    change_summary(ours, complete=False, problems=["a row is\nlost", "other"])
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


def test_the_summary_says_what_ran_it_and_the_payload_on_which_data(ours: Path, finished: skyfan.Run) -> None:
    summary = finished.summary
    assert summary is not None
    assert summary.model is not None
    found = one(ours).measurement
    assert (found.engine, found.machine, found.model) == ("local", summary.machines[0], "models/tiny.onnx")
    assert (found.model_sha256, found.skyfan) == (summary.model.sha256, skyfan.__version__)
    assert (found.threads, found.workers) == (1, 1)
    assert found.data == "bucket not known, of a run in sky/25MB"
    (ours / "payload.json").write_text(json.dumps({"data_bucket": "survey"}))
    assert one(ours).measurement.data == "survey/25MB"


@pytest.mark.parametrize(
    ("changes", "payload"),
    [
        ({"model": {"name": "models/other.onnx", "sha256": "0" * 64}}, {}),
        ({"machines": ["another machine"]}, {}),
        ({"drive": {"started_at": "", "run_wall_s": 1.0, "map_wall_s": 1.0, "engine": "dask", "tasks": 4}}, {}),
        ({"versions": {"skyfan": ["0.0.1"]}}, {}),
        ({"run": "other/results/one"}, {}),
        ({}, {"data_bucket": "other"}),
    ],
)
def test_runs_that_differ_in_what_ran_them_never_share_a_row(
    changes: Any, payload: Any, ours: Path, tmp_path: Path
) -> None:
    shutil.copytree(ours, tmp_path / "both" / "1")
    shutil.copytree(ours, tmp_path / "both" / "2")
    measurements = import_results(tmp_path / "both").measurements
    assert len(table_rows(measurements).rows) == 1
    (tmp_path / "both" / "2" / "payload.json").write_text(json.dumps(payload))
    change_summary(tmp_path / "both" / "2", **changes)
    measurements = import_results(tmp_path / "both").measurements
    assert [run.complete for run in measurements] == [True, True]
    assert len(table_rows(measurements).rows) == 2
    assert "imported results of skyfan " in seed_table(measurements)


def test_a_run_of_a_script_is_complete_if_its_summary_says_so(scripted: Path) -> None:
    run = one(scripted)
    found = run.measurement
    assert (run.verdict, found.problem, found.tasks, found.partitions) == ("complete", "", 4, 4)
    assert (found.model, found.machine) == (f"script {SCRIPT}", "AMD EPYC 7B13, 2 cores")
    assert (found.data, found.workers, found.engine) == ("sky/25MB", 2, "local")
    assert found.bytes_in > 0
    assert found.seed_avg_runtime_s == pytest.approx(6.0)
    assert (found.rows, found.task_s_p50) == (None, None)


@pytest.mark.parametrize(
    ("records", "verdict", "problem"),
    [
        ([of_script(1), of_script(2), of_script(3)], "partial", "3 records, expected 4 by its summary.json"),
        ([of_script(number) for number in (1, 2, 3, 3)], "mixed", "1 data_path more than once"),
        ([of_script(number) for number in range(1, 6)], "mixed", "5 partitions, expected 4 by its summary.json"),
    ],
)
def test_a_run_of_a_script_that_is_not_whole(records: Any, verdict: str, problem: str, scripted: Path) -> None:
    write_records(scripted, records)
    run = one(scripted)
    assert run.verdict == verdict
    assert problem in run.measurement.problem


def test_a_list_that_a_script_left_is_as_many_records_of_one_task(scripted: Path) -> None:
    (scripted / "payload.json").write_text(json.dumps({"data_bucket": "sky", "world_size": 2}))
    change_summary(scripted, tasks=2, tasks_ok=2)
    run = one(scripted)
    assert (run.verdict, run.records, run.measurement.tasks, run.measurement.partitions) == ("complete", 4, 2, 4)


def test_a_resumed_run_does_not_know_its_workers(ours: Path) -> None:
    drive = json.loads((ours / "summary.json").read_text())["drive"]
    change_summary(ours, drive=drive | {"tasks": 1, "workers": 7})
    assert one(ours).measurement.workers == 0


@pytest.mark.parametrize("text", ["{}", "[1]", "no JSON", '{"tasks": 4}'])
def test_a_summary_that_is_none_is_not_asked_and_it_is_said(text: str, ours: Path) -> None:
    (ours / "summary.json").write_text(text)
    _is_not_asked(ours)


@pytest.mark.parametrize("key", ["tasks", "partitions", "bytes_in", "threads"])
@pytest.mark.parametrize("count", [-1, 10**400])
def test_a_summary_with_counts_that_are_none_is_not_asked(key: str, count: int, scripted: Path) -> None:
    (scripted / "payload.json").unlink()
    change_summary(scripted, **{key: count})
    _is_not_asked(scripted)


def _is_not_asked(folder: Path) -> None:
    run = one(folder)
    assert run.verdict == "unclear"
    assert any("summary.json beside it cannot be read as one of skyfan's" in note for note in run.notes)
