"""Mapping items on an engine, and what came of it."""

import json

from skyfan.engines.base import Engine
from skyfan.mapping import Event, Mapped, Policy, Succeeded, fan_out

QUICK = Policy(backoff_s=0.01)


def run(engine: Engine, items: int, policy: Policy = QUICK) -> tuple[Mapped, list[Event]]:
    """Map so many items; return how it ended and all that was told."""
    events: list[Event] = []
    mapped = fan_out(engine, {number: str(number).encode() for number in range(items)}, policy, events.append)
    return mapped, events


def results(events: list[Event]) -> dict[int, dict[str, int]]:
    """Return what the items answered."""
    return {event.number: json.loads(event.result) for event in events if isinstance(event, Succeeded)}
