"""Runs of the stages in this process: done as an engine does them, changed, and looked at."""

from typing import Any

from skyfan import stages
from skyfan.errors import SkyfanError
from skyfan.keys import RunKeys
from skyfan.payload import Payload, parse_payload
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive, Summary

KEYS = RunKeys("results/one")
DRIVE = Drive(started_at="", run_wall_s=1.0, map_wall_s=1.0)
ROWS = [7, 8, 9, 10]


def ranks(tasks: list[Any]) -> list[int]:
    return [task.rank for task in tasks]


def run(payload: Payload, store: Store, **options: Any) -> tuple[list[int], Summary]:
    """Do what an engine does, here; return the ranks that were done now, and the summary."""
    plan = stages.initialize(payload, store, **options)
    for task in plan.pending:
        try:
            stages.infer(task, store)
        except SkyfanError:
            continue
    return ranks(plan.pending), stages.summarize(payload, plan.tasks, store, DRIVE, plan.warnings)


def stored(bucket: Bucket) -> dict[str, bytes | None]:
    return {entry.key: bucket.get(entry.key) for entry in bucket.list("results")}


def other(asked: dict[str, Any], **changes: Any) -> Payload:
    return parse_payload(asked | changes)[0]
