"""Executions as a test sees them: watched, held up, listed, and asked about on the command line."""

import os
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from aws.stacks import client
from aws.states import Machine
from running import SKYFAN
from skyfan.watching import Planned, RunEvent


class Seen(list[RunEvent]):
    """Every event but the ticks; sets an event of threading once the plan is told."""

    def __init__(self, go: threading.Event | None = None) -> None:
        super().__init__()
        self._go = go

    def __call__(self, event: RunEvent) -> None:
        if isinstance(event, Planned) and self._go:
            self._go.set()
        if type(event).__name__ != "Ticked":
            self.append(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def interrupt_at(kind: type) -> Callable[[RunEvent], None]:
    def watch(event: RunEvent) -> None:
        if isinstance(event, kind):
            raise KeyboardInterrupt

    return watch


def executions_of(arn: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    return found


def slowed(machine: Machine, name: str = "Infer") -> threading.Event:
    """Have a function wait until the returned event is set."""
    go, handler = threading.Event(), machine.handlers[name]

    def wait(event: dict[str, Any], context: object) -> Any:
        go.wait(60)
        return handler(event, context)

    machine.handlers[name] = wait
    return go


def command(machine: Machine, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*SKYFAN, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120, env=os.environ
    )
