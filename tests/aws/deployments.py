"""Deployments: what they are made of, how they are watched and answered, and the executions on their stacks."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moto.cloudformation.models import cloudformation_backends

from skyfan.aws import stack as stacks
from skyfan.aws.changes import Changes
from skyfan.aws.deploying import Deployed
from skyfan.aws.session import Cloud
from skyfan.aws.stack import Note, ResourceEvent

MOTO_ACCOUNT = "123456789012"
ELF = b"\x7fELF" + bytes(14) + (62).to_bytes(2, "little")
WAITING = json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3000, "End": True}}})


class Seen:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def __call__(self, event: Any) -> None:
        self.all.append(event)

    @property
    def changed(self) -> dict[str, tuple[str, ...]]:
        """Resources of all change sets, and the parameters that they were changed by."""
        return {
            change.resource: change.because for seen in self.all if isinstance(seen, Changes) for change in seen.changes
        }

    @property
    def statuses(self) -> list[tuple[str, str]]:
        return [(event.resource, event.status) for event in self.all if isinstance(event, ResourceEvent)]

    @property
    def notes(self) -> str:
        return "\n".join(event.text for event in self.all if isinstance(event, Note))


class Stopping(Seen):
    """Presses Ctrl-C when a resource has come to a status."""

    def __init__(self, status: str) -> None:
        super().__init__()
        self._status = status

    def __call__(self, event: Any) -> None:
        super().__call__(event)
        if isinstance(event, ResourceEvent) and event.status == self._status:
            raise KeyboardInterrupt


def answering(answer: bool, questions: list[Any]) -> Callable[[Any], bool]:
    """Answer every question the same, and keep them."""

    def ask(asked: Any) -> bool:
        questions.append(asked)
        return answer

    return ask


def write_zip(path: Path, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("skyfan/__init__.py", '__version__ = "0.1.0"\n')
        content.writestr("skyfan/aws/handlers.py", "def initialize(event, context):\n    return event\n")
        for name, data in more.items():
            content.writestr(name, data)
    return path


def deployed(done: Deployed) -> stacks.Stack:
    assert done.stack is not None
    return done.stack


def started(cloud: Cloud, stack: stacks.Stack, *names: str) -> list[str]:
    """Start executions that only wait; return their ARNs."""
    states = cloud.client("stepfunctions")
    states.update_state_machine(stateMachineArn=stack.state_machine_arn, definition=WAITING)
    return [
        states.start_execution(stateMachineArn=stack.state_machine_arn, name=name, input="{}")["executionArn"]
        for name in names
    ]


def statuses(cloud: Cloud, executions: list[str]) -> list[str]:
    states = cloud.client("stepfunctions")
    return [states.describe_execution(executionArn=arn)["status"] for arn in executions]


def make(cloud: Cloud, name: str, status: str = "CREATE_COMPLETE") -> None:
    """Make a small stack, and bring it to a status."""
    body = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": name}}}}
    cloud.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))
    (stack,) = (
        stack for stack in cloudformation_backends[MOTO_ACCOUNT]["us-east-1"].stacks.values() if stack.name == name
    )
    stack.status = status
