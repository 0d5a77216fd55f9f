"""ministack on loopback, in a process of its own: all of AWS that a stack is made of, with or without credentials."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KEY, SECRET = "rootkey", "rootsecret"


@dataclass(frozen=True)
class Emulator:
    """An AWS on loopback."""

    address: str
    environment: dict[str, str]
    """What a client, or a command, finds it by."""


@contextmanager
def ministack(folder: Path, *, auth: bool = False, **options: str) -> Iterator[Emulator]:
    """Serve AWS for a while.

    Parameters
    ----------
    folder : Path
        For its log.
    auth : bool
        Refuse credentials that it does not know, and what a role does not allow.
    **options : str
        More of its settings, by the names of its environment variables.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    settings = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "LAMBDA_EXECUTOR": "local",
        "SFN_WAIT_SCALE": "0.1",
        "AUTH": str(auth).lower(),
    }
    credentials = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    log = folder / "ministack.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env=os.environ | credentials | settings | options,
            cwd=folder,
            stdout=out,
            stderr=out,
        )
    try:
        _wait(process, port, log)
        yield Emulator(address, credentials | {"AWS_ENDPOINT_URL": address})
    finally:
        process.terminate()
        process.wait(30)


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < until
            time.sleep(0.1)
