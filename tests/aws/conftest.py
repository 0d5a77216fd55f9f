"""A finished definition, and a payload's run by the handlers."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import boto3
import pytest

from aws.states import Machine, serve
from s3 import request
from skyfan.aws import handlers


@pytest.fixture(autouse=True)
def own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 look for credentials in each test: its default session keeps those that it found first."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture
def definition() -> str:
    return (files("skyfan.aws") / "statemachine.asl.json").read_text()


@pytest.fixture
def fresh_store() -> Iterator[None]:
    handlers._store.cache_clear()
    yield
    handlers._store.cache_clear()


@pytest.fixture
def in_folder(root: Path, monkeypatch: pytest.MonkeyPatch, fresh_store: None) -> Path:
    """The store's folder, which the handlers take for theirs."""
    monkeypatch.setenv("SKYFAN_STORE", str(root))
    return root


@pytest.fixture(scope="session")
def _machine() -> Iterator[Machine]:
    with serve() as machine:
        yield machine


@pytest.fixture
def machine(_machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch, fresh_store: None) -> Machine:
    """An empty AWS on loopback, with the store's content in its bucket `sky` and our handlers as its functions."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": _machine.address,
    }.items():
        monkeypatch.setenv(name, value)
    request(_machine.address, "POST", "/moto-api/reset")
    request(_machine.address, "PUT", "/sky")
    for path in (root / "sky").rglob("*"):
        if path.is_file():
            request(_machine.address, "PUT", f"/sky/{path.relative_to(root / 'sky')}", path.read_bytes())
    _machine.calls.clear()
    _machine.handlers = {
        "Initialize": handlers.initialize,
        "Infer": handlers.infer,
        "InferLarge": handlers.infer,
        "Summarize": handlers.summarize,
    }
    return _machine


@pytest.fixture
def event(asked: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """What an execution is started with; each test has a result path of its own."""
    return {"payload": asked | {"result_path": f"results/{abs(hash(request.node.name))}"}}
