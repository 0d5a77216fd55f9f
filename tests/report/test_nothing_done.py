"""The report of a run of which no task ended well: nothing was measured, and no zero stands for that."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import skyfan
from scripted import script_run
from skyfan.errors import RunFailedError
from skyfan.report.document import Block, Facts, Grid
from skyfan.report.numbers import numbers
from skyfan.report.record import read_record
from skyfan.storage import Store

UNKNOWN = "not known"
KILLED = ["Killed"]


@pytest.fixture
def failed(root: Path, asked: dict[str, Any]) -> skyfan.Run:
    """A run of a model whose partitions are all broken."""
    for path in (root / "sky" / "25MB").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(RunFailedError):
        skyfan.run(asked, store=root, workers=1)
    return skyfan.open_run(asked, store=root)


def facts(blocks: list[Block]) -> dict[str, str]:
    return {name: value for block in blocks if isinstance(block, Facts) for name, value, _ in block.rows}


def tables(blocks: list[Block]) -> list[str]:
    return [block.caption for block in blocks if isinstance(block, Grid)]


def test_times_and_memory_that_no_task_had_are_not_known(failed: skyfan.Run, root: Path) -> None:
    found = numbers(read_record(failed, Store(str(root))))
    said = facts(found)
    assert said["Seconds of a task"] == UNKNOWN
    assert said["Memory of a worker"] == UNKNOWN
    assert said["Wall clock of the run"].endswith(" s")
    assert "Seconds of the workers, by phase" not in tables(found)
    assert not [name for name, value in said.items() if value.startswith(("0 ", "0.00 "))]


def test_nor_are_those_of_scripts(store: Store, asked: Mapping[str, Any], root: Path) -> None:
    run = script_run(store, asked, failed=dict.fromkeys(range(4), KILLED), tolerated_failure_count=4)
    path = root / "sky" / "results" / "one" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"drive": summary["drive"] | {"tasks": 0}}))
    found = numbers(read_record(run, store))
    said = facts(found)
    assert said["Seconds of a task"] == said["Memory of a script"] == said["Rate by the map's wall clock"] == UNKNOWN
    assert "Seconds of the workers, by phase" not in tables(found)


def test_a_run_with_one_task_done_has_its_figures(store: Store, asked: Mapping[str, Any]) -> None:
    run = script_run(store, asked, failed=dict.fromkeys(range(3), KILLED), tolerated_failure_count=3)
    found = numbers(read_record(run, store))
    assert facts(found)["Seconds of a task"].startswith("2.00 s median")
    assert "Seconds of the workers, by phase" in tables(found)
