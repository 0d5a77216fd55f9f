"""One run of a sweep: started in a process of its own, as a user would, measured, and removed."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import structs

from skyfan.bench.folder import is_whole
from skyfan.bench.measurement import Measurement
from skyfan.bench.measuring import measure_run
from skyfan.bench.sweep import AWS, Sweep, Trial
from skyfan.claim import release_claim
from skyfan.errors import SkyfanError
from skyfan.keys import RunKeys
from skyfan.runs import Run
from skyfan.storage import Bucket, Store
from skyfan.store_errors import translated

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
    return payload | ({"max_concurrency": wanted.workers} if sweep.engine == AWS and wanted.workers else {})


def command_of(
    sweep: Sweep, trial: Trial, payload: Path, store: Store, *, overwrite: bool, max_cost: float | None = None
) -> list[str]:
    """Return the command line of a run. A new process: the start of the driver and of its workers is measured too."""
    command = [sys.executable, "-P", "-m", "skyfan", "run", str(payload), "--quiet", "--engine", sweep.engine]
    if sweep.engine == AWS:
        command += [text for name, value in sorted(sweep.place.items()) for text in (f"--{name}", value)]
        command += ["--max-cost", f"{max_cost:.6f}"] if max_cost is not None else []
    else:
        command += ["--store", store.url]
        command += ["--workers", str(trial.configuration.workers)] if trial.configuration.workers else []
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


def measure_trial(sweep: Sweep, trial: Trial, store: Store, code: int, words: str) -> Measurement:
    """Return what a run was measured to be; one that did not end well says why, and is no measure of anything."""
    run = Run(store, sweep.bucket, result_path(sweep, trial))
    try:
        found = measure_run(run, repeat=trial.repeat)
    except SkyfanError as error:
        found = Measurement(origin="skyfan", run=run.id, complete=False, problem=str(error))
    if code and is_whole(found):  # it is of an earlier run, which this one did not come to overwrite
        found = Measurement(origin="skyfan", run=run.id, complete=False)
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


def evidence(bucket: Bucket, path: str) -> dict[str, bytes]:
    """Return the small files in which a run says what became of it, by name."""
    keys = RunKeys(path)
    found = {Path(key).name: bucket.get(key) for key in (keys.summary, keys.combined)}
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
