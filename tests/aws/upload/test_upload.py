"""What an upload leaves in the bucket, and that doing it again sends only what is not there."""

import hashlib
from base64 import b64encode
from pathlib import Path

import pytest

from aws.upload.bucket import content, send, stored, written
from skyfan.aws.session import Cloud
from skyfan.errors import InputError


def test_a_folder_is_there_as_it_was_and_a_second_time_sends_nothing(cloud: Cloud, survey: Path) -> None:
    (survey / "models").mkdir()
    (survey / "models" / "a.onnx").write_bytes(b"")
    told: list[tuple[int, int]] = []
    first = send(cloud, survey, progress=lambda done, total: told.append((done, total)))
    total = sum(path.stat().st_size for path in survey.rglob("*") if path.is_file())
    assert (first.files, first.skipped, first.bytes, first.bytes_sent) == (5, 0, total, total)
    assert (first.bucket, first.prefix) == ("sky", "surveys/25MB")
    for path in survey.rglob("*"):
        if path.is_file():
            assert content(cloud, f"surveys/25MB/{path.relative_to(survey)}") == path.read_bytes()
    assert told[-1] == (total, total)
    assert told == sorted(told)
    again = send(cloud, survey)
    assert (again.files, again.skipped, again.bytes_sent) == (5, 5, 0)


def test_a_file_keeps_its_name(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "a model.onnx").write_bytes(b"weights")
    send(cloud, tmp_path / "a model.onnx", "models")
    assert stored(cloud) == ["models/a model.onnx"]


def test_s3_holds_the_sha_256_of_what_was_sent(checking: Cloud, survey: Path) -> None:
    send(checking, survey)
    head = checking.client("s3").head_object(Bucket="sky", Key="surveys/25MB/2.safetensors", ChecksumMode="ENABLED")
    digest = hashlib.sha256((survey / "2.safetensors").read_bytes()).digest()
    assert head["ChecksumSHA256"] == b64encode(digest).decode()


@pytest.mark.parametrize("length", [2000, 1999])
def test_another_content_is_refused_before_anything_is_sent(
    cloud: Cloud, survey: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = cloud.client("s3")
    s3.put_object(Bucket="sky", Key="surveys/25MB/2.safetensors", Body=b"x" * length)
    keys = written(cloud, monkeypatch)
    with pytest.raises(InputError, match=r"s3://sky/surveys/25MB/2\.safetensors: is there, of another content.*--over"):
        send(cloud, survey)
    assert keys == []
    assert send(cloud, survey, overwrite=True).skipped == 0
    assert content(cloud, "surveys/25MB/2.safetensors") == (survey / "2.safetensors").read_bytes()


def test_what_others_stored_without_a_sha_256_is_read_for_it(cloud: Cloud, survey: Path) -> None:
    data = (survey / "2.safetensors").read_bytes()
    cloud.client("s3").put_object(Bucket="sky", Key="surveys/25MB/2.safetensors", Body=data, ChecksumAlgorithm="CRC32")
    assert send(cloud, survey).skipped == 1
