"""A finished definition, a payload's run by the handlers, and accounts that a stack can be deployed in."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from moto.iam import access_control

from aws.accounts import enter
from aws.deployments import write_zip
from aws.emulator import Emulator, ministack
from aws.states import Machine, filled, load_models, serve
from s3 import request
from skyfan.aws import following, handlers
from skyfan.aws import stack as stacks
from skyfan.aws.session import Cloud
from skyfan.keys import RunKeys
from skyfan.storage import Bucket, Store


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


@pytest.fixture
def arn(machine: Machine, definition: str) -> str:
    """Our state machine, made on moto."""
    return machine.create(filled(definition))


@pytest.fixture
def bucket(machine: Machine) -> Bucket:
    """The bucket `sky` of that AWS."""
    return Store("s3://").bucket("sky")


@pytest.fixture
def payload(event: dict[str, Any]) -> dict[str, Any]:
    """The payload of `event`."""
    asked: dict[str, Any] = event["payload"]
    return asked


@pytest.fixture
def keys(payload: dict[str, Any]) -> RunKeys:
    """What its run stores."""
    return RunKeys(payload["result_path"])


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a stack often: those of emulators are made at once."""
    monkeypatch.setattr(stacks, "POLL_S", 0.05)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a run often: those of emulators take no time."""
    monkeypatch.setattr(following, "look_every_s", lambda tasks: 0.1)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package: what is in a real one, test_package.py tests."""
    return write_zip(tmp_path / "package.zip")


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    pytest.importorskip("ministack")
    with ministack(tmp_path_factory.mktemp("ministack"), auth=True) as found, pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", load_models)
        yield found


@pytest.fixture
def cloud(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, fast: None) -> Cloud:
    """An account on ministack, which all tests share: each has a stack of its own name."""
    return enter(emulator.environment, monkeypatch)


@pytest.fixture
def moto(_machine: Machine, monkeypatch: pytest.MonkeyPatch, fast: None) -> Cloud:
    """An empty account on moto."""
    request(_machine.address, "POST", "/moto-api/reset")
    allowed = access_control.IAMPolicyStatement.is_action_permitted

    def over_tls(self: Any, *args: Any, **kwargs: Any) -> Any:
        """Heed the one condition that there is in our buckets' policies, which moto takes for fulfilled."""
        if self._statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}:
            return access_control.PermissionResult.NEUTRAL
        return allowed(self, *args, **kwargs)

    monkeypatch.setattr(access_control.IAMPolicyStatement, "is_action_permitted", over_tls)
    return enter(
        {
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": _machine.address,
        },
        monkeypatch,
    )
