"""Files, names, buckets and credentials that an upload refuses before it sends anything."""

import os
import time
from pathlib import Path

import pytest

from aws.upload.bucket import connected, send
from s3 import request
from skyfan.aws.session import Cloud
from skyfan.aws.upload import upload
from skyfan.errors import AwsRefusedError, InputError, KeyNameError


def test_what_is_no_file_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with pytest.raises(InputError, match=r"x: cannot be read \(No such file"):
        send(cloud, folder)
    folder.mkdir()
    with pytest.raises(InputError, match="holds no file"):
        send(cloud, folder)
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="pipe: is neither a file nor a folder"):
        send(cloud, folder)
    (folder / "pipe").unlink()
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="link: is a symbolic link"):
        send(cloud, folder)
    (folder / "link").unlink()
    (folder / "a#1").write_bytes(b"")
    with pytest.raises(KeyNameError, match="ends with a colon, a bar"):
        send(cloud, folder)


def test_names_and_numbers_are_checked(cloud: Cloud, survey: Path) -> None:
    with pytest.raises(InputError, match="0 workers; expected 1 to 64"):
        send(cloud, survey, workers=0)
    with pytest.raises(KeyNameError, match=r"prefix: '\.\./x'"):
        send(cloud, survey, "../x")
    with pytest.raises(KeyNameError, match="bucket: 'a/b' holds a slash"):
        upload(cloud, survey, "a/b", "surveys", progress=lambda done, total: None)


def test_a_bucket_that_is_not_there_or_elsewhere(cloud: Cloud, survey: Path) -> None:
    with pytest.raises(InputError, match="bucket nowhere: there is none"):
        upload(cloud, survey, "nowhere", "surveys", progress=lambda done, total: None)
    name = f"far-{time.monotonic_ns()}"
    far = Cloud("eu-west-1")
    far.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with pytest.raises(InputError, match=f"bucket {name}: lies in eu-west-1; expected the stack's region, us-east-1"):
        upload(cloud, survey, name, "surveys", progress=lambda done, total: None)


def test_no_permission(moto: str, monkeypatch: pytest.MonkeyPatch, survey: Path) -> None:
    cloud = connected(moto, monkeypatch)
    request(moto, "POST", "/moto-api/reset-auth", b"0")
    try:
        with pytest.raises(AwsRefusedError, match="bucket sky: AWS does not know these credentials"):
            send(cloud, survey)
    finally:
        request(moto, "POST", "/moto-api/reset-auth", b"inf")
