"""What every engine must do, whatever runs its items. Failures are made on purpose."""

import time
from collections.abc import Callable

import pytest

from engines.maps import QUICK, results, run
from skyfan.engines.base import Engine
from skyfan.mapping import Failed, Policy, Retrying, fan_out

Open = Callable[..., Engine]


def test_every_item_is_done_once(open_engine: Open) -> None:
    mapped, events = run(open_engine({}), 25)
    assert mapped.succeeded == len(events) == 25
    assert {number: int(result["item"]) for number, result in results(events).items()} == {n: n for n in range(25)}


def test_a_worker_is_loaded_once_for_all_its_items(open_engine: Open) -> None:
    _, events = run(open_engine({}), 10)
    assert all(result["pid"] == result["loaded"] for result in results(events).values())
    assert len({result["pid"] for result in results(events).values()}) <= 2


def test_what_can_pass_is_tried_again(open_engine: Open) -> None:
    mapped, events = run(open_engine({0: ["fail", "ok"], 1: ["fail", "fail", "ok"]}), 3)
    assert mapped.failed == {}
    assert mapped.retries == 3
    assert results(events)[1]["attempt"] == 3


def test_attempts_end(open_engine: Open) -> None:
    mapped, events = run(open_engine({0: ["fail"]}), 2)
    assert mapped.failed[0].message == "the store failed on purpose"
    assert [event.attempts for event in events if isinstance(event, Failed)] == [3]


@pytest.mark.parametrize(("step", "kind"), [("bad", "PartitionError"), ("bug", "ZeroDivisionError")])
def test_what_cannot_pass_is_not_tried_again(open_engine: Open, step: str, kind: str) -> None:
    mapped, events = run(open_engine({0: [step]}), 1)
    assert mapped.failed[0].kind == kind
    assert not any(isinstance(event, Retrying) for event in events)


def test_a_worker_that_ran_out_of_memory_is_replaced(open_engine: Open) -> None:
    mapped, events = run(open_engine({1: ["memory", "ok"]}, workers=1), 3)
    pids = [result["pid"] for _, result in sorted(results(events).items())]
    assert mapped.succeeded == 3
    assert pids[0] not in pids[1:]


@pytest.mark.parametrize("step", ["die", "exit", "memory"])
def test_a_worker_that_dies_fails_its_own_item_only(open_engine: Open, step: str) -> None:
    mapped, events = run(open_engine({3: [step, "ok"]}), 12)
    assert mapped.succeeded == 12
    assert [event.number for event in events if isinstance(event, Retrying)] == [3]


def test_an_item_that_always_kills_its_worker_fails_alone(open_engine: Open) -> None:
    mapped, events = run(open_engine({1: ["die"]}), 6, Policy(backoff_s=0.01, tolerated_failures=1))
    assert mapped.succeeded == 5
    assert mapped.failed[1].kind == "WorkerError"
    assert [event.attempts for event in events if isinstance(event, Failed)] == [3]


def test_an_item_that_takes_too_long_is_ended_and_tried_again(open_engine: Open) -> None:
    started = time.monotonic()
    mapped, events = run(open_engine({0: ["hang", "ok"]}, timeout_s=1.5), 4)
    assert mapped.succeeded == 4
    assert [event.error.message for event in events if isinstance(event, Retrying)] == [
        "the task passed its time limit, task_timeout_s 1.5, and was ended"
    ]
    assert time.monotonic() - started < 30


def test_over_the_limit_no_new_item_starts_but_those_under_way_end(open_engine: Open) -> None:
    mapped, events = run(open_engine({0: ["bad"], 1: ["0.5"]}), 50)
    assert list(mapped.failed) == [0]
    assert 1 in results(events)
    assert mapped.not_started == 50 - len(events) > 0


def test_tolerated_failures_do_not_end_the_map(open_engine: Open) -> None:
    mapped, _ = run(open_engine({0: ["bad"], 5: ["bad"]}), 10, Policy(tolerated_failures=2))
    assert (mapped.succeeded, sorted(mapped.failed), mapped.not_started) == (8, [0, 5], 0)


def test_an_error_that_every_item_would_meet_ends_the_map_at_once(open_engine: Open) -> None:
    mapped, _ = run(open_engine({0: ["model"], 1: ["0.3"]}), 50, Policy(tolerated_failures=50))
    assert mapped.cause is not None
    assert mapped.cause.kind == "ModelError"
    assert mapped.not_started > 40


def test_no_more_items_at_once_than_asked(open_engine: Open) -> None:
    started = time.monotonic()
    mapped, events = run(open_engine({n: ["0.3"] for n in range(4)}), 4, Policy(max_concurrency=1))
    assert mapped.succeeded == len(events) == 4
    assert time.monotonic() - started >= 1.2


def test_workers_that_cannot_start_fail_the_items_and_say_why(open_engine: Open) -> None:
    mapped, _ = run(open_engine({}, function="works:broken"), 3, Policy(max_attempts=2, backoff_s=0.01))
    assert "cannot start" in next(iter(mapped.failed.values())).message


def test_noise_of_a_worker_goes_nowhere(open_engine: Open, capfd: pytest.CaptureFixture[str]) -> None:
    run(open_engine({0: ["noise"]}), 2)
    assert capfd.readouterr() == ("", "")


def test_what_check_raises_ends_the_map_and_waits_for_no_item(open_engine: Open) -> None:
    engine = open_engine({0: ["hang"]})
    started = time.monotonic()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), engine:
        fan_out(engine, {0: b"0"}, QUICK, lambda event: None, stop)
    assert time.monotonic() - started < 15
