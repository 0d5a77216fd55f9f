"""The rules of the map, on an engine that is a list."""

from types import TracebackType
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfan.engines.base import Outcome
from skyfan.mapping import Policy, Succeeded, fan_out
from skyfan.payload import parse_payload
from skyfan.task import TaskError

REQUIRED = {"bucket": "b", "data_bucket": "d", "data_prefix": "p", "result_path": "r"}


class ListEngine:
    """Does items in this process, in the order handed in; `plan` says how each attempt ends."""

    def __init__(self, plan: dict[int, list[bool]], slots: int) -> None:
        self.slots = slots
        self.most_at_once = 0
        self._plan = plan
        self._queue: list[tuple[int, int]] = []

    def submit(self, number: int, attempt: int, item: bytes) -> None:
        self._queue.append((number, attempt))
        self.most_at_once = max(self.most_at_once, len(self._queue))

    def wait(self, timeout_s: float | None) -> list[Outcome]:
        if not self._queue:
            return []
        number, attempt = self._queue.pop(0)
        steps = self._plan.get(number, [True])
        if steps[min(attempt, len(steps)) - 1]:
            return [Outcome(number, b"done")]
        return [Outcome(number, error=TaskError("StoreError", "on purpose", may_pass=True))]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@given(
    plan=st.dictionaries(st.integers(0, 20), st.lists(st.booleans(), min_size=1, max_size=4)),
    items=st.integers(0, 21),
    slots=st.integers(1, 5),
    concurrency=st.none() | st.integers(1, 6),
    attempts=st.integers(1, 4),
    tolerated=st.integers(0, 22),
)
def test_every_item_ends_in_one_way(
    plan: dict[int, list[bool]], items: int, slots: int, concurrency: int | None, attempts: int, tolerated: int
) -> None:
    engine = ListEngine(plan, slots)
    done: list[int] = []
    policy = Policy(attempts, tolerated, concurrency, backoff_s=0.0)
    mapped = fan_out(
        engine,
        dict.fromkeys(range(items), b""),
        policy,
        lambda event: done.append(event.number) if isinstance(event, Succeeded) else None,
    )
    assert len(set(done)) == len(done) == mapped.succeeded
    assert mapped.succeeded + len(mapped.failed) + mapped.not_started + mapped.not_tried_again == items
    assert not set(done) & set(mapped.failed)
    assert engine.most_at_once <= min(slots, concurrency or slots)
    if len(mapped.failed) <= tolerated:
        assert mapped.not_started == mapped.not_tried_again == 0
        ends = {number: steps + steps[-1:] * attempts for number, steps in plan.items()}
        assert set(done) == {number for number in range(items) if any(ends.get(number, [True])[:attempts])}


@pytest.mark.parametrize(
    ("asked", "tasks", "tolerated"),
    [
        ({}, 100, 0),
        ({"tolerated_failure_count": 7}, 100, 7),
        ({"tolerated_failure_percentage": 2.5}, 100, 2),
        ({"tolerated_failure_percentage": 0.57}, 10_000, 57),
        ({"tolerated_failure_percentage": "100"}, 8, 8),
        ({"tolerated_failure_percentage": 50, "tolerated_failure_count": 3}, 100, 3),
        ({"tolerated_failure_percentage": 1, "tolerated_failure_count": 3}, 100, 1),
    ],
)
def test_tolerated_failures_are_those_of_step_functions(asked: dict[str, object], tasks: int, tolerated: int) -> None:
    payload, _ = parse_payload({**REQUIRED, **asked})
    assert Policy.of(payload, tasks).tolerated_failures == tolerated


def test_delays_grow_and_end() -> None:
    policy = Policy(backoff_s=1.0)
    assert all(0.5 <= policy.delay_s(2) <= 1.0 for _ in range(50))
    assert all(2.0 <= policy.delay_s(4) <= 4.0 for _ in range(50))
    assert policy.delay_s(40) <= 30.0
