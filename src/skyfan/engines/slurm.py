"""A Dask cluster of our own on a machine with Slurm: a scheduler in this process, and workers that are Slurm's jobs."""

import asyncio
import getpass
import math
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
from distributed.core import Status

from skyfan.engines.certificates import make_security
from skyfan.engines.cluster_options import ClusterOptions
from skyfan.engines.clusters import NO_DASHBOARD, open_client
from skyfan.engines.interrupts import Closing, same_handlers, uninterrupted
from skyfan.engines.quiet import quiet
from skyfan.errors import ClusterError, InputError
from skyfan.host import ONE_THREAD

with same_handlers():  # it would have Ctrl-C end the process as if all were well
    from dask_jobqueue import SLURMCluster

PATIENCE_S = 86_400.0
FRUITLESS_JOBS = 3
"""So many jobs in a row that end before a worker of them came are not bad luck."""
_LAST_WORDS_BYTES = 1000
_ANSWER_S = 60.0
_SETTINGS = (
    "export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False",  # nothing else may run in what is timed
    "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False",  # nothing is stored in a worker that could be moved away
    *(f"export {name}={value}" for name, value in ONE_THREAD.items()),
)


class SlurmJobs:
    """Keeps a number of Slurm's jobs in the queue or at work.

    Parameters
    ----------
    options : ClusterOptions
    workers : int, optional
        Worker processes; by default what the options say.

    Raises
    ------
    InputError
        If Slurm does not take the first job.
    """

    name = "the cluster of Slurm's jobs"
    patience_s = PATIENCE_S
    advice = "see 'squeue --me' for what the jobs wait for"

    def __init__(self, options: ClusterOptions, workers: int | None) -> None:
        self._jobs = options.jobs if workers is None else math.ceil(workers / options.workers_a_job)
        self._came: set[str] = set()
        self._fruitless = 0
        with Closing() as stack:
            with uninterrupted():  # a job whose number we do not hear would stay in the queue
                self._open(options, stack)
            self._closing = stack.pop_all()

    async def tend(self) -> None:
        """Ask for a job for each that has ended.

        Raises
        ------
        ClusterError
            If jobs end before a worker of them comes, one after the other.
        """
        jobs = {name: job.job_id for name, job in self._cluster.workers.items()}
        self._came |= {name for name in jobs if self._has_worker(name)}
        queued = await asyncio.to_thread(_queued)
        if queued is None:
            return  # Slurm does not answer: it may later
        for name in [name for name, number in jobs.items() if number not in queued]:
            self._fruitless = 0 if name in self._came else self._fruitless + 1
            self._came.discard(name)
            self._cluster.workers.pop(name, None)
        if self._fruitless >= FRUITLESS_JOBS:
            raise ClusterError(self._all_in_vain())
        if len(self._cluster.workers) < self._jobs:
            with suppress(RuntimeError, OSError):  # Slurm took no job this time
                await self._submit()

    def close(self) -> None:
        """Cancel the jobs, and forget what they printed unless it was to be kept."""
        self._closing.close()

    def _open(self, options: ClusterOptions, closing: Closing) -> None:
        closing.enter_context(quiet())
        self._folder = Path(closing.enter_context(_own_folder()))
        self._logs = Path(options.log_directory or self._folder)
        scratch = closing.enter_context(tempfile.TemporaryDirectory(prefix="skyfan-dask-"))
        with dask.config.set({"temporary-directory": scratch}):
            self._cluster = self._start(options)
        closing.callback(self._cluster.close)
        self.client = open_client(self._cluster, closing)
        self._ask()

    def _start(self, options: ClusterOptions) -> SLURMCluster:
        """Start the scheduler; there are no jobs yet."""
        try:
            return SLURMCluster(**self._arguments(options))
        except (ValueError, RuntimeError, OSError) as error:
            raise InputError(f"{self.name}: it cannot be started ({error}); see the cluster options") from error

    def _arguments(self, options: ClusterOptions) -> dict[str, Any]:
        lifetime_s, stagger_s = lifetime(options.walltime_s)
        return {
            "queue": options.queue,
            "account": options.account,
            "cores": options.cores,
            "processes": options.workers_a_job,
            "memory": options.memory,
            "walltime": options.walltime,
            "interface": options.interface,
            "python": options.python or sys.executable,
            "log_directory": str(self._logs),
            "local_directory": options.local_directory,
            "job_name": "skyfan",
            "job_script_prologue": [*_SETTINGS, *options.job_script_prologue],
            "job_extra_directives": list(options.job_extra_directives),
            "worker_extra_args": [
                "--lifetime",
                f"{lifetime_s}s",
                "--lifetime-stagger",
                f"{stagger_s}s",
                "--no-dashboard",
            ],
            "scheduler_options": NO_DASHBOARD,
            "security": make_security(self._folder),
            "silence_logs": False,
        }

    def _ask(self) -> None:
        """Submit the jobs; by the first we hear whether Slurm takes such jobs at all."""
        for _ in range(self._jobs):
            self._cluster.worker_spec.update(self._cluster.new_worker_spec())
        try:
            self._cluster.sync(self._submit)
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"{self.name}: Slurm does not take them ({_said(error)}); see the cluster options"
            ) from error

    async def _submit(self) -> None:
        """Submit what is asked for and not submitted yet."""
        try:
            await self._cluster
        except (RuntimeError, OSError):
            for name, job in list(self._cluster.workers.items()):
                if job.job_id is None:  # refused: it is to be submitted again
                    job.status = Status.failed
                    del self._cluster.workers[name]
            raise

    def _all_in_vain(self) -> str:
        logs = sorted(self._logs.glob("skyfan-*.err"), key=lambda path: path.stat().st_mtime)
        words = logs[-1].read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip() if logs else ""
        return (
            f"{self.name}: {self._fruitless} jobs in a row ended before a worker of them came; see that 'python' of "
            "the cluster options has skyfan and Dask on the nodes, and that these reach this machine. The last words "
            f"of one: {words or 'none'}"
        )

    def _has_worker(self, job: str) -> bool:
        names = {str(worker.name) for worker in self._cluster.scheduler.workers.values()}
        return any(name == job or name.startswith(f"{job}-") for name in names)


def lifetime(walltime_s: int) -> tuple[int, int]:
    """Return after how long a worker ends by itself so that its job does not run into its time limit, give or take, s.

    A tenth of the limit, 10 minutes at most, is left; workers of one age do not all end at the same time.
    """
    left_s = min(walltime_s / 10, 600.0)
    return int(walltime_s - left_s), int(left_s / 2)


def _own_folder() -> "tempfile.TemporaryDirectory[str]":
    """Make a folder where the jobs can write too: below the working directory, which they share."""
    return tempfile.TemporaryDirectory(prefix="skyfan-slurm-", dir=Path.cwd(), ignore_cleanup_errors=True)


def _queued() -> set[str] | None:
    """Return the numbers of this user's jobs that wait or run; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--format=%A", f"--user={getpass.getuser()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ANSWER_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


def _said(error: Exception) -> str:
    """Return what Slurm wrote, out of what dask-jobqueue makes of it."""
    _, _, words = str(error).rpartition("stderr:")
    return " ".join(words.split())
