"""Runs of a script as they lie in a store, made of reports: no script is run."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import skyfan
from skyfan import stages
from skyfan.keys import RunKeys
from skyfan.payload import parse_payload
from skyfan.storage import Bucket, Store
from skyfan.summary import Drive
from skyfan.task import Report, ResultRef, ScriptEnd, Seconds, Task, TaskError

SCRIPT = "/tmp/code/run.py"
"""As payloads of the original system have it."""
CODE = {"S3_object_name": "code", "script": SCRIPT}
DRIVE = Drive(
    started_at="2026-11-30T10:00:00.000+00:00", run_wall_s=10.0, map_wall_s=8.0, engine="local", workers=2, tasks=4
)


def script_payload(asked: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the tests' payload with a script in place of the model."""
    return {key: value for key, value in (asked | CODE | changes).items() if key != "model"}


def put_code(store: Store) -> Bucket:
    bucket = store.bucket("sky")
    bucket.put("code/run.py", b"print('hello')\n")
    return bucket


def script_run(
    store: Store,
    asked: Mapping[str, Any],
    *,
    results: Collection[int] = (0, 1, 2),
    failed: Mapping[int, list[str]] | None = None,
    drive: Drive = DRIVE,
    **changes: Any,
) -> skyfan.Run:
    """Store a run of four tasks.

    Parameters
    ----------
    results : collection of int
        Ranks whose script left a result.
    failed : mapping, optional
        By the rank of a task that failed: the last lines that its script printed.
    """
    bucket = put_code(store)
    payload, _ = parse_payload(script_payload(asked, **changes))
    plan = stages.initialize(payload, store)
    keys = RunKeys(payload.result_path)
    for task in plan.tasks:
        lines = (failed or {}).get(task.rank)
        bucket.put(keys.log(task.rank), "\n".join(lines or ["hello"]).encode())
        if lines is None:
            result = _result(task, bucket, keys) if task.rank in results else None
            bucket.put(keys.report(task.rank), report(task, ending(task, keys, result=result)).encode())
        else:
            said = f"script {SCRIPT}: ended with exit code 3: {lines[-1]}"
            end = ending(task, keys, exit_code=3, why="ended with exit code 3", last_lines=lines)
            error = TaskError("ScriptError", said, may_pass=True)
            bucket.put(keys.failure(task.rank), report(task, end, status="failed", attempt=3, error=error).encode())
    stages.summarize(payload, plan.tasks, store, drive, plan.warnings)
    return skyfan.Run(store, payload.bucket, payload.result_path)


def report(task: Task, end: ScriptEnd, **changes: Any) -> Report:
    """Return what a task that ran a script says of itself."""
    keys: dict[str, Any] = {
        "rank": task.rank,
        "status": "ok",
        "attempt": 1,
        "partitions": task.partitions,
        "script": task.script,
        "ending": end,
        "batch_size": task.batch_size,
        "seconds": Seconds(total=2.0, model=0.25, script=1.5, write=0.125),
        "peak_memory_mb": end.peak_memory_mb,
        "started_at": f"2026-11-30T10:00:0{task.rank}.000+00:00",
        "ended_at": f"2026-11-30T10:00:0{task.rank + 2}.000+00:00",
        "worker": f"here:{task.rank % 2}",
        "machine": "AMD EPYC 7B13, 2 cores",
        "versions": {"skyfan": "1", "python": "3.11"},
    }
    return Report(**(keys | changes))


def ending(task: Task, keys: RunKeys, **changes: Any) -> ScriptEnd:
    """Return how a script ended."""
    fields: dict[str, Any] = {
        "exit_code": 0,
        "why": None,
        "wall_s": 1.5,
        "peak_memory_mb": 300.0 + task.rank,
        "log": keys.log(task.rank),
        "last_lines": ["hello"],
    }
    return ScriptEnd(**(fields | changes))


def _result(task: Task, bucket: Bucket, keys: RunKeys) -> ResultRef:
    data = json.dumps({"rank": task.rank, "accuracy": 0.5}).encode()
    key = keys.result(task.rank)
    bucket.put(key, data)
    return ResultRef(key, len(data), hashlib.sha256(data).hexdigest())
