"""Three kinds of store under one suite, one of them a real S3 server on loopback."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from s3 import put_one_by_one, request
from skyfan.storage import Bucket, Store


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Serve S3; return its address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        put_one_by_one(patch)
        moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        yield f"http://{host}:{port}"
        moto.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty S3 server with the bucket `sky`, and the environment to reach it; its address."""
    request(server, "POST", "/moto-api/reset")
    request(server, "PUT", "/sky")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    return server


@pytest.fixture(params=["folder", "memory", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind, with the empty bucket `sky`."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    urls = {"folder": str(tmp_path / "store"), "memory": f"memory://{tmp_path}", "s3": "s3://"}
    store = Store(urls[request.param])
    store.bucket("sky", create="store")
    return store


@pytest.fixture
def bucket(any_store: Store) -> Bucket:
    return any_store.bucket("sky")
