"""The Lambda functions: parse, call, return. One a state, named like the state."""

import os
from functools import cache
from typing import Any

from skyfan.aws import execution
from skyfan.aws.messages import Ended, Item, Start, parse, to_json
from skyfan.aws.script_image import scripts_allowed
from skyfan.storage import STORE_VARIABLE, Store

DEFAULT_STORE = "s3://"
"""Buckets as they are called on S3; credentials and region come with the Lambda environment."""
RUN_LINE = "skyfan run "
"""How a line of the log begins that says which run an invocation is of."""
REPORTING_S = 10.0
"""Of an invocation, kept for what comes after a script: its log and its report."""


def initialize(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Plan a run; see `skyfan.aws.execution.begin`."""
    start = parse(event, Start)
    begun = execution.begin(start, _store(), allow_scripts=scripts_allowed())
    _say(f"{begun.bucket}/{begun.payload['result_path']}", context)
    return to_json(begun)


def infer(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Do one task; see `skyfan.aws.execution.infer_item`."""
    item = parse(event, Item)
    _say(f"{item.task.bucket}/{item.task.result_path}", context)
    limits: dict[str, Any] = {"allow_scripts": scripts_allowed(), "time_left_s": _time_left_s(context)}
    return to_json(execution.infer_item(item, _store(), **limits))


def summarize(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Sum a run up; see `skyfan.aws.execution.end`."""
    ended = parse(event, Ended)
    _say(f"{ended.begun.bucket}/{ended.begun.payload['result_path']}", context)
    return to_json(execution.end(ended, _store()))


def _say(run: str, context: object) -> None:
    """Write to the log which run an invocation is of: a bill needs it, since Lambda's own lines do not tell."""
    print(f"{RUN_LINE}{run} RequestId: {getattr(context, 'aws_request_id', '')}", flush=True)  # noqa: T201


def _time_left_s(context: object) -> float | None:
    """Return how long a script may take, None if nobody says."""
    left_ms = getattr(context, "get_remaining_time_in_millis", None)
    return None if left_ms is None else left_ms() / 1000 - REPORTING_S


@cache
def _store() -> Store:
    """Open the store once for all invocations: its clients keep their connections, as the process keeps its model."""
    return Store(os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
