"""A Dask cluster of our own on this machine: a scheduler in this process, and worker processes of one thread."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import dask
import psutil
from distributed import Client, LocalCluster

from skyfan.engines.clusters import NO_DASHBOARD, close_client, quiet
from skyfan.errors import ClusterError

START_S = 60.0
_LAST_WORDS_BYTES = 2000
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",  # nothing else may run in what is timed
}


class LocalWorkers:
    """Worker processes of this machine, each with a nanny that starts it anew when it ends.

    They are started by a command of their own: nothing of the driver is inherited, what they print goes nowhere, and
    a script or notebook that calls skyfan needs no main guard.

    Parameters
    ----------
    workers : int
        How many.
    """

    name = "the Dask cluster on this machine"
    patience_s = START_S
    advice = "see that this machine has memory and processes left"

    def __init__(self, workers: int) -> None:
        self._workers = workers
        with ExitStack() as stack:
            stack.enter_context(quiet())
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="skyfan-dask-")))
            with dask.config.set({"temporary-directory": str(self._folder)}):
                self._scheduler = LocalCluster(n_workers=0, scheduler_kwargs=NO_DASHBOARD)
            stack.callback(self._scheduler.close)
            self.client = Client(self._scheduler, set_as_default=False)
            stack.callback(close_client, self.client)
            self._process = self._start()
            stack.callback(lambda: end_workers(self._process))
            self._wait()
            self._closing = stack.pop_all()

    async def tend(self) -> None:
        """Start the workers again if all their nannies are gone."""
        if self._process.poll() is not None:
            self._process = self._start()

    def close(self) -> None:
        """End the workers at once. What they have stored stays; what they were at is not stored."""
        self._closing.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", self._scheduler.scheduler_address]
        options = ["--nworkers", str(self._workers), "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
        options += ["--host", "127.0.0.1", "--local-directory", str(self._folder), "--death-timeout", str(START_S)]
        with (self._folder / "words").open("wb") as words:
            return subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env=os.environ | _ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is the driver's to handle
            )

    def _wait(self) -> None:
        """Wait for the workers, so that a machine that starts none says why; those that are slow are used later."""
        try:
            self.client.wait_for_workers(self._workers, timeout=START_S)
        except TimeoutError as error:
            if self.client.nthreads():
                return
            words = (self._folder / "words").read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()
            raise ClusterError(
                f"{self.name}: no worker came in {START_S:g} s; expected {self._workers}: {self.advice}, or use fewer "
                f"--workers. Its last words: {words}"
            ) from error


def end_workers(nannies: "subprocess.Popen[bytes]") -> None:
    """Kill a process that runs nannies, and their workers; it first, so that they start no other worker."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(nannies.pid)
        parent.send_signal(signal.SIGSTOP)
        started = parent.children(recursive=True)
        parent.kill()
        for process in started:
            with suppress(psutil.NoSuchProcess):
                if "resource_tracker" not in " ".join(process.cmdline()):  # it ends by itself, when it has tidied up
                    process.kill()
        psutil.wait_procs(started, timeout=5)
    nannies.wait()
