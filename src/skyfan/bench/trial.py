"""One run of a sweep: started in a process of its own, as a user would, measured, and removed."""

import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import structs

from skyfan import api
from skyfan.bench.folder import Begun, is_whole
from skyfan.bench.measurement import Measurement
from skyfan.bench.measuring import content_of, measure_run
from skyfan.bench.sweep import AWS, Cut, Sweep, Trial
from skyfan.claim import release_claim
from skyfan.errors import SkyfanError
from skyfan.estimating.bill import MB_BYTES, Estimate
from skyfan.keys import RunKeys
from skyfan.payload import parse_payload
from skyfan.runs import Run
from skyfan.storage import Bucket, Store
from skyfan.store_errors import translated
from skyfan.summary import Summary
from skyfan.task import Task
from skyfan.watching import Priced, RunEvent

GRACE_S = 60.0
"""For a run that is interrupted to end its workers and say so."""
_PREFIX = "skyfan: error: "


def result_path(sweep: Sweep, trial: Trial) -> str:
    """Return where a run writes."""
    return f"{sweep.result_path}/{trial.path}"


def run_id(sweep: Sweep, trial: Trial) -> str:
    """Return a run's name."""
    return f"{sweep.bucket}/{result_path(sweep, trial)}"


def payload_of(sweep: Sweep, trial: Trial, data_prefix: str) -> dict[str, Any]:
    """Return the payload of a run, as JSON has it."""
    wanted = trial.configuration
    payload = {
        **sweep.keys,
        "bucket": sweep.bucket,
        "data_bucket": sweep.data_bucket,
        "data_prefix": data_prefix,
        "result_path": result_path(sweep, trial),
        "file_limit": wanted.files,
        "batch_size": wanted.batch_size,
        "threads": wanted.threads,
    }
    limited = wanted.workers is not None and not sweep.starts_workers
    return payload | ({"max_concurrency": wanted.workers} if limited else {})


def claim_place(bucket: Bucket, payload: Mapping[str, Any]) -> bool:
    """Claim a run's place as the run itself would, so that nobody else's is taken for it; False if it is taken."""
    parsed, _ = parse_payload(dict(payload))
    return bucket.create(RunKeys(parsed.result_path).payload, parsed.encode())


def estimates_of(sweep: Sweep, trial: Trial, data_prefix: str, store: Store) -> list[Estimate]:
    """Plan a run, and return what it will cost; nothing where that is not told beforehand."""
    found: list[Estimate] = []

    def watch(event: RunEvent) -> None:
        if isinstance(event, Priced):
            found.append(event.estimate)

    where: dict[str, Any] = sweep.place if sweep.engine == AWS else {"store": store.url}
    payload = payload_of(sweep, trial, data_prefix)
    api.plan(payload, engine=sweep.engine, watch=watch, overwrite=True, **where)
    return found


def command_of(
    sweep: Sweep, trial: Trial, payload: Path, store: Store, *, overwrite: bool, max_cost: float | None = None
) -> list[str]:
    """Return the command line of a run. A new process: the start of the driver and of its workers is measured too."""
    command = [sys.executable, "-P", "-m", "skyfan", "run", str(payload), "--quiet", "--engine", sweep.engine]
    command += [text for name, value in sorted(sweep.place.items()) for text in (f"--{name.replace('_', '-')}", value)]
    if sweep.engine == AWS:
        command += ["--max-cost", f"{max_cost:.6f}"] if max_cost is not None else []
    else:
        command += ["--store", store.url]
        asked = trial.configuration.workers if sweep.starts_workers else None
        command += ["--workers", str(asked)] if asked else []
    return command + (["--overwrite"] if overwrite else [])


def run_command(command: list[str], log: Path) -> tuple[int, str]:
    """Run a command to its end; return its exit code and its last words.

    Parameters
    ----------
    command : list of str
    log : Path
        Takes what it says on stderr.

    Raises
    ------
    KeyboardInterrupt
        Once the command, which is told of it, has ended.
    """
    with log.open("w+", errors="replace") as words:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            start_new_session=True,  # Ctrl-C reaches it once, through us
        )
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        words.seek(0)
        said = [line.strip() for line in words if line.strip()]
    if not said:
        log.unlink()
    return code, said[-1].removeprefix(_PREFIX) if said else ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt a run and wait for its end; kill it if that takes too long, or is interrupted itself."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
    try:
        process.wait(GRACE_S)
    except BaseException:
        process.kill()
        process.wait()
        raise


def summary_of(sweep: Sweep, trial: Trial, store: Store) -> Summary | None:
    """Return the summary that lies where a run writes, of whichever run; None if there is none."""
    return Run(store, sweep.bucket, result_path(sweep, trial)).summary


def measure_trial(sweep: Sweep, trial: Trial, store: Store, code: int, words: str, *, before: str = "") -> Measurement:
    """Return what a run was measured to be; one that did not end well says why, and is no measure of anything.

    Parameters
    ----------
    sweep, trial, store
    code, words
        Exit code and last words of its command.
    before : str
        When the run began whose summary lay there before its command was started: one that began then, to the
        millisecond, was found finished, and is not this one. Clocks are not compared: on AWS there are two of them.
    """
    run = Run(store, sweep.bucket, result_path(sweep, trial))
    try:
        found = measure_run(run, repeat=trial.repeat)
    except SkyfanError as error:
        found = Measurement(origin="skyfan", run=run.id, complete=False, problem=str(error))
    if code and is_whole(found):  # it is of an earlier run, which this one did not come to overwrite
        found = Measurement(origin="skyfan", run=run.id, complete=False)
    if is_whole(found) and before and found.started_at == before:
        said = f"the run that began at {before} was found finished there, and none was begun"
        found = Measurement(origin="skyfan", run=run.id, complete=False, problem=said)
    if is_whole(found):
        return found
    ended = f"'skyfan run' ended with exit code {code}: {words}" if code else ""
    return structs.replace(
        found, problem="; ".join(filter(None, (found.problem, ended))), **_asked(sweep, trial, found)
    )


def _asked(sweep: Sweep, trial: Trial, found: Measurement) -> Mapping[str, Any]:
    """Return what was asked of a run that does not say it itself, so that its row can be told from others."""
    wanted = trial.configuration
    asked = {
        "engine": sweep.engine,
        "partitions": wanted.files,
        "batch_size": wanted.batch_size,
        "threads": wanted.threads,
        "workers": wanted.workers or 0,
    }
    return {"repeat": trial.repeat} | {name: getattr(found, name) or value for name, value in asked.items()}


def with_known(
    measurement: Measurement,
    sweep: Sweep,
    trial: Trial,
    store: Store,
    *,
    begun: Begun,
    cut: Cut,
    distinct: int,
    prefix: str,
    like: Measurement | None = None,
) -> Measurement:
    """Fill in what is known of a run that does not say it, so that it is counted with others of its configuration.

    Parameters
    ----------
    measurement : Measurement
        Of a run that is not whole.
    sweep, trial, store
    begun : Begun
        Says machine, version and model; the machine of runs on AWS only they themselves say.
    cut : Cut
        Its partitions; the plan of the run, if it came to one, says the sizes of those that it was to read.
    distinct : int
        Partitions of different content that it was to read.
    prefix : str
        Folder that it was to read from.
    like : Measurement, optional
        Of another run of its configuration, which says the rest.
    """
    tasks: list[Task] = []
    with suppress(SkyfanError):
        tasks = Run(store, sweep.bucket, result_path(sweep, trial)).tasks
    sizes = [ref.bytes for task in tasks for ref in task.partitions]
    known = {
        "machine": begun.machine or (like.machine if like else ""),
        "skyfan": begun.skyfan,
        "model": begun.model.name,
        "model_sha256": begun.model.sha256,
        "data": f"{sweep.data_bucket}/{prefix}",
        "data_sha256": like.data_sha256 if like else content_of([ref for task in tasks for ref in task.partitions], {}),
        "tasks": len(tasks) or sweep.tasks(trial.configuration.files),
        **_asked(sweep, trial, measurement),
    }
    filled: dict[str, Any] = {name: getattr(measurement, name) or value for name, value in known.items()}
    filled |= {
        "engine": sweep.engine,
        "repeat": trial.repeat,
        "distinct_partitions": (like and like.distinct_partitions) or distinct,
    }
    filled["workers"] = filled["workers"] or (like.workers if like else 0)
    filled["partition_mb"] = (
        like.partition_mb if like else round((statistics.median(sizes) if sizes else cut.bytes) / MB_BYTES, 3)
    )
    return structs.replace(measurement, **filled)


def evidence(bucket: Bucket, path: str) -> dict[str, bytes]:
    """Return the small files in which a run says what became of it, by name."""
    keys = RunKeys(path)
    found = {Path(key).name: bucket.get(key) for key in (keys.summary, keys.combined, keys.bill)}
    return {name: data for name, data in found.items() if data is not None}


def delete_run(bucket: Bucket, path: str) -> None:
    """Delete all that a run stored, its leases and empty folders too; the claim on its path goes before these."""
    keys = RunKeys(path)
    release_claim(bucket, keys)
    left = [entry.key for entry in bucket.list(path)]
    bucket.delete([key for key in left if keys.owns(key) or key.startswith(f"{keys.map_results}/")])
    folder = bucket.local_path(path)
    if folder is not None:
        with translated(str(folder)):
            for place in sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True):
                with suppress(OSError):  # somebody else's file is in it
                    place.rmdir()
            for place in (folder, folder.parent):  # of the run, of its configuration
                with suppress(OSError):
                    place.rmdir()
