"""Asking the tests' S3 server for what is not the storage library's to ask."""

import http.client
from urllib.parse import urlsplit


def request(server: str, method: str, path: str, body: bytes = b"") -> None:
    """Ask the server for something that is not the storage library's to ask."""
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=10)
    connection.request(method, path, body)
    assert connection.getresponse().status == 200
    connection.close()
