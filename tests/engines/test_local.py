"""What is the local engine's own: its processes, their pipes and their last words."""

import time
from collections.abc import Callable

import psutil
import pytest

from engines.maps import QUICK, run
from skyfan.engines.base import Engine
from skyfan.mapping import Policy, fan_out

Open = Callable[..., Engine]


def test_a_worker_that_dies_idle_is_no_items_failure(open_local: Open) -> None:
    engine = open_local({})
    for worker in psutil.Process().children():
        worker.kill()
        worker.wait()
    mapped, _ = run(engine, 4, Policy(max_attempts=1))
    assert mapped.succeeded == 4


def test_a_large_item_does_not_wait_for_a_worker_that_is_still_loading(open_local: Open) -> None:
    engine = open_local({}, workers=1)
    started = time.monotonic()
    engine.submit(0, 1, b"x" * 500_000)
    assert time.monotonic() - started < 0.1
    assert engine.wait(60)[0].error is None


def test_last_words_of_a_dead_worker_are_kept(open_local: Open) -> None:
    mapped, _ = run(open_local({0: ["exit"]}), 1)
    assert "exit code 7; its last words: these are my last words" in mapped.failed[0].message


def test_a_worker_that_is_killed_says_by_what(open_local: Open) -> None:
    mapped, _ = run(open_local({1: ["die"]}), 2, Policy(max_attempts=1, tolerated_failures=1))
    assert "SIGKILL" in mapped.failed[1].message


def test_what_check_raises_ends_the_workers(open_local: Open) -> None:
    engine = open_local({0: ["hang"]})

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), engine:
        fan_out(engine, {0: b"0"}, QUICK, lambda event: None, stop)
    assert psutil.Process().children() == []
