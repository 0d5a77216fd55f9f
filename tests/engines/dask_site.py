"""A Dask cluster of other people's: a scheduler and workers in processes of their own, on loopback."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from distributed.comm import connect
from distributed.security import Security

from skyfan.engines.clusters import Cluster, open_cluster
from skyfan.engines.local_cluster import end_workers

HERE = Path(__file__).parent


class Site:
    """Starts what a test asks for in a folder of its own, and ends it with the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
        )
        wait_for(self.file.exists, "the scheduler did not start")

    def add(self, *options: str, threads: int = 1) -> "subprocess.Popen[bytes]":
        """Start a worker."""
        local = ["--local-directory", str(self._folder), "--memory-limit", "0", "--no-dashboard", "--host", "127.0.0.1"]
        return self._start("dask_worker", *local, "--nthreads", str(threads), "--death-timeout", "60", *options)

    def connect(self) -> Cluster:
        """Connect as a user does."""
        return open_cluster(str(self.file), None, None)

    def preload(self, code: str) -> str:
        """Return the path of a file with code that a worker is to run as it starts."""
        path = self._folder / "before.py"
        path.write_text(code)
        return str(path)

    def end_workers(self) -> None:
        while len(self._processes) > 1:
            end_workers(self._processes.pop())

    def end(self) -> None:
        self.end_workers()
        end_workers(self.scheduler)

    def _start(self, program: str, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", f"distributed.cli.{program}", "--scheduler-file", str(self.file)]
        paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        with (self._folder / "words").open("ab") as words:
            process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(self._folder)},
                start_new_session=True,
            )
        self._processes.append(process)
        return process


def worker_of(nanny: "subprocess.Popen[bytes]") -> psutil.Process:
    """Return the process that a nanny watches."""
    found: list[psutil.Process] = []

    def look() -> bool:
        children = psutil.Process(nanny.pid).children()
        found[:] = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        return bool(found)

    wait_for(look, "the nanny started no worker")
    return found[0]


def wait_for(what: Any, otherwise: str) -> None:
    """Wait until something is so."""
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)


def knock(address: str, security: Security) -> Exception | None:
    """Connect as a client would; return what is said if that is refused."""

    async def shake() -> None:
        await (await connect(address, timeout=1, **security.get_connection_args("client"))).close()

    try:
        asyncio.run(shake())
    except Exception as error:  # noqa: BLE001  it is what is asked for
        return error
    return None
