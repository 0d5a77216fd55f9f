"""S3 on loopback: asked for what is not the storage library's to ask, and a server in its place that keeps requests."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from moto.s3.responses import S3Response


def request(server: str, method: str, path: str, body: bytes = b"") -> None:
    """Ask the server for something that is not the storage library's to ask."""
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=10)
    connection.request(method, path, body)
    assert connection.getresponse().status == 200
    connection.close()


def put_one_by_one(patch: pytest.MonkeyPatch) -> None:
    """Have moto put one object at a time: of two that may only be made if absent, it would else make both at once."""
    lock, put = threading.Lock(), S3Response.put_object

    def locked(self: S3Response) -> Any:
        with lock:
            return put(self)

    patch.setattr(S3Response, "put_object", locked)


@contextmanager
def listening() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answer every GET with `{}`; yield the address, and the headers of each request, their names in lower case."""
    seen: list[dict[str, str]] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 12:00:00 GMT")
            self.send_header("ETag", '"x"')
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
