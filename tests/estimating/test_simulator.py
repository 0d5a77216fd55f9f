"""The simulator: by hand, against a plain one, at its limits, and where it reckons instead of playing through."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import skyfan
from skyfan.errors import InputError
from skyfan.estimating.attempts import Chains, Failures, longest_delay_s
from skyfan.estimating.fleet import CHILDREN, Fleet, Lambdas, Workers
from skyfan.estimating.simulator import CURVE_POINTS, Simulated, Work, simulate
from skyfan.mapping import Policy

DEFINITION = Path(skyfan.__file__).parent / "aws" / "statemachine.asl.json"


def even(tasks: int, seconds: float = 1.0, **more: Any) -> Work:
    return Work(task_s=(seconds,), tasks=tasks, **more)


def plenty(slots: int, **more: Any) -> Lambdas:
    return Lambdas(concurrency=slots, account_concurrency=slots, **more)


def test_five_tasks_and_two_workers_by_hand() -> None:
    """Each starts for 1 s and works for 2: the first end at 3 s, the next at 5, the fifth at 7."""
    found = simulate(even(5, 2.0, initialize_s=10.0, summarize_s=20.0), Workers(workers=2, cold_start_s=1.0))
    assert found.map_s == 7.0
    assert found.run_s == 37.0
    assert (found.started, found.peak, found.retries, found.failed) == (2, 2, 0, 0)
    assert found.busy_s == 5 * 2 + 2 * 1
    assert found.utilisation == pytest.approx(12 / (2 * 7))
    assert [one.seconds for one in found.slowest] == [3.0, 3.0, 2.0, 2.0, 2.0]
    assert {one.number for one in found.slowest if one.cold} == {0, 1}


def test_a_worker_that_waits_for_its_first_task_has_started_meanwhile() -> None:
    """Handing out takes 5 s, starting 4: the second worker is up when its task comes. A Lambda starts only then."""
    work = even(2, 2.0)
    assert simulate(work, Workers(workers=2, cold_start_s=4.0, dispatch_s=5.0)).map_s == 5.0 + 2.0
    assert simulate(work, plenty(2, cold_start_s=4.0, start_s=5.0)).map_s == 5.0 + 4.0 + 2.0
    assert (
        simulate(work, plenty(2, cold_start_s=1.0, start_s=5.0)).map_s == 5.0 + 2.0
    )  # by the first one, which is idle


def test_lambda_starts_a_thousand_environments_and_then_a_hundred_a_second() -> None:
    found = simulate(even(3_000, 100.0), plenty(3_000, cold_start_s=1.0))
    assert found.started == found.peak == 3_000
    assert found.map_s == pytest.approx(20.0 + 1.0 + 100.0)
    assert dict(found.curve)[0.0] == 1_000


def test_environments_that_are_up_are_used_again_before_new_ones_are_allowed() -> None:
    """Tasks of 1 s: after 10 s the first thousand environments alone have done ten thousand."""
    found = simulate(even(10_240, 1.0), plenty(10_000))
    assert 1_000 < found.started < 2_500
    assert found.map_s < 9.0


@pytest.mark.parametrize(
    ("fleet", "peak"),
    [
        (Lambdas(concurrency=5_000), 1_000),
        (Lambdas(concurrency=300), 300),
        (plenty(20_000), CHILDREN),
        (Workers(workers=16), 16),
    ],
)
def test_no_more_tasks_are_under_way_than_are_allowed(fleet: Fleet, peak: int) -> None:
    found = simulate(even(21_000, 300.0), fleet)
    assert found.peak == found.started == peak
    assert max(tasks for _, tasks in found.curve) <= peak
    assert found.map_s >= 21_000 * 300.0 / peak


def test_two_rounds_of_an_account_take_twice_as_long() -> None:
    assert simulate(even(2_000, 60.0), Lambdas(concurrency=2_000)).map_s == pytest.approx(120.0)


def test_a_driver_that_is_slow_to_hand_out_is_what_limits() -> None:
    found = simulate(even(1_000, 0.001), Workers(workers=8, dispatch_s=0.01))
    assert found.map_s == pytest.approx(999 * 0.01 + 0.001)


def test_uneven_tasks_keep_their_mean() -> None:
    found = simulate(even(50_000, 2.0, spread=0.5), Workers(workers=100))
    assert found.busy_s / 50_000 == pytest.approx(2.0, rel=0.01)
    assert found.slowest[0].seconds > 2.0 * np.exp(3 * 0.5)


def test_stragglers_are_as_many_and_as_slow_as_asked_for() -> None:
    found = simulate(even(10_000, 1.0, straggler_share=0.02, straggler_factor=30.0), Workers(workers=10_000))
    assert found.map_s == 30.0
    assert found.busy_s == pytest.approx(10_000 * (0.98 + 0.02 * 30), rel=0.1)


def test_failed_attempts_are_tried_again_as_often_as_allowed() -> None:
    share, tasks = 0.2, 50_000
    for fleet in (Workers(workers=500), plenty(500)):
        found = simulate(even(tasks, 1.0, failure_share=share, max_attempts=3), fleet)
        assert found.retries == pytest.approx(tasks * (share + share**2), rel=0.05)
        assert found.failed == pytest.approx(tasks * share**3, rel=0.2)
        once = tasks * (1 - share**3)  # of each task that ends well, one whole attempt; a failed one takes half
        halves = tasks * (share + share**2 + share**3) / 2
        assert found.busy_s == pytest.approx(once + halves, rel=0.01)


def test_without_a_second_attempt_nothing_is_tried_again() -> None:
    for fleet in (Workers(workers=10), plenty(10)):
        found = simulate(even(1_000, 1.0, failure_share=0.5, max_attempts=1), fleet)
        assert found.retries == 0
        assert found.failed == pytest.approx(500, rel=0.2)


def test_a_worker_does_another_task_meanwhile_and_a_child_of_a_state_machine_waits() -> None:
    work = even(400, 1.0, failure_share=0.2)
    here, there = (simulate(work, fleet) for fleet in (Workers(workers=1), plenty(1)))
    assert here.utilisation > 0.98
    assert there.map_s - there.busy_s == pytest.approx(there.retries * 0.5, rel=0.25)  # 0 to 1 s, seldom 0 to 2


def test_waits_are_those_of_the_map_and_of_the_state_machine() -> None:
    policy = Policy()
    delays = [[policy.delay_s(attempt + 1) for _ in range(200)] for attempt in range(1, 8)]
    for attempt, found in enumerate(delays, 1):
        longest = longest_delay_s(attempt)
        assert longest / 2 <= min(found) <= max(found) <= longest
        assert max(found) > 0.9 * longest
    failures = Failures(1.0, 9, np.random.default_rng(0))
    assert all(longest_delay_s(n) / 2 <= failures.delay_s(n) <= longest_delay_s(n) for n in range(1, 8))
    infer = json.loads(DEFINITION.read_text())["States"]["InferAll"]["ItemProcessor"]["States"]["Infer"]
    [retry] = [rule for rule in infer["Retry"] if "StoreError" in rule["ErrorEquals"]]
    assert retry["IntervalSeconds"] == longest_delay_s(1)
    assert retry["IntervalSeconds"] * retry["BackoffRate"] == longest_delay_s(2)
    assert retry["MaxDelaySeconds"] == longest_delay_s(50)
    assert retry["MaxAttempts"] == policy.max_attempts - 1
    assert retry["JitterStrategy"] == "FULL"


def test_chains_of_attempts_by_hand() -> None:
    """All attempts fail: each for half a second on average, with 0 to 1 and 0 to 2 s between them."""
    chains = Chains.of(np.ones(20_000), Failures(1.0, 3, np.random.default_rng(1)))
    assert (chains.failed, chains.retries) == (20_000, 40_000)
    assert chains.waited_s / 20_000 == pytest.approx(0.5 + 1.0, rel=0.02)
    assert chains.seconds.mean() == pytest.approx(1.5 + 1.5, rel=0.02)
    none = Chains.of(np.ones(5), Failures(0.0, 3, np.random.default_rng(1)))
    assert (none.failed, none.retries, none.waited_s, none.seconds.tolist()) == (0, 0, 0.0, [1.0] * 5)


FLEETS = {
    "local": Workers(workers=300, cold_start_s=0.5),
    "slow driver": Workers(workers=300, cold_start_s=0.5, dispatch_s=0.012),
    "lambda": Lambdas(concurrency=1_000, cold_start_s=1.0),
    "long ramp": plenty(3_000, cold_start_s=1.0),
}


@pytest.mark.parametrize("name", FLEETS)
def test_a_map_with_its_middle_reckoned_ends_when_it_would(name: str) -> None:
    """The cost of not playing all tasks: 1 % of the wall clock, 0.5 % of the worker-seconds, in the median of three."""
    work = Work(
        task_s=(1.0, 2.0, 3.0),
        tasks=200_000,
        spread=0.25,
        straggler_share=0.001,
        straggler_factor=3.0,
        failure_share=0.01,
    )
    whole = [simulate(work, FLEETS[name], seed) for seed in range(3)]
    part = [simulate(work, FLEETS[name], seed, most=20_000) for seed in range(3)]
    assert all(one.played == work.tasks for one in whole)
    assert all(one.played < 0.7 * work.tasks for one in part)

    def off(figure: str) -> float:
        a, b = (statistics.median(getattr(one, figure) for one in many) for many in (part, whole))
        return abs(a / b - 1)

    assert off("map_s") < 0.01
    assert off("busy_s") < 0.005
    assert off("retries") < 0.1
    assert [one.peak for one in part] == pytest.approx([one.peak for one in whole], rel=0.05)


def test_the_curve_stands_still_where_the_middle_is_reckoned() -> None:
    found = simulate(even(10_000_000, 1.0, spread=0.2), plenty(500), most=20_000)
    assert len(found.curve) == CURVE_POINTS
    assert [tasks for _, tasks in found.curve[5:-5]] == [500] * (CURVE_POINTS - 10)
    assert found.curve[-1][0] == pytest.approx(found.map_s, abs=0.001)
    assert found.curve[-1][1] == 0


def test_all_partitions_of_a_long_plan_are_taken_alike() -> None:
    """The second half of the tasks is three times as long: playing only the first would miss it."""
    work = Work(task_s=(1.0,) * 100_000 + (3.0,) * 100_000, tasks=200_000)
    assert simulate(work, Workers(workers=100), most=10_000).busy_s == pytest.approx(400_000, rel=0.01)


def plain(seconds: list[float], workers: int, cold_s: float) -> float:
    """Return the end of a map by a simulator of five lines."""
    free = [cold_s] * workers
    for one in seconds:
        worker = free.index(min(free))
        free[worker] += one
    return max(free) if len(seconds) >= workers else max(free[:workers])


@given(
    seconds=st.lists(st.floats(0.01, 10), min_size=1, max_size=60),
    workers=st.integers(1, 8),
    cold_s=st.floats(0, 5),
)
def test_it_agrees_with_a_plain_one(seconds: list[float], workers: int, cold_s: float) -> None:
    workers = min(workers, len(seconds))
    found = simulate(Work(task_s=tuple(seconds), tasks=len(seconds)), Workers(workers=workers, cold_start_s=cold_s))
    assert found.map_s == pytest.approx(plain(seconds, workers, cold_s))


@given(
    seconds=st.lists(st.floats(0.001, 100), min_size=1, max_size=20),
    tasks=st.integers(1, 300),
    fleet=st.one_of(
        st.builds(Workers, workers=st.integers(1, 20), cold_start_s=st.floats(0, 3), dispatch_s=st.floats(0, 0.1)),
        st.builds(
            Lambdas,
            concurrency=st.integers(1, 50),
            account_concurrency=st.integers(1, 50),
            cold_start_s=st.floats(0, 3),
            start_s=st.floats(0, 0.1),
        ),
    ),
    spread=st.floats(0, 1),
    failure_share=st.floats(0, 0.9),
    seed=st.integers(0, 2**32),
)
def test_what_holds_of_every_map(
    seconds: list[float], tasks: int, fleet: Fleet, spread: float, failure_share: float, seed: int
) -> None:
    work = Work(task_s=tuple(seconds), tasks=tasks, spread=spread, failure_share=failure_share)
    found = simulate(work, fleet, seed)
    assert found == simulate(work, fleet, seed)
    assert 1 <= found.peak <= fleet.slots
    assert 1 <= found.started <= min(fleet.slots, tasks + found.retries)
    assert found.busy_s <= found.map_s * found.started * (1 + 1e-9) + 1e-9
    assert 0 <= found.utilisation <= 1
    assert found.slowest[0].seconds <= found.map_s * (1 + 1e-9)
    assert 0 <= found.failed <= tasks
    assert found.retries <= 2 * tasks
    assert [tasks for _, tasks in found.curve][-1] == 0
    assert min(tasks for _, tasks in found.curve) >= 0


def test_more_workers_are_never_slower_and_a_longer_start_never_faster() -> None:
    work = even(997, 1.3, spread=0.3)

    def map_s(**more: Any) -> float:
        return simulate(work, Workers(**{"workers": 8, **more})).map_s

    assert map_s(workers=4) > map_s() > map_s(workers=16) > map_s(workers=997)
    assert map_s(cold_start_s=5.0) > map_s()


@pytest.mark.parametrize(
    "bad",
    [
        {"tasks": 0},
        {"tasks": 10**13},
        {"task_s": ()},
        {"task_s": (-1.0,)},
        {"task_s": (float("nan"),)},
        {"task_s": (float("inf"),)},
        {"failure_share": 1.0},
        {"failure_share": -0.1},
        {"straggler_share": 1.5},
        {"spread": -1.0},
        {"max_attempts": 0},
    ],
)
def test_work_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="simulation: got"):
        Work(**{"task_s": (1.0,), "tasks": 3, **bad})


@pytest.mark.parametrize(
    "fleet", [Workers(workers=0), Lambdas(concurrency=0), Lambdas(concurrency=5, account_concurrency=0)]
)
def test_a_fleet_of_nobody_is_refused(fleet: Fleet) -> None:
    with pytest.raises(InputError, match="expected 1 or more"):
        simulate(even(3), fleet)


def test_scaled_work_takes_as_much_longer() -> None:
    work = even(100, 2.0, initialize_s=1.0, summarize_s=3.0, spread=0.2)
    one, two = simulate(work, Workers(workers=7)), simulate(work.scaled(2.0), Workers(workers=7))
    assert two.run_s == pytest.approx(2 * one.run_s)
    assert isinstance(structs.replace(one, map_s=0.0), Simulated)
