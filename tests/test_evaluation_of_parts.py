"""Metrics of a run that is not whole: they say so, and nothing comes from a summary of other rows."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

import skyfan
from factories import make_rows
from skyfan.evaluation import Evaluation
from skyfan.keys import RunKeys
from skyfan.lease import hold
from skyfan.storage import Bucket, Store

KEYS = RunKeys("results/named")


@pytest.fixture
def named(root: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """A payload of three partitions of 20 rows that name their bands, so that there are bins in r."""
    for number in (1, 2, 3):
        path = root / "sky" / "named" / f"{number}.safetensors"
        path.parent.mkdir(exist_ok=True)
        safetensors.numpy.save_file(make_rows(20, seed=number), path, metadata={"bands": "ugriz"})
    return asked | {"data_prefix": "named", "result_path": KEYS.result_path, "tolerated_failure_count": 1}


@pytest.fixture
def bucket(root: Path) -> Bucket:
    return Store(str(root)).bucket("sky")


def of_completeness(found: Evaluation) -> list[str]:
    return [text for text in found.warnings if "not complete" in text]


def said(tasks: str, advice: str = "run its payload again: it goes on") -> list[str]:
    return [f"the run is not complete: {tasks} tasks are in these figures; {advice}"]


@pytest.mark.parametrize("lost", [KEYS.report(1), KEYS.part(1)])
def test_a_summary_of_more_than_is_there_is_not_believed(
    named: dict[str, Any], root: Path, bucket: Bucket, lost: str
) -> None:
    run = skyfan.run(named, store=root, workers=1)
    whole = run.evaluate(bootstrap=0)
    assert sum(item.rows for item in whole.by_r) == whole.rows == 60
    assert of_completeness(whole) == []
    bucket.delete([lost])
    assert run.summary is not None
    assert run.summary.complete
    found = run.evaluate(bootstrap=0)
    assert (found.rows, found.by_r) == (40, [])
    assert of_completeness(found) == said("2 of its 3")


def test_what_an_incomplete_run_has_done_is_evaluated_with_its_bins(named: dict[str, Any], root: Path) -> None:
    (root / "sky" / "named" / "2.safetensors").write_bytes(b"no partition")
    found = skyfan.run(named, store=root, workers=1).evaluate(bootstrap=0)
    assert sum(item.rows for item in found.by_r) == found.rows == 40
    assert of_completeness(found) == said("2 of its 3")


def test_a_run_that_is_being_driven_is_not_called_complete(named: dict[str, Any], root: Path, bucket: Bucket) -> None:
    run = skyfan.run(named, store=root, workers=1)
    with hold(bucket, KEYS):
        found = run.evaluate(bootstrap=0)
    assert of_completeness(found) == said("3 of its 3", "wait for its end")
