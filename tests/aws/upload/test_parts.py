"""A large file goes in parts: with checksums of their own, each once, and few in memory."""

from pathlib import Path

import pytest

from aws.upload.bucket import MIB, connected, content, failing, send
from skyfan.aws import sending
from skyfan.aws import upload as uploading
from skyfan.aws.session import Cloud
from skyfan.errors import AwsError, InputError


def test_a_large_file_goes_in_parts(cloud: Cloud, large: Path) -> None:
    told: list[tuple[int, int]] = []
    sent = send(cloud, large, "models", progress=lambda done, total: told.append((done, total)))
    assert (sent.files, sent.bytes_sent) == (1, 15 * MIB + 8)
    assert told[-1] == (15 * MIB + 8, 15 * MIB + 8)
    assert content(cloud, "models/large.onnx") == large.read_bytes()
    assert send(cloud, large, "models").skipped == 1


def test_the_parts_checksums_are_s3s(checking: Cloud, large: Path) -> None:
    send(checking, large, "models")
    head = checking.client("s3").head_object(Bucket="sky", Key="models/large.onnx", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-4")
    data = bytearray(large.read_bytes())
    data[0] += 1
    large.write_bytes(data)
    with pytest.raises(InputError, match="of another content"):
        send(checking, large, "models")


def test_parts_of_another_size_are_the_same_content(moto: str, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = connected(moto, monkeypatch)
    send(cloud, large, "models")
    for module in (sending, uploading):
        monkeypatch.setattr(module, "PART_BYTES", 7 * MIB)
    assert send(cloud, large, "models").skipped == 1


def test_parts_that_are_there_are_not_sent_again(checking: Cloud, large: Path) -> None:
    broken = [True]

    def fail() -> None:
        if broken[0]:
            raise AwsError("the line is cut")

    failing(checking, "UploadPart", lambda params: params["PartNumber"] == 3, fail)
    with pytest.raises(AwsError, match=r"the line is cut; 1 file of 1 are left, 15\.0 MiB; do the same again"):
        send(checking, large, "models", workers=1)
    broken[0] = False
    again = send(checking, large, "models", workers=1)
    assert again.bytes_sent == 5 * MIB + 8
    assert content(checking, "models/large.onnx") == large.read_bytes()


def test_memory_is_bounded(checking: Cloud, tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    tracemalloc.start()
    send(checking, path, "models", workers=4)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 12 * MIB
