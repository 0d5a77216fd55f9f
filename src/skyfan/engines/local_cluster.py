"""A Dask cluster of our own on this machine: a scheduler in this process, and worker processes of one thread."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import dask
import psutil
from distributed import LocalCluster

from skyfan.engines.certificates import make_security
from skyfan.engines.clusters import NO_DASHBOARD, open_client
from skyfan.engines.interrupts import Closing, uninterrupted
from skyfan.engines.quiet import quiet
from skyfan.errors import ClusterError
from skyfan.host import ONE_THREAD

START_S = 60.0
_LOOK_EVERY_S = 0.5
_LAST_WORDS_BYTES = 2000
_ENVIRONMENT = {
    **ONE_THREAD,
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
    _process: "subprocess.Popen[bytes]"

    def __init__(self, workers: int) -> None:
        self._workers = workers
        with Closing() as stack:
            with uninterrupted():
                self._open(stack)
            self._wait()
            self._closing = stack.pop_all()

    async def tend(self) -> None:
        """Start the workers again if all their nannies are gone."""
        if self._process.poll() is not None:
            self._process = self._start()

    def close(self) -> None:
        """End the workers at once. What they have stored stays; what they were at is not stored."""
        self._closing.close()

    def _open(self, closing: Closing) -> None:
        closing.enter_context(quiet())
        self._folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="skyfan-dask-")))
        self._security = make_security(self._folder)
        with dask.config.set({"temporary-directory": str(self._folder)}):
            self._scheduler = LocalCluster(
                n_workers=0, security=self._security, scheduler_kwargs=NO_DASHBOARD, silence_logs=False
            )
        closing.callback(self._scheduler.close)
        self.client = open_client(self._scheduler, closing)
        self._process = self._start()
        closing.callback(self._end)

    def _end(self) -> None:
        end_workers(self._process)  # those of now: they may have been started anew

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", self._scheduler.scheduler_address]
        options = ["--nworkers", str(self._workers), "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"]
        options += ["--host", "127.0.0.1", "--local-directory", str(self._folder), "--death-timeout", str(START_S)]
        options += ["--tls-ca-file", self._security.tls_ca_file]
        options += ["--tls-cert", self._security.tls_worker_cert, "--tls-key", self._security.tls_worker_key]
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
        until = time.monotonic() + START_S
        while not self._all_came():
            code = self._process.poll()
            if code is not None:
                raise ClusterError(self._no_worker(f"the process that starts them ended with code {code}"))
            if time.monotonic() >= until:
                if self.client.nthreads():
                    return
                raise ClusterError(self._no_worker(f"no worker came in {START_S:g} s"))

    def _all_came(self) -> bool:
        try:
            self.client.wait_for_workers(self._workers, timeout=_LOOK_EVERY_S)
        except TimeoutError:
            return False
        return True

    def _no_worker(self, what: str) -> str:
        words = (self._folder / "words").read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()
        return (
            f"{self.name}: {what}; expected {self._workers} workers: {self.advice}, or use fewer --workers. Its last "
            f"words: {words or 'none'}"
        )


def end_workers(nannies: "subprocess.Popen[bytes]") -> None:
    """Kill a process that runs nannies, and their workers; it first, so that they start no other worker."""
    with uninterrupted():  # what is stopped and not killed would be there for ever
        with suppress(psutil.NoSuchProcess):
            _kill_all(psutil.Process(nannies.pid))
        nannies.wait()


def _kill_all(parent: psutil.Process) -> None:
    started: list[psutil.Process] = []
    try:
        parent.send_signal(signal.SIGSTOP)
        started = parent.children(recursive=True)
    finally:
        parent.kill()
    for process in started:
        with suppress(psutil.NoSuchProcess):
            if "resource_tracker" not in " ".join(process.cmdline()):  # it ends by itself, when it has tidied up
                process.kill()
    psutil.wait_procs(started, timeout=5)
