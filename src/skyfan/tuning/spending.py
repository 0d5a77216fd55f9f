"""What a pilot on AWS may cost, and did."""

from dataclasses import dataclass, field
from decimal import Decimal

from skyfan.watching import Billed, RunEvent, Started


@dataclass
class Spending:
    """What the pilot may cost, and did."""

    limit_usd: Decimal | None
    usd: Decimal = Decimal(0)
    notes: list[str] = field(default_factory=list)
    bills: int = 0
    executions: set[str] = field(default_factory=set)
    """That were started."""

    @property
    def left_usd(self) -> Decimal | None:
        """What is left to spend; None for no limit."""
        return None if self.limit_usd is None else self.limit_usd - self.usd

    def watch(self, event: RunEvent) -> None:
        """Add a bill, or what was started."""
        if isinstance(event, Started):
            self.executions.add(event.execution)
        if isinstance(event, Billed):
            self.bills += 1
            self.usd += event.cost.total_usd
            if not event.is_whole:
                self.notes.append("a bill of the pilot is a lower bound: log lines were missing")
