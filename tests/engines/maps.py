"""Mapping items on an engine, and what came of it."""

import json
from collections.abc import Callable

from skyfan.engines.base import Engine
from skyfan.mapping import Event, Mapped, Policy, Succeeded, fan_out

QUICK = Policy(backoff_s=0.01)


def run(engine: Engine, count: int, policy: Policy = QUICK) -> tuple[Mapped, list[Event]]:
    """Map so many items; return how it ended and all that was told."""
    events: list[Event] = []
    mapped = fan_out(engine, items(count), policy, events.append)
    return mapped, events


def results(events: list[Event]) -> dict[int, dict[str, int]]:
    """Return what the items answered."""
    return {event.number: json.loads(event.result) for event in events if isinstance(event, Succeeded)}


def hurt_after(events: list[Event], count: int, hurt: Callable[[], object]) -> Callable[[Event], None]:
    """Return a watcher that does harm once, when so many events have come."""

    def watch(event: Event) -> None:
        events.append(event)
        if len(events) == count:
            hurt()

    return watch


def items(count: int) -> dict[int, bytes]:
    """Return that many items, each its number."""
    return {number: str(number).encode() for number in range(count)}
