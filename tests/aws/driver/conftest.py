"""A stack on moto, and a payload for it with a path of its own."""

import hashlib
import threading
from typing import Any

import pytest
from moto.stepfunctions.parser.backend.execution import Execution

from aws.stacks import deploy
from aws.states import Machine
from skyfan.keys import RunKeys
from skyfan.payload import Payload, parse_payload
from skyfan.storage import Bucket, Store


@pytest.fixture
def asked(asked: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """With a path of its own: executions that a test leaves under way must not meet the next one's."""
    return asked | {"result_path": f"results/{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"}


@pytest.fixture
def keys(asked: dict[str, Any]) -> RunKeys:
    return RunKeys(asked["result_path"])


@pytest.fixture
def run_id(asked: dict[str, Any]) -> str:
    return f"sky/{asked['result_path']}"


@pytest.fixture
def at_stop(monkeypatch: pytest.MonkeyPatch) -> list[threading.Event]:
    """Events that are set once an execution is told to stop: moto waits for what is under way, as AWS does not."""
    events: list[threading.Event] = []
    original = Execution.stop

    def stop(*arguments: Any, **options: Any) -> None:
        original(*arguments, **options)
        for event in events:
            event.set()

    monkeypatch.setattr(Execution, "stop", stop)
    return events


@pytest.fixture
def arn(machine: Machine, definition: str, often: None) -> str:
    return deploy(machine, definition)


@pytest.fixture
def bucket(arn: str) -> Bucket:
    return Store("s3://").bucket("sky")


@pytest.fixture
def payload(asked: dict[str, Any]) -> Payload:
    return parse_payload(asked)[0]
