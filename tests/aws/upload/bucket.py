"""The bucket `sky` on an emulator: sent to, looked into, and its requests overheard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from s3 import request
from skyfan.aws.session import Cloud
from skyfan.aws.upload import Uploaded, upload

MIB = 1024 * 1024


def connected(address: str, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "an-id",
        "AWS_SECRET_ACCESS_KEY": "a-secret",
        "AWS_ENDPOINT_URL": address,
    }.items():
        monkeypatch.setenv(name, value)
    cloud = Cloud("us-east-1")
    s3 = cloud.client("s3")
    s3.meta.events.register("after-call.s3.HeadObject", _with_number_of_parts)
    if "sky" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
        for key in stored(cloud):
            s3.delete_object(Bucket="sky", Key=key)
        for left in s3.list_multipart_uploads(Bucket="sky").get("Uploads", []):
            s3.abort_multipart_upload(Bucket="sky", Key=left["Key"], UploadId=left["UploadId"])
    else:
        request(address, "PUT", "/sky")
    return cloud


def _with_number_of_parts(parsed: dict[str, Any], **_: Any) -> None:
    """Say of how many parts a checksum is, as S3 does; moto forgets it."""
    said, tag = parsed.get("ChecksumSHA256"), parsed.get("ETag", "").strip('"')
    if said and "-" in tag and "-" not in said:
        parsed["ChecksumSHA256"] = f"{said}-{tag.rsplit('-', 1)[1]}"


def send(cloud: Cloud, source: Path, prefix: str = "surveys/25MB", **options: Any) -> Uploaded:
    options.setdefault("progress", lambda done, total: None)
    return upload(cloud, source, "sky", prefix, **options)


def stored(cloud: Cloud) -> list[str]:
    return [item["Key"] for item in cloud.client("s3").list_objects_v2(Bucket="sky").get("Contents", [])]


def content(cloud: Cloud, key: str) -> bytes:
    data: bytes = cloud.client("s3").get_object(Bucket="sky", Key=key)["Body"].read()
    return data


def written(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by every key that is written."""
    keys: list[str] = []
    events = cloud.client("s3").meta.events
    for operation in ("PutObject", "CompleteMultipartUpload", "DeleteObject"):
        events.register(
            f"provide-client-params.s3.{operation}",
            lambda params, model, **_: keys.append(f"{model.name} {params['Key'].rsplit('/', 1)[-1]}"),
        )
    return keys


def failing(cloud: Cloud, operation: str, when: Callable[[dict[str, Any]], bool], do: Callable[[], None]) -> None:
    """Do something whenever such a request is about to be made."""

    def look(params: dict[str, Any], **_: Any) -> None:
        if when(params):
            do()

    cloud.client("s3").meta.events.register(f"provide-client-params.s3.{operation}", look)
