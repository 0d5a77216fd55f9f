"""What AWS itself says of an execution: its status, the times of its states, how the map's children ended."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from skyfan.aws.machine import describe, unwrapped
from skyfan.aws.session import Cloud, explained

COUNTED = ("total", "succeeded", "failed", "timedOut", "aborted", "pending", "running")


class StateTime(Struct, frozen=True):
    """One visit of a state. Seconds since 1970, UTC."""

    name: str
    entered: float
    left: float | None
    """None if it was not left: it failed, or the execution was stopped."""


class History(Struct, frozen=True, kw_only=True):
    """One execution, as AWS tells it."""

    arn: str
    status: str
    error: str
    """Its kind and cause; empty if there is none."""
    started: float | None
    stopped: float | None
    states: tuple[StateTime, ...]
    children: tuple[tuple[str, int], ...]
    """Of the Distributed Map, by how they ended; those of which there are none are left out."""


def read_history(cloud: Cloud, arn: str) -> History | None:
    """Ask AWS of an execution; None if it does not know it any more (it forgets one after 90 days).

    Raises
    ------
    AwsError
        If AWS does not answer.
    """
    found = describe(cloud, arn)
    if found is None:
        return None
    client = cloud.client("stepfunctions")
    with explained(f"history of the execution {arn}"):
        pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
        states = _visits(event for page in pages for event in page["events"])
        runs = client.list_map_runs(executionArn=arn)["mapRuns"]
        counts = [client.describe_map_run(mapRunArn=run["mapRunArn"])["executionCounts"] for run in runs]
    children = [(name, sum(int(count.get(name, 0)) for count in counts)) for name in COUNTED]
    kind, cause = found.get("error") or "", unwrapped(found.get("cause") or "")
    return History(
        arn=arn,
        status=str(found["status"]),
        error=": ".join(text for text in (kind, cause) if text),
        started=_seconds(found.get("startDate")),
        stopped=_seconds(found.get("stopDate")),
        states=tuple(states),
        children=tuple((name, number) for name, number in children if number),
    )


def _visits(events: Iterable[Mapping[str, Any]]) -> list[StateTime]:
    """Return the visits of states in their order; a state can be visited more than once."""
    visits: list[StateTime] = []
    for event in events:
        kind, at = str(event["type"]), event["timestamp"].timestamp()
        if kind.endswith("StateEntered"):
            visits.append(StateTime(str(event["stateEnteredEventDetails"]["name"]), at, None))
        elif kind.endswith("StateExited"):
            name = event["stateExitedEventDetails"]["name"]
            open_ones = [number for number, visit in enumerate(visits) if visit.name == name and visit.left is None]
            if open_ones:
                visits[open_ones[0]] = StateTime(name, visits[open_ones[0]].entered, at)
    return visits


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment is not None else None
