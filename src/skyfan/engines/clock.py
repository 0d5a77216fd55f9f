"""The time limit of one attempt. It lives on one event loop."""

import asyncio
from dataclasses import dataclass


@dataclass(eq=False)
class Clock:
    """Runs from when a worker begins an attempt: waiting for a worker is no part of it."""

    late: "asyncio.Future[None]"
    """Done when the attempt has taken too long."""
    timer: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        """Whether the attempt has begun."""
        return self.timer is not None

    def start(self, timeout_s: float) -> None:
        """Begin."""
        self.stop()
        self.timer = self.late.get_loop().call_later(timeout_s, self._ring)

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _ring(self) -> None:
        if not self.late.done():
            self.late.set_result(None)
