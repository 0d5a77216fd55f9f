"""The rules of the map: who goes next, what is tried again, and when enough has failed."""

import heapq
import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from skyfan.engines.base import Engine, Outcome
from skyfan.payload import Payload
from skyfan.task import TaskError

BACKOFF_S = 1.0
BACKOFF_RATE = 2.0
MAX_BACKOFF_S = 30.0
CHECK_S = 1.0


@dataclass(frozen=True)
class Policy:
    """How hard to try. The state machine's definition says the same for AWS; a test holds the two together."""

    max_attempts: int = 3
    tolerated_failures: int = 0
    """More failed items than this end the map."""
    max_concurrency: int | None = None
    backoff_s: float = BACKOFF_S
    """Before the second attempt; `BACKOFF_RATE` times that before each further one, less a random part, up to half."""

    @staticmethod
    def of(payload: Payload, tasks: int) -> "Policy":
        """Take the rules from a payload; of a count and a percentage the smaller holds, as in Step Functions."""
        limits = []
        if payload.tolerated_failure_count is not None:
            limits.append(payload.tolerated_failure_count)
        if payload.tolerated_failure_percentage is not None:
            share = Fraction(str(payload.tolerated_failure_percentage)) / 100  # exact: 0.57 % of 10,000 are 57
            limits.append(math.floor(tasks * share))
        return Policy(payload.max_attempts, min(limits, default=0), payload.max_concurrency)

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait before an attempt."""
        longest = min(self.backoff_s * BACKOFF_RATE ** (attempt - 2), MAX_BACKOFF_S)
        return random.uniform(longest / 2, longest)  # noqa: S311


@dataclass(frozen=True)
class Succeeded:
    """An item is done."""

    number: int
    result: bytes


@dataclass(frozen=True)
class Retrying:
    """An attempt failed in a way that can pass."""

    number: int
    attempt: int
    """The one that failed."""
    delay_s: float
    error: TaskError


@dataclass(frozen=True)
class Failed:
    """An item is given up."""

    number: int
    attempts: int
    error: TaskError


Event = Succeeded | Retrying | Failed


@dataclass
class Mapped:
    """How a map ended."""

    succeeded: int = 0
    retries: int = 0
    failed: dict[int, TaskError] = field(default_factory=dict)
    cause: TaskError | None = None
    """The failure that every other item would have met too, if there was one."""
    not_started: int = 0
    """Items that the map did not come to, since enough had failed."""
    not_tried_again: int = 0
    """Items whose last attempt failed in a way that can pass, when enough had failed."""


def fan_out(
    engine: Engine,
    items: Mapping[int, bytes],
    policy: Policy,
    watch: Callable[[Event], None],
    check: Callable[[], None] = lambda: None,
) -> Mapped:
    """Run every item on an engine.

    Parameters
    ----------
    engine : Engine
    items : mapping
        Number -> item, in the order to start them.
    policy : Policy
    watch : callable
        Told of every event, as it happens.
    check : callable
        Called once a second or more often; what it raises ends the map.

    Returns
    -------
    Mapped
        Once too many have failed no new item starts; those under way are waited for.
    """
    return _Map(engine, items, policy, watch).run(check)


class _Map:
    def __init__(
        self, engine: Engine, items: Mapping[int, bytes], policy: Policy, watch: Callable[[Event], None]
    ) -> None:
        self._engine = engine
        self._items = items
        self._policy = policy
        self._watch = watch
        self._fresh = deque(items)
        self._delayed: list[tuple[float, int]] = []
        self._attempts: dict[int, int] = {}
        self._under_way = 0
        self._result = Mapped()

    def run(self, check: Callable[[], None]) -> Mapped:
        while True:
            check()
            slots = min(self._engine.slots, self._policy.max_concurrency or self._engine.slots)
            while self._under_way < slots and (number := self._next()) is not None:
                self._attempts[number] = self._attempts.get(number, 0) + 1
                self._engine.submit(number, self._attempts[number], self._items[number])
                self._under_way += 1
            if not self._under_way and (self._over() or not (self._fresh or self._delayed)):
                break
            for outcome in self._engine.wait(self._patience(slots)):
                self._under_way -= 1
                self._settle(outcome)
        self._result.not_started, self._result.not_tried_again = len(self._fresh), len(self._delayed)
        return self._result

    def _next(self) -> int | None:
        if self._over():
            return None
        if self._delayed and self._delayed[0][0] <= time.monotonic():
            return heapq.heappop(self._delayed)[1]
        return self._fresh.popleft() if self._fresh else None

    def _over(self) -> bool:
        return len(self._result.failed) > self._policy.tolerated_failures or self._result.cause is not None

    def _patience(self, slots: int) -> float:
        if self._delayed and self._under_way < slots:
            return min(CHECK_S, max(0.0, self._delayed[0][0] - time.monotonic()))
        return CHECK_S

    def _settle(self, outcome: Outcome) -> None:
        number, error = outcome.number, outcome.error
        attempt = self._attempts[number]
        if error is None:
            self._result.succeeded += 1
            self._watch(Succeeded(number, outcome.result))
        elif error.may_pass and attempt < self._policy.max_attempts:
            delay = self._policy.delay_s(attempt + 1)
            heapq.heappush(self._delayed, (time.monotonic() + delay, number))
            self._result.retries += 1
            self._watch(Retrying(number, attempt, delay, error))
        else:
            self._result.failed[number] = error
            if error.ends_run and self._result.cause is None:
                self._result.cause = error
            self._watch(Failed(number, attempt, error))
