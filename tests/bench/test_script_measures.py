"""Measurements of runs of a script: time and memory as for any run, and no rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import skyfan
from scripted import CODE, DRIVE, SCRIPT, script_payload, script_run
from skyfan.bench.asked import asked_sweep
from skyfan.bench.charts import PHASES as SHOWN_PHASES
from skyfan.bench.figures import PHASE_COLOURS, figure_svgs
from skyfan.bench.importing import import_results
from skyfan.bench.measuring import PHASES, measure_run
from skyfan.bench.table import seed_table, table_rows
from skyfan.bench.tidy import COLUMNS, read_tidy, write_tidy
from skyfan.errors import InputError
from skyfan.storage import Store
from skyfan.task import Seconds

ROWS = ("rows", "rows_per_s_run_wall", "rows_per_s_map_wall", "rows_per_s_workers_sum")
ABOUT_PREDICTING = ("cold_tasks", "cold_task_s_p50", "warm_task_s_p50", "first_prediction_s_p50")


@pytest.fixture
def done(store: Store, asked: Mapping[str, Any]) -> skyfan.Run:
    return script_run(store, asked)


def test_every_phase_of_a_task_is_measured_and_shown() -> None:
    assert {*PHASES, "total"} == set(Seconds.__struct_fields__)
    assert (*PHASES, "other") == SHOWN_PHASES
    assert {f"{name}_s" for name in SHOWN_PHASES} < set(COLUMNS)
    assert len(set(PHASE_COLOURS.values())) == len(SHOWN_PHASES)


def test_a_script_run_is_measured_without_rows(done: skyfan.Run) -> None:
    found = measure_run(done)
    assert (found.complete, found.problem, found.engine) == (True, "", "local")
    assert found.model == f"script {SCRIPT}"
    assert [getattr(found, name) for name in (*ROWS, *ABOUT_PREDICTING)] == [None] * 8
    assert (found.script_s, found.model_s, found.predict_s, found.other_s) == (6.0, 1.0, 0.0, 0.5)
    assert (found.run_wall_s, found.task_s_p50, found.peak_memory_mb_max) == (10.0, 2.0, 303.0)


def test_the_engine_is_as_the_run_says_it(store: Store, asked: Mapping[str, Any]) -> None:
    run = script_run(store, asked, drive=structs.replace(DRIVE, engine="dask"))
    assert measure_run(run).engine == "dask"


def test_the_table_calls_it_a_script_and_has_no_column_of_rows(done: skyfan.Run) -> None:
    text = seed_table([measure_run(done)])
    assert f"script {SCRIPT} (sha256 " in text
    assert "model " not in text
    assert not [name for name in table_rows([measure_run(done)]).head if "rows" in name]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_of_before_there_were_scripts_can_be_read(done: skyfan.Run, tmp_path: Path, suffix: str) -> None:
    path = write_tidy([measure_run(done)], tmp_path / f"now{suffix}")
    assert read_tidy(path) == [measure_run(done)]
    old = tmp_path / "old.csv"
    lines = (write_tidy([measure_run(done)], tmp_path / "whole.csv")).read_text().splitlines()
    place = lines[0].split(",").index("script_s")
    old.write_text("\n".join(",".join(cell for at, cell in enumerate(_cells(line)) if at != place) for line in lines))
    (found,) = read_tidy(old)
    assert found == structs.replace(measure_run(done), script_s=None)


def _cells(line: str) -> list[str]:
    """Return the cells of a line, in quotes still where they hold a comma."""
    cells: list[str] = []
    for piece in line.split(","):
        if cells and cells[-1].count('"') % 2:
            cells[-1] += f",{piece}"
        else:
            cells.append(piece)
    return cells


def test_the_picture_of_phases_sets_the_script_aside(done: skyfan.Run) -> None:
    one = measure_run(done)
    larger = structs.replace(
        one, run="b", partition_mb=50.0, data="sky/50MB", started_at="2026-11-30T11:00:00.000+00:00"
    )
    svg = figure_svgs([structs.replace(one, partition_mb=25.0), larger])["phases"].svg.decode()
    assert "Without 'script'" in svg
    model = [structs.replace(item, script_s=0.0, predict_s=6.0) for item in (one, larger)]
    again = figure_svgs([structs.replace(model[0], partition_mb=25.0), model[1]])["phases"].svg.decode()
    assert "Without 'predict'" in again


def test_a_sweep_of_scripts_is_refused(tmp_path: Path, asked: Mapping[str, Any]) -> None:
    path = tmp_path / "night.json"
    path.write_text(json.dumps(script_payload(asked)))
    with pytest.raises(
        InputError, match=rf"bench: its tasks run the script '{SCRIPT}'.*--file-limit 4.*'skyfan report'"
    ):
        asked_sweep(payload=path)
    assert asked_sweep(payload=path, model="models/tiny.onnx").keys["model"] == "models/tiny.onnx"


def test_results_of_scripts_that_left_none_of_their_own_are_imported_without_rows(
    store: Store, asked: Mapping[str, Any], root: Path
) -> None:
    script_run(store, asked, results=())
    (run,) = import_results(root / "sky" / "results" / "one").runs
    assert (run.verdict, run.records) == ("complete", 4)
    found = run.measurement
    assert (found.rows, found.tasks, found.partitions, found.task_s_p50) == (None, 4, 4, 2.0)
    assert found.bytes_in > 0


def test_a_model_s_results_are_imported_with_rows(finished: skyfan.Run, root: Path) -> None:
    (run,) = import_results(root / "sky" / "results" / "one").runs
    assert (run.verdict, run.measurement.rows) == ("complete", 34)


def test_results_that_scripts_left_are_taken_for_what_they_say(
    store: Store, asked: Mapping[str, Any], root: Path
) -> None:
    script_run(store, asked, results=(0, 1, 2, 3))
    (run,) = import_results(root / "sky" / "results" / "one").runs
    assert not run.measurement.complete
    assert "4 of 4 records have no 'total_cpu_time (seconds)'" in run.measurement.problem


def test_a_model_beside_a_script_can_be_swept(tmp_path: Path, asked: Mapping[str, Any]) -> None:
    path = tmp_path / "night.json"
    path.write_text(json.dumps({**asked, **CODE}))
    assert asked_sweep(payload=path).keys["model"] == "models/tiny.onnx"
