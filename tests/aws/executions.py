"""Executions on moto: started, waited for, and looked at in what they stored."""

import json
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from moto.s3.models import s3_backends

import skyfan
from aws.states import Machine
from factories import make_rows
from running import check_run
from skyfan.keys import RunKeys
from skyfan.storage import Bucket
from skyfan.summary import Summary, decode_summary
from skyfan.task import Report, decode_report

ROWS = 7 + 8 + 9 + 10
"""Of the four partitions below 25MB."""


def start(machine: Machine, arn: str, payload: dict[str, Any], name: str = "one", **request: Any) -> str:
    found = machine.client.start_execution(
        stateMachineArn=arn, name=name, input=json.dumps({"payload": payload, **request})
    )
    return str(found["executionArn"])


def ended(machine: Machine, execution: str, within_s: float = 60) -> dict[str, Any]:
    """Wait for an execution's end; moto answers in the process that runs it, so that asking often slows it down."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found: dict[str, Any] = machine.client.describe_execution(executionArn=execution)
        if found["status"] != "RUNNING":
            return found
        time.sleep(0.05 if within_s <= 60 else 1)
    raise AssertionError(f"the execution does not end in {within_s} s")


def run(machine: Machine, arn: str, payload: dict[str, Any], name: str = "one", **request: Any) -> dict[str, Any]:
    return ended(machine, start(machine, arn, payload, name, **request))


def history(machine: Machine, execution: str) -> list[dict[str, Any]]:
    pages = machine.client.get_paginator("get_execution_history").paginate(executionArn=execution)
    return [event for page in pages for event in page["events"]]


def largest(told: list[Any]) -> int:
    """Bytes of the largest of these as JSON: of an event's own input or output they are an upper bound."""
    return max(len(json.dumps(one, default=str).encode()) for one in told)


def summary_of(bucket: Bucket, keys: RunKeys) -> Summary:
    summary = decode_summary(bucket.get(keys.summary))
    assert summary is not None
    return summary


def reports(bucket: Bucket, keys: RunKeys) -> dict[int, Report]:
    found = (decode_report(bucket.get(entry.key)) for entry in bucket.list(keys.reports))
    return {report.rank: report for report in found if report is not None}


def check_whole(payload: dict[str, Any], rows: int = ROWS) -> Summary:
    """Check that a run in S3 is complete; return its summary."""
    return check_run(skyfan.open_run(payload, store="s3://"), rows)


def in_moto() -> Any:
    """Return moto's store itself: by its server each of a thousand objects takes 5 ms."""
    return s3_backends["123456789012"]["aws"]


def ids_in(part: str) -> list[int]:
    """Return the ids of a part's rows."""
    ids: list[int] = pq.read_table(pa.BufferReader(in_moto().get_object("sky", part).value))["object_id"].to_pylist()
    return ids


def put_partitions(numbers: range) -> list[int]:
    """Put partitions of one to three rows below many/; return the ids of their rows, in the catalogue's order."""
    ids: list[int] = []
    for number in numbers:
        rows = make_rows(1 + number % 3, seed=number)
        in_moto().put_object("sky", f"many/{number}.safetensors", safetensors.numpy.save(rows))
        ids += rows["object_id"].tolist()
    return ids


def ranks_of(machine: Machine, function: str, path: str | None = None) -> list[int]:
    """Ranks of the tasks that a function was called for, of one run or of all."""
    tasks = [event["task"] for name, event in machine.calls if name == function]
    return sorted(task["rank"] for task in tasks if path in (None, task["result_path"]))
