"""The account of one user of an emulated AWS: the user's shell, and the clients of the owner."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from aws.emulator import KEY, SECRET
from running import SKYFAN

STACK, REGION = "life", "us-east-1"
SURVEY = "surveys/25MB"

Events = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Account:
    """An account with our stack, and its user's folder and shell."""

    folder: Path
    environment: dict[str, str]
    endpoint: dict[str, str]
    bucket: str = ""
    """That the stack made."""
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """Return a client of the account's owner, who may do everything."""
        if service not in self.clients:
            keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": REGION}
            self.clients[service] = boto3.client(service, **keys, **self.endpoint)
        return self.clients[service]

    def payload(self, name: str, **keys: object) -> Path:
        """Write a payload of the user's."""
        path = self.folder / f"{name}.json"
        place = {"bucket": self.bucket, "data_bucket": self.bucket, "data_prefix": SURVEY}
        path.write_text(json.dumps({**place, "result_path": f"results/{name}", **keys}))
        return path

    def begin(self, *arguments: object) -> "subprocess.Popen[str]":
        """Start a command."""
        return subprocess.Popen(
            [*SKYFAN, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )

    def shell(self, *arguments: object, code: int = 0) -> str:
        """Type a command, see that it exits with this code, and return what it printed on either output."""
        process = self.begin(*arguments)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"{arguments}\n{out}\n{err}"
        return out + err

    def run(self, payload: Path, *options: str) -> Events:
        """Run a payload to its end; return what it told."""
        return events(self.shell("run", payload, "--engine", "aws", "--json", *options))

    def stored(self, folder: str) -> dict[str, bytes]:
        """Return what lies below a folder of the bucket, by name."""
        s3 = self.client("s3")
        found = s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{folder}/").get("Contents", [])
        return {
            item["Key"].removeprefix(f"{folder}/"): s3.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            for item in found
        }

    def summary(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stored(f"results/{name}")["summary.json"])
        return found

    def executions(self, name: str) -> list[str]:
        """Return what became of a run's executions, the newest first."""
        machine = f"arn:aws:states:{REGION}:000000000000:stateMachine:{STACK}"
        found = self.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
        return [execution["status"] for execution in found if f"-results-{name}-" in execution["name"]]

    def invoke(self, function: str, event: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        """Call a function as the state machine does; return whether it ended well, and its answer."""
        answer = self.client("lambda").invoke(FunctionName=f"{STACK}-{function}", Payload=json.dumps(event).encode())
        return "FunctionError" not in answer, json.loads(answer["Payload"].read())

    def log(self, function: str) -> str:
        pages = self.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=f"/aws/lambda/{STACK}-{function}")
        return "\n".join(event["message"] for page in found for event in page["events"])


def events(text: str) -> Events:
    """Return JSON lines by the name of their event."""
    found: Events = {}
    for line in text.splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], []).append(event)
    return found
