"""A payload's `max_concurrency` holds for what is measured and recommended as it does for a run."""

import json
from pathlib import Path
from typing import Any

import pytest

from factories import write_partition
from skyfan.prices import load_prices
from skyfan.profiling.trial import plan_ways
from skyfan.tuning import tuner
from skyfan.tuning.asked import Asked
from skyfan.tuning.found import Found
from skyfan.tuning.layout import layouts
from skyfan.tuning.outcome import MARGIN, Ground, outcome_of
from skyfan.tuning.setting import local_settings
from skyfan.tuning.tuner import reckon, tune
from skyfan.tuning.wish import Wish
from tuning.ways import ROW_BYTES, plan, point, profile

HERE = Ground(prices=load_prices(), memory_mb=100_000)
FAST = Wish(goal="time")


def test_no_more_workers_are_reckoned_than_tasks_may_run_at_once() -> None:
    (two,) = local_settings(profile(point(workers=2)))
    free, limited = (
        outcome_of(layouts(plan(max_concurrency=most), ROW_BYTES)[0], two, HERE, FAST) for most in (None, 1)
    )
    assert (free.workers, limited.workers) == (2, 1)
    assert limited.wall_s > 1.8 * free.wall_s
    lacks = Ground(prices=HERE.prices, memory_mb=200 * MARGIN + 1)
    assert outcome_of(layouts(plan(max_concurrency=1), ROW_BYTES)[0], two, lacks, FAST).feasible


@pytest.mark.parametrize(("at_once", "expected"), [(None, {1, 2, 4}), (3, {1, 2, 3}), (1, {1})])
def test_workers_that_would_only_wait_are_not_measured(at_once: int | None, expected: set[int]) -> None:
    assert {way.workers for way in plan_ways((8,), (1,), (1, 2, 4), at_once)} == expected


def test_the_payload_as_it_is_has_the_workers_that_a_run_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuner, "default_workers", lambda threads: 4)
    measured = profile(point(workers=1), point(workers=4))
    found = Found(plan=plan(max_concurrency=1), profiles=(measured,), settings=local_settings(measured), ground=HERE)
    own = reckon(found, FAST, Asked()).own
    assert own is not None
    assert own.setting.workers == 1


def test_a_payload_of_one_task_at_a_time_is_told_one_worker(root: Path, asked: dict[str, Any], tmp_path: Path) -> None:
    for number in range(1, 5):
        write_partition(root / "sky" / "25MB" / f"{number}.safetensors", rows=400, seed=number)
    job = tmp_path / "job.json"
    job.write_text(json.dumps(asked | {"max_concurrency": 1}))
    given = Asked(store=root, seconds=0.1, batch_sizes=(4,), threads=(1,), workers=(2,), pilot_partitions=2)
    found = tune(job, Wish(goal="time"), given)
    assert found.pick.workers == 1
    assert "--workers 1" in found.commands[-1]
    assert "max_concurrency is 1: no more workers than that would be at work" in found.sure
    assert found.own is not None
