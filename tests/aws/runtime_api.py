"""A Lambda Runtime API on loopback, and a function in a process of its own under the real runtime client.

The paths and headers are those that AWS documents for custom runtimes, version 2018-06-01.
"""

import json
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_VERSION = "/2018-06-01/runtime"
_ARN = "arn:aws:lambda:us-east-1:123456789012:function:worker"


@dataclass(frozen=True)
class Answer:
    """What a function said to one event."""

    ok: bool
    body: Any


class RuntimeApi(ThreadingHTTPServer):
    """Hands events to a runtime client, one at a time, and takes its answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: queue.Queue[tuple[str, Any, float]] = queue.Queue()
        self.answers: dict[str, queue.Queue[Answer]] = {}
        self.init_error: Any = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a function that was ended while it waited for an event."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def invoke(self, event: Any, timeout_s: float = 60) -> Answer:
        """Hand over one event, wait for the answer; if the function cannot be imported, that is the answer."""
        request = str(uuid.uuid4())
        self.answers[request] = queue.Queue()
        self.events.put((request, event, timeout_s))
        until = time.monotonic() + timeout_s
        while self.init_error is None:
            try:
                return self.answers[request].get(timeout=0.05)
            except queue.Empty:
                assert time.monotonic() < until, f"the function did not answer within {timeout_s} s"
        return Answer(False, self.init_error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # whole answers: in pieces, each call waits 40 ms for an acknowledgement
    server: RuntimeApi

    def log_message(self, *args: Any) -> None: ...

    def do_GET(self) -> None:
        assert self.path == f"{_VERSION}/invocation/next"
        request, event, timeout_s = self.server.events.get()
        deadline_ms = int(1000 * (time.time() + timeout_s))
        self._send(
            200,
            json.dumps(event).encode(),
            {
                "Lambda-Runtime-Aws-Request-Id": request,
                "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": _ARN,
                "Content-Type": "application/json",
            },
        )

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"null")
        where = self.path.removeprefix(f"{_VERSION}/").split("/")
        match where:
            case ["init", "error"]:
                self.server.init_error = body
            case ["invocation", request, "response" | "error" as kind]:
                self.server.answers[request].put(Answer(kind == "response", body))
            case _:
                raise AssertionError(self.path)
        self._send(202, b'{"status": "OK"}')

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        return content

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running(
    handler: str, *, python: Path, task_root: Path, runtime: Path, environment: Mapping[str, str] | None = None
) -> Iterator[RuntimeApi]:
    """Start a function as Lambda does: in its package's folder, with the runtime client and nothing else beside it.

    Parameters
    ----------
    handler : str
        As `module.function`.
    python : Path
        The interpreter; it should have no packages of its own.
    task_root : Path
        The unzipped package.
    runtime : Path
        Folder of awslambdaric and what it needs, as /var/runtime.
    environment : mapping, optional
        The function's own variables. It gets no other of this process.
    """
    api = RuntimeApi()
    thread = threading.Thread(target=api.serve_forever, daemon=True)
    thread.start()
    variables = {
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_LAMBDA_FUNCTION_NAME": "worker",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_REGION": "us-east-1",
        "LAMBDA_TASK_ROOT": str(task_root),
        "PYTHONPATH": str(runtime),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # /var/task cannot be written to
        **(environment or {}),
    }
    process = subprocess.Popen([python, "-m", "awslambdaric", handler], cwd=task_root, env=variables)
    try:
        yield api
    finally:
        process.terminate()
        process.wait(10)
        api.shutdown()
        api.server_close()
        thread.join(10)
