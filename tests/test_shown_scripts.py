"""What commands and the Python API say of a run whose tasks run a script: never how many rows it has."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import skyfan
from scripted import CODE, SCRIPT, put_code, script_payload, script_run
from skyfan import planning, progress
from skyfan.errors import InputError
from skyfan.payload import parse_payload
from skyfan.progress import PlainLines, Tally
from skyfan.storage import Store
from skyfan.tables import plan_rows, standing_rows, summary_rows, verification_rows
from skyfan.task import TaskError
from skyfan.watching import Ended, Planned, TaskDone, TaskGivenUp, TaskRetried

ERROR = TaskError("ScriptError", "ended with exit code 3", may_pass=True)


@pytest.fixture
def done(store: Store, asked: Mapping[str, Any]) -> skyfan.Run:
    return script_run(store, asked)


@pytest.fixture
def plan(store: Store, asked: Mapping[str, Any]) -> planning.Plan:
    put_code(store)
    limits = {"script_memory_mb": 4096, "script_processes": 8, "task_timeout_s": 1800}
    return planning.preview(parse_payload(script_payload(asked, **limits))[0], store)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the time that a line of progress goes by."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def pass_s(seconds: float) -> None:
        now[0] += seconds

    return pass_s


def test_a_summary_names_the_script_its_memory_its_logs_and_its_results(done: skyfan.Run, root: Path) -> None:
    assert done.summary is not None
    found = dict(summary_rows(done.summary, done.where))
    where = f"{root}/sky/results/one"
    assert found["script"].startswith(f"{SCRIPT}, sha256 ")
    assert found["script memory"] == "303 MiB at most"
    assert found["tasks"] == "4 of 4 done (4 in this drive, 0 tried again)"
    assert found["logs"] == f"{where}/logs/, what each task's script printed"
    assert found["results"] == f"3, as {where}/0.json and so on; together in {where}/combined_data.json"
    assert found["lies in"] == where
    assert not found.keys() & {"rows", "rows/s", "flagged", "catalogue", "model", "worker memory"}


def test_a_summary_of_scripts_that_left_nothing_says_so(store: Store, asked: Mapping[str, Any]) -> None:
    run = script_run(store, asked, results=())
    assert run.summary is not None
    assert dict(summary_rows(run.summary, run.where))["results"].startswith("none: no script left one as ")


def test_the_summary_of_a_model_counts_rows_as_before(finished: skyfan.Run, root: Path) -> None:
    assert finished.summary is not None
    found = dict(summary_rows(finished.summary, finished.where))
    assert found["rows"] == "34 read, 34 in the catalogue, not known beforehand"
    assert found["model"].startswith("models/tiny.onnx, sha256 ")
    assert found["lies in"] == f"{root}/sky/results/one/predictions"
    assert not found.keys() & {"script", "script memory", "logs", "results"}


def test_a_plan_says_which_code_it_runs_and_what_that_may_take(plan: planning.Plan) -> None:
    found = dict(plan_rows(plan))
    assert found["script"].startswith(f"{SCRIPT}, sha256 ")
    assert found["code"] == "sky/code"
    assert found["a script may take"] == "1,800 s, 4,096 MiB of memory, 8 processes, any disk"
    assert not found.keys() & {"rows", "model"}


def test_a_standing_counts_tasks(done: skyfan.Run) -> None:
    found = dict(standing_rows(done.status()))
    assert (found["state"], found["tasks"], found["script"]) == ("complete", "4 of 4 done, 0 failed", SCRIPT)
    assert "rows" not in found


def test_a_standing_of_a_model_counts_rows(finished: skyfan.Run) -> None:
    found = dict(standing_rows(finished.status()))
    assert found["rows"] == "34"
    assert "script" not in found


def test_a_proof_says_what_was_proven(done: skyfan.Run, root: Path) -> None:
    found = dict(verification_rows(done.verify()))
    assert found["complete"] == "yes, proven"
    assert found["tasks"].startswith("4 of 4: the script ended well")
    assert "rows" not in found
    (root / "sky" / "results" / "one" / "2.json").write_text('{"rank": 2, "accuracy": 1.5}')
    found = dict(verification_rows(done.verify()))
    assert (found["complete"], found["tasks"][:6]) == ("NO", "3 of 4")


def test_progress_of_scripts_is_of_tasks(done: skyfan.Run, plan: planning.Plan, clock: Callable[[float], None]) -> None:
    reports = list(done.reports())
    tally = Tally()
    tally.add(Planned.of(plan, 2))
    tally.tasks_done = 0  # as if nothing of that run were done yet
    assert tally.text() == "0/4 tasks"
    clock(30)
    tally.add(TaskDone(reports[0]))
    assert (tally.eta_s, tally.rows) == (90, None)
    assert tally.text() == "ETA 1:30, 1/4 tasks"
    tally.add(TaskRetried(1, 1, 2.0, ERROR))
    tally.add(TaskGivenUp(1, 3, ERROR))
    assert tally.text() == "ETA 1:00, 1 failed, 1 retried, 1/4 tasks", "a task that failed for good is not to come"
    tally.add(TaskDone(reports[2]))
    tally.add(TaskDone(reports[3]))
    assert tally.text() == "1 failed, 1 retried, 3/4 tasks"


def test_plain_lines_of_scripts_name_no_row(done: skyfan.Run, plan: planning.Plan) -> None:
    out = io.StringIO()
    watch = PlainLines(out)
    watch(Planned.of(plan, 2))
    for report in done.reports():
        watch(TaskDone(report))
    assert done.summary is not None
    watch(Ended(done.summary))
    assert "tasks" in out.getvalue()
    assert "row" not in out.getvalue()


def test_progress_of_a_model_is_of_rows(finished: skyfan.Run, clock: Callable[[float], None]) -> None:
    tally = Tally()
    tally.add(Planned("sky/results/one", 4, 0, 34, 0, 100, 1, ()))
    clock(1)
    tally.add(TaskDone(next(finished.reports())))
    assert tally.text() == "ETA 0:04, 7 of 34 rows, 7 rows/s, 1/4 tasks"


@pytest.mark.parametrize(
    "ask",
    [
        lambda run, out: run.predictions(),
        lambda run, out: run.evaluate(),
        lambda run, out: run.evaluate(out / "metrics"),
        lambda run, out: run.catalog(out / "night.parquet"),
        lambda run, out: run.catalog(out / "night.fits", "fits", allow_incomplete=True),
    ],
)
def test_a_script_run_has_no_catalogue(done: skyfan.Run, ask: Callable[[Any, Path], Any], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    expected = (
        f"sky/results/one: its tasks ran the script '{SCRIPT}': skyfan has no catalogue of it; what it wrote is its "
        "own. Expected a run of a model; .* results/one/combined_data.json"
    )
    with pytest.raises(InputError, match=expected):
        ask(done, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_beside_a_script_has_a_catalogue(root: Path, asked: dict[str, Any]) -> None:
    run = skyfan.run(asked | CODE, store=root, workers=1)
    assert run.predictions().read_all().num_rows == 34
