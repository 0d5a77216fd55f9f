"""The workflow of a report: what became of each state, of runs here and on AWS."""

from pathlib import Path
from typing import Any

import pytest

import skyfan
from skyfan.graph.marks import StateMark
from skyfan.report.document import Figure
from skyfan.report.history import History
from skyfan.report.record import read_record
from skyfan.report.workflow import marks_of, workflow
from skyfan.storage import Store


def test_a_run_that_is_done_went_through_every_state_on_its_way(finished: skyfan.Run, root: Path) -> None:
    marks = marks_of(read_record(finished, Store(str(root))))
    assert set(marks) == {
        "Initialize", "AnythingPending", "InferAll", "HasScript", "Infer", "Summarize", "Verdict", "Done",
    }  # fmt: skip
    assert {mark.status for mark in marks.values()} == {"succeeded"}
    assert marks["InferAll"].text == "4 of 4 tasks done"


@pytest.mark.parametrize(
    ("broken", "gone", "said"),
    [((2,), (), "1 of 4 tasks"), ((2,), (0,), "1 of 4 tasks, 1 not done"), ((), (0, 3), "2 of 4 tasks not done")],
)
def test_what_failed_is_counted_where_it_says_failed(
    root: Path, asked: dict[str, Any], broken: tuple[int, ...], gone: tuple[int, ...], said: str
) -> None:
    for number in broken:
        (root / "sky" / "25MB" / f"{number}.safetensors").write_bytes(b"broken")
    run = skyfan.run(asked | {"tolerated_failure_count": 1}, store=root, workers=1)
    for rank in gone:
        (root / "sky" / "results" / "one" / "reports" / f"{rank:05d}.json").unlink()
    marks = marks_of(read_record(run, Store(str(root))))
    assert marks["InferAll"] == StateMark("failed", said)
    assert marks["Infer"].status == "failed"
    assert marks["HasScript"].status == "succeeded"


def test_an_execution_with_nothing_to_do_skipped_the_map_and_what_is_in_it(finished: skyfan.Run, root: Path) -> None:
    history = History(arn="arn", status="SUCCEEDED", error="", started=None, stopped=None, states=(), children=())
    marks = marks_of(read_record(finished, Store(str(root))), history)
    assert {name for name, mark in marks.items() if mark.status == "skipped"} == {"InferAll", "HasScript", "Infer"}


def test_limits_of_lambda_did_not_apply_to_a_run_here(finished: skyfan.Run, root: Path) -> None:
    (figure,) = workflow(read_record(finished, Store(str(root))), None, "run1")
    assert isinstance(figure, Figure)
    assert figure.caption.endswith("This run was on one machine: limits and retries of Lambda did not apply.")
