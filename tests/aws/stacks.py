"""A stack as CloudFormation describes it, around a state machine on moto, and what Lambda logs of its functions."""

import json
import os
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3

from aws.states import Handler, Machine, filled
from skyfan.aws.handlers import RUN_LINE

NAME = "skyfan"
PARAMETERS = {
    "Bucket": "sky",
    "DataBucket": "",
    "DataPrefix": "25MB",
    "ResultPrefix": "results",
    "ModelPrefix": "models",
    "ScriptPrefix": "scripts",
    "Architecture": "arm64",
    "InferMemory": "1769",
    "InferTimeout": "90",
    "InferStorage": "512",
    "InferLargeMemory": "3008",
    "InferLargeTimeout": "120",
    "ScriptImage": "",
    "ScriptMemory": "3008",
    "ScriptTimeout": "900",
    "ScriptStorage": "2048",
    "ControlMemory": "1769",
    "MaxConcurrency": "500",
    "ChildExecutionType": "EXPRESS",
}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scripts:1"
FUNCTIONS = {
    "Initialize": "initialize",
    "Infer": "infer",
    "InferLarge": "infer-large",
    "Script": "script",
    "Summarize": "summarize",
}


def client(service: str) -> Any:
    """Return a client of the AWS that the environment names; it is kept, since every call of a function logs."""
    return _client(service, os.environ["AWS_ENDPOINT_URL"])


@cache
def _client(service: str, address: str) -> Any:
    return boto3.client(service, region_name="us-east-1", endpoint_url=address)


def make_stack(state_machine: str, **parameters: str) -> None:
    """Make a stack with the parameters and outputs of ours, of which nothing is made but the functions' logs."""
    given = PARAMETERS | parameters
    outputs = {"StateMachineArn": state_machine, "BucketName": "sky", "DataBucketName": "sky"}
    body = {
        "Parameters": {name: {"Type": "String"} for name in given},
        "Resources": {
            f"Logs{number}": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": group(function)}}
            for number, function in enumerate(FUNCTIONS.values())
        },
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    client("cloudformation").create_stack(
        StackName=NAME,
        TemplateBody=json.dumps(body),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
    )


def deploy(machine: Machine, definition: str, **parameters: str) -> str:
    """Make state machine and stack, with functions that log as Lambda's do; return the state machine's ARN."""
    arn = machine.create(filled(definition))
    make_stack(arn, **parameters)
    for name, handler in machine.handlers.items():
        machine.handlers[name] = logging(name, handler)
    return arn


def group(function: str) -> str:
    return f"/aws/lambda/{NAME}-{function}"


@dataclass
class Context:
    aws_request_id: str


def logging(name: str, handler: Handler, memory_mb: int = 1769) -> Handler:
    """Have a function log what Lambda logs of each invocation, in its own words."""

    def call(event: dict[str, Any], context: object) -> Any:
        request, started = str(uuid.uuid4()), time.monotonic()
        try:
            return handler(event, Context(request))
        finally:
            duration_ms = 1000 * (time.monotonic() - started)
            log(FUNCTIONS[name], lines(request, run_of(event), duration_ms, memory_mb))

    return call


def run_of(event: dict[str, Any]) -> str:
    asked = event["task"] if "task" in event else (event.get("request") or event["begun"])["payload"]
    return f"{asked['bucket']}/{asked['result_path']}"


def lines(request: str, run: str, duration_ms: float, memory_mb: int, init_ms: float | None = None) -> list[str]:
    billed = -int(-(duration_ms + (init_ms or 0)) // 1)
    init = f"\tInit Duration: {init_ms:.2f} ms" if init_ms is not None else ""
    duration = f"Duration: {duration_ms:.2f} ms\tBilled Duration: {billed} ms"
    return [
        "INIT_START Runtime Version: python:3.13.v41\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:0b6c\n",
        f"START RequestId: {request} Version: $LATEST\n",
        f"{RUN_LINE}{run} RequestId: {request}\n",
        f"END RequestId: {request}\n",
        f"REPORT RequestId: {request}\t{duration}\tMemory Size: {memory_mb} MB\tMax Memory Used: 141 MB{init}\t\n",
    ]


def log(function: str, messages: list[str]) -> None:
    """Put lines into a function's log; an execution that outlived its test has none any more."""
    logs, stream = client("logs"), f"2026/11/24/[$LATEST]{uuid.uuid4().hex}"
    now = round(1000 * time.time())
    events = [{"timestamp": now, "message": message} for message in messages]
    with suppress(logs.exceptions.ResourceNotFoundException):
        logs.create_log_stream(logGroupName=group(function), logStreamName=stream)
        logs.put_log_events(logGroupName=group(function), logStreamName=stream, logEvents=events)
