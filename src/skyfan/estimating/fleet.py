"""What tasks run on, as the simulator sees it: how many at once, from when on, and how fast they are handed out."""

from msgspec import Struct

CHILDREN = 10_000
"""Children of a Distributed Map at a time, at most; AWS's quota."""
ACCOUNT_CONCURRENCY = 1_000
"""Lambdas of an account at a time, unless it asked for more; some new accounts have 10."""
RAMP, RAMP_S = 1_000, 10.0
"""Environments that Lambda starts of a function in so many seconds, at most. It refills the allowance little by little,
and saves nothing up: docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html."""


class Workers(Struct, frozen=True, kw_only=True):
    """Processes of a machine or a cluster: all start at once, and one driver hands out the tasks."""

    workers: int
    cold_start_s: float = 0.0
    dispatch_s: float = 0.0
    """That the driver is busy with one attempt at a task: it hands out no other meanwhile."""

    @property
    def slots(self) -> int:
        """Tasks under way at once, at most."""
        return self.workers

    @property
    def gap_s(self) -> float:
        """Between two starts, at least."""
        return self.dispatch_s

    def opens(self, slots: int) -> list[float]:
        """Return when each worker may start at the earliest, s."""
        return [0.0] * slots


class Lambdas(Struct, frozen=True, kw_only=True):
    """Environments of a Lambda function behind a Distributed Map."""

    concurrency: int
    """Of the map."""
    account_concurrency: int = ACCOUNT_CONCURRENCY
    """That the account has free."""
    cold_start_s: float = 0.0
    start_s: float = 0.0
    """Between the starts of two children, at least. No such limit of a Distributed Map is known to us: 0 is none."""

    @property
    def slots(self) -> int:
        """Children at work at once, at most: what is more waits."""
        return min(self.concurrency, self.account_concurrency, CHILDREN)

    @property
    def gap_s(self) -> float:
        """Between two starts, at least."""
        return self.start_s

    def opens(self, slots: int) -> list[float]:
        """Return when each environment may start at the earliest, s."""
        return [max(0.0, (number + 1 - RAMP) * RAMP_S / RAMP) for number in range(slots)]


Fleet = Workers | Lambdas
