"""Attempts that fail and are tried again, as the simulator plays them: by the rules of the map, here and on AWS."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skyfan.mapping import BACKOFF_RATE, BACKOFF_S, MAX_BACKOFF_S

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Failures:
    """Which attempts fail, where a worker takes another task until it is tried again: the rules of `skyfan.mapping`."""

    share: float
    """Of attempts."""
    max_attempts: int
    rng: np.random.Generator

    def part(self) -> float | None:
        """Return after what part of its seconds an attempt fails, None if it does not."""
        return float(self.rng.random()) if self.rng.random() < self.share else None

    def delay_s(self, attempt: int) -> float:
        """Return how long to wait after an attempt, as `skyfan.mapping.Policy.delay_s`."""
        return float(self.rng.uniform(0.5, 1.0)) * longest_delay_s(attempt)


@dataclass(frozen=True)
class Chains:
    """All attempts at each task end to end, where a task keeps its slot meanwhile: children of a state machine."""

    seconds: Floats
    """Of each task, with the waiting between its attempts, (tasks,)."""
    waited_s: float
    """Of all tasks."""
    retries: int
    failed: int
    """Tasks whose last attempt failed."""

    @classmethod
    def of(cls, seconds: Floats, failures: Failures) -> "Chains":
        """Play all attempts; the waiting is a random part of the longest, as JitterStrategy FULL has it."""
        chained, rng = seconds.copy(), failures.rng
        waited_s, retries, failed = 0.0, 0, 0
        pending = np.arange(len(seconds))
        for attempt in range(1, failures.max_attempts + 1):
            pending = pending[rng.random(len(pending)) < failures.share]
            lost_s = seconds[pending] * rng.random(len(pending))
            if attempt == failures.max_attempts:
                chained[pending] += lost_s - seconds[pending]  # it was counted as one that ends well
                failed = len(pending)
                break
            delays_s = longest_delay_s(attempt) * rng.random(len(pending))
            chained[pending] += lost_s + delays_s
            waited_s += float(delays_s.sum())
            retries += len(pending)
        return cls(chained, waited_s, retries, failed)


def longest_delay_s(attempt: int) -> float:
    """Return the longest wait after an attempt that failed: the same in `skyfan.mapping` and in the state machine."""
    return min(BACKOFF_S * BACKOFF_RATE ** (attempt - 1), MAX_BACKOFF_S)
