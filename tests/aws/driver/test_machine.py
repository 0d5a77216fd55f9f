"""The state machine's executions: how they are named, and how their ends are said."""

from typing import Any

import pytest

from aws.stacks import client
from skyfan.aws import machine as executions
from skyfan.aws.session import Cloud
from skyfan.errors import RunFailedError, RunStoppedError, StackError
from skyfan.payload import Payload


def test_names_of_executions_are_valid_and_their_own() -> None:
    long = "sky/results/" + "a b/ü." * 60
    names = {executions.execution_name(long) for _ in range(20)}
    assert len(names) > 1
    assert all(len(name) <= 80 and name.replace("-", "").isalnum() and name.isascii() for name in names)


def test_a_state_machine_that_was_deleted_is_said(arn: str, asked: dict[str, Any], payload: Payload) -> None:
    client("stepfunctions").delete_state_machine(stateMachineArn=arn)
    with pytest.raises(StackError, match="there is no state machine"):
        executions.start(Cloud(), arn, payload, overwrite=False)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ('{"errorMessage": "no such key", "errorType": "StoreError", "stackTrace": ["x"]}', "no such key"),
        ("sky/one: 3 of 4 tasks done", "sky/one: 3 of 4 tasks done"),
        ('{"errorMessage": ""}', '{"errorMessage": ""}'),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_causes_are_unwrapped(cause: str, expected: str) -> None:
    assert executions.unwrapped(cause) == expected


@pytest.mark.parametrize(
    ("found", "message", "kind"),
    [
        ({"status": "TIMED_OUT"}, "took longer than", RunFailedError),
        (
            {"status": "ABORTED", "error": "Stopped", "cause": "skyfan stop"},
            r"stopped \(skyfan stop\)",
            RunStoppedError,
        ),
        (
            {"status": "FAILED", "error": "Lambda.ResourceNotFoundException", "cause": "x"},
            "stack is gone",
            RunFailedError,
        ),
        ({"status": "FAILED", "error": "States.Runtime"}, "sky/one: States.Runtime. Mend it", RunFailedError),
    ],
)
def test_every_end_has_its_words(found: dict[str, Any], message: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=message):
        executions.raise_failed("sky/one", found, None)
