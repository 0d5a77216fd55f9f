"""The Lambda functions: parse, call, return. One a state, named like the state."""

import os
from functools import cache
from typing import Any

from skyfan.aws import execution
from skyfan.aws.messages import Ended, Item, Request, parse, to_json
from skyfan.storage import STORE_VARIABLE, Store

DEFAULT_STORE = "s3://"
"""Buckets as they are called on S3; credentials and region come with the Lambda environment."""


def initialize(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001  Lambda passes it
    """Plan a run; see `skyfan.aws.execution.begin`."""
    request = parse(event, Request)
    return to_json(execution.begin(request, _store()))


def infer(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Do one task; see `skyfan.aws.execution.infer_item`."""
    item = parse(event, Item)
    return to_json(execution.infer_item(item, _store()))


def summarize(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Sum a run up; see `skyfan.aws.execution.end`."""
    ended = parse(event, Ended)
    return to_json(execution.end(ended, _store()))


@cache
def _store() -> Store:
    """Open the store once for all invocations: its clients keep their connections, as the process keeps its model."""
    return Store(os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)
