"""A whole execution on ministack: the functions run in processes of their own, and what is tolerated is enforced."""

import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from aws.states import FUNCTIONS, filled
from s3 import request

pytest.importorskip("ministack")

SOURCE = Path(__file__).parents[2] / "src"
CODE = f"""
import sys
sys.path[:0] = {[str(SOURCE), *(path for path in sys.path if path.endswith("site-packages"))]!r}
from skyfan.aws.handlers import infer, initialize, summarize
"""
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve AWS on loopback, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "LAMBDA_EXECUTOR": "local", "SFN_WAIT_SCALE": "0.1"}
    folder = tmp_path_factory.mktemp("ministack")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env=os.environ | ENVIRONMENT | options,
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < until
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def cloud(address: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client of Step Functions, with our functions made and the store's content in the bucket `sky`."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    request(address, "PUT", "/sky")
    for path in (root / "sky").rglob("*"):
        if path.is_file():
            request(address, "PUT", f"/sky/{path.relative_to(root / 'sky')}", path.read_bytes())
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as package:
        package.writestr("app.py", CODE)
    functions = boto3.client("lambda", endpoint_url=address, region_name="us-east-1")
    for name in FUNCTIONS:
        functions.create_function(
            FunctionName=name,
            Runtime="python3.11",
            Handler=f"app.{'infer' if name in {'InferLarge', 'Script'} else name.lower()}",
            Role="arn:aws:iam::000000000000:role/skyfan",
            Code={"ZipFile": content.getvalue()},
            Timeout=120,
            Environment={"Variables": {"SKYFAN_STORE": "s3://", "AWS_ENDPOINT_URL": address}},
        )
    return boto3.client("stepfunctions", endpoint_url=address, region_name="us-east-1")


def execute(cloud: Any, arn: str, event: dict[str, Any]) -> dict[str, Any]:
    started = cloud.start_execution(stateMachineArn=arn, input=json.dumps(event))
    until = time.monotonic() + 180
    while time.monotonic() < until:
        found: dict[str, Any] = cloud.describe_execution(executionArn=started["executionArn"])
        if found["status"] != "RUNNING":
            return found
        time.sleep(0.1)
    raise AssertionError("the execution does not end")


def test_an_execution_is_complete_and_one_with_a_bad_partition_fails(
    cloud: Any, address: str, definition: str, event: dict[str, Any]
) -> None:
    role = "arn:aws:iam::000000000000:role/skyfan"
    text = filled(definition, ChildExecutionType="EXPRESS")
    arn = cloud.create_state_machine(name="skyfan", definition=text, roleArn=role)["stateMachineArn"]
    found = execute(cloud, arn, event)
    assert found["status"] == "SUCCEEDED", found
    verdict = json.loads(found["output"])
    assert (verdict["status"], verdict["tasks_ok"], verdict["rows_out"]) == ("complete", 4, 34)
    request(address, "PUT", "/sky/25MB/2.safetensors", b"no partition")
    event["payload"]["result_path"] += "-bad"
    found = execute(cloud, arn, event)
    assert (found["status"], found["error"]) == ("FAILED", "RunFailedError"), found
    assert "3 of 4 tasks done" in found["cause"]
    assert "States.ExceedToleratedFailureThreshold" in found["cause"]
