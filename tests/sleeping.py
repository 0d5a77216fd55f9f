"""A task that takes as long as it is told, on any machine: for worker processes of the local engine."""

import time
from collections.abc import Callable


def sleep(_context: str) -> Callable[[bytes, int], bytes]:
    """Return a task that sleeps for the seconds that its item says."""

    def work(item: bytes, _attempt: int) -> bytes:
        time.sleep(float(item))
        return b""

    return work
