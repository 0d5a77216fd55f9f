"""An account of AWS: the way into it, our commands in it, and its buckets."""

import os
import subprocess

import pytest

from running import SKYFAN
from skyfan.aws.session import Cloud


def enter(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Cloud()


def shell(*arguments: object, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*SKYFAN, "aws", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
    )


def put(cloud: Cloud, bucket: str, *keys: str) -> None:
    cloud.client("s3").create_bucket(Bucket=bucket)
    for key in keys:
        cloud.client("s3").put_object(Bucket=bucket, Key=key, Body=b"data")


def keys_in(cloud: Cloud, bucket: str) -> list[str]:
    return [found["Key"] for found in cloud.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]


def there(cloud: Cloud) -> set[str]:
    return {bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]}
