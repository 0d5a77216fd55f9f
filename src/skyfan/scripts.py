"""One task with a user's script: its code laid out, its environment set, run in a box, its result taken."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from skyfan import __version__
from skyfan.errors import ScriptError
from skyfan.host import THREAD_VARIABLES, describe_host, worker_name
from skyfan.keys import RunKeys
from skyfan.measure import Meter, utc_now
from skyfan.script_code import TMP, give_code
from skyfan.scripting.boxing import Ending, can_be_private, run_boxed
from skyfan.scripting.removing import remove_tree
from skyfan.scripting.temporary import temporary_folder
from skyfan.storage import STORE_VARIABLE, Bucket, Store
from skyfan.task import Report, ResultRef, ScriptEnd, ScriptRef, ScriptSetting, Task

LAST_LINES = 20
"""Of what a script printed, in its report."""
MAX_LINE = 500
MAX_RESULT_BYTES = 16 * 1024**2
MAX_RESULT_DEPTH = 100
"""Of lists and objects within one another."""
INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ"),
    *("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "no_proxy"),
)
"""Variables of the worker that a script gets too, besides all that begin with LC_ or AWS_."""
WITHHELD = ("AWS_LAMBDA_",)
"""Beginnings of variables that it does not get all the same: they are the worker's own business with Lambda."""


def run_script(task: Task, store: Store, attempt: int, meter: Meter, time_left_s: float | None = None) -> Report:
    """Run a task's script.

    Parameters
    ----------
    task : Task
        With a script.
    store : Store
    attempt : int
    meter : Meter
        Is told how the script ended, also where that is a failure.
    time_left_s : float, optional
        Seconds after which this process itself is ended: the script is ended before.

    Returns
    -------
    Report
        With status ok, not stored yet.

    Raises
    ------
    CodeError
        If its code cannot be laid out.
    ScriptError
        If it failed or was ended, or its result is none.
    StoreError
        If the store does.
    """
    started, job = time.monotonic(), _job(task)
    bucket, keys = store.bucket(task.bucket), RunKeys(task.result_path)
    directory = temporary_folder("skyfan-task-")
    try:
        with meter.phase("model"):
            give_code(job.script, bucket, directory)
            bucket.delete([keys.result(task.rank)])  # an earlier attempt's must not pass for this one's
        with meter.phase("script"):
            left_s = None if time_left_s is None else time_left_s - (time.monotonic() - started)
            ending = _run(task, job, store, directory, left_s)
    finally:
        remove_tree(directory)
    with meter.phase("write"):
        bucket.put(keys.log(task.rank), ending.output)
        meter.script = _described(task, ending, bucket, keys)
    if meter.script.why is not None:
        raise ScriptError(_failure(task, job, meter.script))
    return Report(
        rank=task.rank,
        status="ok",
        attempt=attempt,
        partitions=task.partitions,
        script=task.script,
        ending=meter.script,
        batch_size=task.batch_size,
        threads=task.threads,
        seconds=meter.seconds(),
        peak_memory_mb=ending.peak_memory_mb,
        started_at=meter.started_at,
        ended_at=utc_now(),
        worker=worker_name(),
        machine=describe_host(),
        versions={"skyfan": __version__, "python": ".".join(map(str, sys.version_info[:3]))},
    )


class _Job(NamedTuple):
    """What a script task has that others have not."""

    script: ScriptRef
    setting: ScriptSetting


def _job(task: Task) -> _Job:
    if task.script is None or task.setting is None:
        raise ScriptError(f"task {task.rank}: has no script; expected one with its setting: plan the run anew")
    return _Job(task.script, task.setting)


def _run(task: Task, job: _Job, store: Store, directory: Path, time_left_s: float | None) -> Ending:
    limits = job.setting.limits
    if time_left_s is not None:
        limits = msgspec.structs.replace(limits, timeout_s=max(1.0, min(limits.timeout_s, time_left_s)))
    folder = TMP / job.script.folder
    return run_boxed(
        [sys.executable, str(TMP / job.script.file)],
        directory=directory,
        cwd=str(folder if job.script.object_type == "folder" else folder.parent),
        environment=environment_of(task, job.script, job.setting, store, os.environ),
        limits=limits,
        shown=_shown(task, store),
        private=can_be_private(),
    )


def environment_of(
    task: Task, script: ScriptRef, setting: ScriptSetting, store: Store, inherited: Mapping[str, str]
) -> dict[str, str]:
    """Return all variables that a script gets: those of the original system, and of its worker's those of the list."""
    kept = {name: value for name, value in inherited.items() if _is_inherited(name)}
    if store.is_server and not store.url.startswith("s3"):  # a script must talk to the server that its run is on
        kept |= dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"), store.url)
    keys = [ref.key for ref in task.partitions]
    return kept | {
        "RANK": str(task.rank),
        "WORLD_SIZE": str(setting.world_size),
        "DATA_BUCKET": task.data_bucket,
        "DATA_PREFIX": setting.data_prefix,
        "DATA_PATH": keys[0] if len(keys) == 1 else json.dumps(keys),
        "RESULT_PATH": task.result_path,
        "BATCH_SIZE": str(task.batch_size),
        "S3_BUCKET": task.bucket,
        "S3_OBJECT_NAME": script.folder,
        "S3_OBJECT_TYPE": script.object_type,
        "SCRIPT": script.said,
        STORE_VARIABLE: str(store.folder or store.url),
        "TMPDIR": str(TMP),
        "PYTHONUNBUFFERED": "1",  # what it printed is there even if it is ended
        **dict.fromkeys(THREAD_VARIABLES, str(task.threads)),
    }


def _is_inherited(name: str) -> bool:
    return (name in INHERITED or name.startswith(("LC_", "AWS_"))) and not name.startswith(WITHHELD)


def _shown(task: Task, store: Store) -> list[Path]:
    """Return the folders that a script needs of the system, should they lie below the `/tmp` that it does not see."""
    python = [Path(entry) for entry in (sys.prefix, sys.base_prefix, *sys.path) if entry]
    buckets = [store.bucket(name).folder for name in (task.bucket, task.data_bucket)]
    paths = [*python, store.folder, *buckets]
    return [path for path in paths if path is not None and path.is_dir()]


def _described(task: Task, ending: Ending, bucket: Bucket, keys: RunKeys) -> ScriptEnd:
    lines = [_plain(line) for line in ending.output.decode(errors="replace").splitlines() if line.strip()]
    result, why = None, ending.why
    if why is None:
        result, why = _take_result(keys.result(task.rank), bucket)
    return ScriptEnd(
        exit_code=ending.exit_code,
        why=why,
        wall_s=round(ending.wall_s, 3),
        peak_memory_mb=round(ending.peak_memory_mb, 1),
        log=keys.log(task.rank),
        last_lines=lines[-LAST_LINES:],
        result=result,
    )


def _take_result(key: str, bucket: Bucket) -> tuple[ResultRef | None, str | None]:
    """Return the result that a script left, or why what it left is none."""
    path = bucket.local_path(key)
    if path is not None and path.exists() and not path.is_file():
        return None, f"its result {key} is no file; expected one with JSON"
    entry = bucket.head(key)
    if entry is None:
        return None, None
    if entry.bytes > MAX_RESULT_BYTES:
        return None, f"its result {key} has {entry.bytes} bytes; expected at most {MAX_RESULT_BYTES} of JSON"
    data = bucket.get(key) or b""
    why = _why_none(data)
    if why is not None:
        return None, f"its result {key} is {why}"
    return ResultRef(key, len(data), hashlib.sha256(data).hexdigest()), None


def _why_none(data: bytes) -> str | None:
    """Say what the content of a result is instead of one; None if it is one."""
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f"not JSON ({error}); expected an object, or a list of objects"
    records = content if isinstance(content, list) else [content]
    if not all(isinstance(record, dict) for record in records):
        return "JSON, but no object; expected one, or a list of objects"
    if _is_deep(content):
        return f"nested deeper than {MAX_RESULT_DEPTH}; expected at most as many lists and objects within one another"
    return None


def _is_deep(content: Any) -> bool:
    """Whether lists and objects lie deeper within one another than programs can be relied on to read."""
    level = [content]
    for _ in range(MAX_RESULT_DEPTH):
        within = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for items in within for item in items if isinstance(item, dict | list)]
    return bool(level)


def _failure(task: Task, job: _Job, end: ScriptEnd) -> str:
    last = f": {end.last_lines[-1]}" if end.last_lines else ""
    return f"script {job.script.said}: {end.why}{last}; what it printed is in {task.bucket}/{end.log}"


def _plain(line: str) -> str:
    """Return a line that can be printed anywhere, whatever it holds."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line.expandtabs(4))
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."
