"""What a state does, in a few words: its resource, its limits, its wait, its errors."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from skyfan.graph.conditions import jsonata_text, path_text
from skyfan.graph.machine import Retry
from skyfan.wording import counted

SERVICES = {
    "lambda": "Lambda",
    "dynamodb": "DynamoDB",
    "sns": "SNS",
    "sqs": "SQS",
    "s3": "S3",
    "ecs": "ECS",
    "batch": "Batch",
    "glue": "Glue",
    "states": "Step Functions",
    "sfn": "Step Functions",
    "sagemaker": "SageMaker",
    "events": "EventBridge",
    "eventbridge": "EventBridge",
    "athena": "Athena",
    "bedrock": "Bedrock",
    "http": "HTTP",
}
"""As AWS writes them; another service is called as its ARN calls it."""
WAYS = {"sync": "waits for its end", "waitForTaskToken": "waits for an answer"}

TIMES = "\N{MULTIPLICATION SIGN}"

_INTEGRATION = re.compile(r"arn:[\w-]+:states:[^:]*:[^:]*:(?:aws-sdk:)?([\w-]+):([\w-]+)(?:\.(\w+))?(?::\d+)?")
_FUNCTION = re.compile(r"arn:[\w-]+:lambda:[^:]*:[^:]*:function:([^:]+)(?::.*)?")
_NONE = {"", "0", "0 s", "0 %"}
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def task_text(state: Mapping[str, Any]) -> str:
    """Return what a Task calls: `Lambda: InferFunction`, `DynamoDB putItem`, `Batch submitJob, waits for its end`."""
    resource = str(state.get("Resource", ""))
    function = _FUNCTION.fullmatch(resource)
    if function:
        return f"Lambda: {function[1]}"
    found = _INTEGRATION.fullmatch(resource)
    if not found:
        return unwrapped(resource)
    service, action, way = found.groups()
    given = state.get("Arguments", state.get("Parameters"))
    named = given.get("FunctionName") if isinstance(given, Mapping) else None
    waits = f", {WAYS[way]}" if way in WAYS else ""
    if service == "lambda" and isinstance(named, str):
        whole = _FUNCTION.fullmatch(named)
        return f"Lambda: {whole[1] if whole else unwrapped(named)}{waits}"
    if service == "activity":
        return f"Activity {action}"
    return f"{SERVICES.get(service, service)} {action}{waits}"


def map_text(processor: Mapping[str, Any]) -> str:
    """Return how a Map runs its items: `Distributed Map, EXPRESS children`, or `Map`."""
    config = processor.get("ProcessorConfig")
    config = config if isinstance(config, Mapping) else {}
    if config.get("Mode") != "DISTRIBUTED":
        return "Map"
    children = config.get("ExecutionType")
    return f"Distributed Map, {children} children" if children else "Distributed Map"


def limits(state: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a state's limits: of time, of children at a time, of failures."""
    tolerated = [
        _with_unit(_setting(state, "ToleratedFailurePercentage"), "%"),
        _setting(state, "ToleratedFailureCount"),
    ]
    failures = " or ".join(value for value in tolerated if value not in _NONE)
    found = [
        ("at most {}", _with_unit(_setting(state, "TimeoutSeconds"), "s")),
        ("{} at a time", _setting(state, "MaxConcurrency")),
        ("{} may fail", failures),
    ]
    items = _items(state)
    return (*([items] if items else []), *(text.format(value) for text, value in found if value not in _NONE))


def wait_text(state: Mapping[str, Any]) -> str:
    """Return how long a Wait waits: `10 s`, `until 2026-11-24T00:00:00Z`, `delay`."""
    seconds, moment = _setting(state, "Seconds"), _setting(state, "Timestamp")
    return f"until {moment}" if moment else _with_unit(seconds, "s")


def fail_text(state: Mapping[str, Any]) -> str:
    """Return the error that a Fail ends with, and its cause where that is written out."""
    error, cause = _setting(state, "Error"), state.get("Cause")
    return ": ".join(text for text in (error, jsonata_text(cause) if isinstance(cause, str) else "") if text)


def errors_text(errors: Sequence[str], shown: int = 2) -> str:
    """Return the names of errors, those above `shown` as `+3 more`."""
    names = ["any error" if name == "States.ALL" else name for name in errors]
    rest = len(names) - shown
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:shown])} +{rest} more"


def retry_text(retry: Retry, shown: int = 1) -> str:
    """Return a rule of a Retry: `5× Lambda.AWSLambdaException +3 more`."""
    errors = errors_text(retry.errors, shown)
    return f"{retry.max_attempts}{TIMES} {errors}" if retry.max_attempts else f"never: {errors}"


def retry_sentence(retry: Retry) -> str:
    """Return a rule of a Retry in full."""
    errors = errors_text(retry.errors, len(retry.errors))
    if not retry.max_attempts:
        return f"Not tried again: {errors}."
    delays = f"after {retry.interval_s:g} s, each delay {retry.backoff_rate:g}{TIMES} the one before"
    most = "" if retry.max_delay_s is None else f", {retry.max_delay_s:g} s at most"
    return f"Tried again up to {counted(retry.max_attempts, 'time')}, {delays}{most}: {errors}."


def unwrapped(text: str) -> str:
    """Return text with placeholders, `${InferFunction}`, as their bare names."""
    return _PLACEHOLDER.sub(r"\1", text)


def _items(state: Mapping[str, Any]) -> str:
    """Return where a Map's items come from, if not from its input."""
    reader = state.get("ItemReader")
    if not isinstance(reader, Mapping):
        return ""
    config = reader.get("ReaderConfig")
    form = config.get("InputType", "") if isinstance(config, Mapping) else ""
    found = _INTEGRATION.fullmatch(str(reader.get("Resource", "")))
    if not found:
        return ""
    listing = "a listing" if found[2].startswith("list") else form or "an object"
    return f"items: {listing} in {SERVICES.get(found[1], found[1])}"


def _with_unit(value: str, unit: str) -> str:
    """Return a number with its unit, and what only names one as it is."""
    return f"{value} {unit}" if value[:1].isdigit() else value


def _setting(state: Mapping[str, Any], name: str) -> str:
    """Return a setting in words, given as a value, a JSONata expression or, with `Path` at its name, a JSONPath."""
    if f"{name}Path" in state:
        return path_text(state[f"{name}Path"])
    value = state.get(name)
    if value is None or isinstance(value, (dict, list)):
        return ""
    return f"{value:g}" if isinstance(value, float) else jsonata_text(value) if isinstance(value, str) else str(value)
