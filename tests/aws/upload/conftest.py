"""Emulators of S3, and what is sent to them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from aws import emulator
from aws.states import serve
from aws.upload.bucket import MIB, connected
from skyfan.aws import sending
from skyfan.aws import upload as uploading
from skyfan.aws.session import Cloud
from skyfan.partitions import Index, PartitionRef


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with serve() as machine:
        yield machine.address


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve an S3 that checks checksums, also those of parts."""
    pytest.importorskip("ministack")
    with emulator.ministack(tmp_path_factory.mktemp("ministack")) as found:
        yield found.address


@pytest.fixture(params=["moto", "ministack"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    return connected(request.getfixturevalue(request.param), monkeypatch)


@pytest.fixture
def checking(ministack: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """An S3 that checks what it is told."""
    return connected(ministack, monkeypatch)


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """Three partitions and their index."""
    folder = tmp_path / "25MB"
    folder.mkdir()
    refs = []
    for number in (1, 2, 10):
        data = bytes([number]) * (1000 * number)
        (folder / f"{number}.safetensors").write_bytes(data)
        refs.append(PartitionRef(f"{number}.safetensors", len(data), number, hashlib.sha256(data).hexdigest()))
    (folder / "index.json").write_bytes(Index(1, 13, True, tuple(refs)).encode())
    return folder


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (sending, uploading):
        monkeypatch.setattr(module, "PART_BYTES", 5 * MIB)
    path = tmp_path / "large.onnx"
    path.write_bytes(b"".join(bytes([number]) * (5 * MIB) for number in range(3)) + b"the rest")
    return path
