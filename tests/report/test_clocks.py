"""The states' times: of all tasks of the last drive, and not known where two clocks do not fit together."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import skyfan
from skyfan.report.document import Grid, Notice
from skyfan.report.execution import execution
from skyfan.report.record import read_record
from skyfan.storage import Store

APART = "The clocks of driver and workers differ"
UNTOLD = "Which tasks the last drive did is not known"


def folder(root: Path) -> Path:
    return root / "sky" / "results" / "one"


def set_clocks(root: Path, seconds: float, ranks: tuple[int, ...] = (0, 1, 2, 3)) -> None:
    """Let the workers' clocks go so far ahead."""
    for rank in ranks:
        path = folder(root) / "reports" / f"{rank:05}.json"
        report = json.loads(path.read_text())
        for name in ("started_at", "ended_at"):
            report[name] = (datetime.fromisoformat(report[name]) + timedelta(seconds=seconds)).isoformat()
        path.write_text(json.dumps(report))


def resume(root: Path, tasks: int) -> None:
    """Let only so many tasks be of the last drive."""
    path = folder(root) / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"drive": summary["drive"] | {"tasks": tasks}}))


def told(run: skyfan.Run, root: Path) -> tuple[dict[str, str], str, dict[str, str]]:
    """Return the seconds of the states, what is said of the map, and the notices."""
    blocks = execution(read_record(run, Store(str(root))), None, "run1")
    table = next(block for block in blocks if isinstance(block, Grid) and block.head[0] == "State")
    notices = {block.title: block.lines[0] for block in blocks if isinstance(block, Notice)}
    return {row[0].split()[0]: row[3] for row in table.rows}, table.rows[1][4], notices


def test_states_of_a_run_on_one_clock_have_their_seconds(finished: skyfan.Run, root: Path) -> None:
    seconds, said, notices = told(finished, root)
    assert all(float(value) >= 0 for value in seconds.values())
    assert said.startswith("4 tasks, ")
    assert not notices


@pytest.mark.parametrize("seconds", [-6.0, 6.0, -0.9])
def test_no_seconds_are_reckoned_from_two_clocks_that_do_not_fit(
    finished: skyfan.Run, root: Path, seconds: float
) -> None:
    before, *_ = told(finished, root)
    set_clocks(root, seconds)
    if seconds == -0.9:  # less than the run took: make it be more
        set_clocks(root, -float(before["Initialize"]))
    found, said, notices = told(finished, root)
    assert (found["Initialize"], found["Summarize"]) == ("not known", "not known")
    assert found["Infer"] == before["Infer"]  # of the workers' clocks alone
    assert said.startswith("4 tasks, ")
    assert APART in notices


def test_all_tasks_of_a_run_that_was_not_resumed_are_its_last_drives(finished: skyfan.Run, root: Path) -> None:
    set_clocks(root, -6.0, ranks=(0, 1))
    found, said, notices = told(finished, root)
    assert float(found["Infer"]) >= 5
    assert said.startswith("4 tasks, ")
    assert APART in notices


def test_tasks_of_earlier_drives_are_in_no_state_of_the_last(finished: skyfan.Run, root: Path) -> None:
    set_clocks(root, -3600.0, ranks=(0, 1))
    resume(root, 2)
    found, said, notices = told(finished, root)
    assert said.startswith("2 tasks, ")
    assert float(found["Infer"]) < 600
    assert list(notices) == ["The run was resumed"]


def test_states_are_not_known_where_the_last_drives_tasks_cannot_be_told(finished: skyfan.Run, root: Path) -> None:
    resume(root, 1)  # all four are of about that time
    found, said, notices = told(finished, root)
    assert set(found.values()) == {"not known"}
    assert said.startswith("1 task, ")
    assert "It did 1 task; reports of its time: 4." in notices[UNTOLD]


def test_states_are_not_known_where_a_report_has_no_times(finished: skyfan.Run, root: Path) -> None:
    path = folder(root) / "reports" / "00002.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started_at": ""}))
    found, said, notices = told(finished, root)
    assert set(found.values()) == {"not known"}
    assert said.startswith("4 tasks, ")
    assert "It did 4 tasks; reports of its time: 3." in notices[UNTOLD]
