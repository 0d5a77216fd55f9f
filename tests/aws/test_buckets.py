"""Buckets: ours are closed and ours to delete, those that are named stay as they are."""

import json
from pathlib import Path

import pytest
from moto.s3.models import s3_backends

from aws.accounts import keys_in, put, there
from aws.deployments import MOTO_ACCOUNT, Seen
from skyfan.aws import buckets
from skyfan.aws.buckets import MAKER_TAG
from skyfan.aws.deploying import deploy
from skyfan.aws.destroying import destroy
from skyfan.aws.overview import overview
from skyfan.aws.session import Cloud

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS..S3..BucketPolicy")  # moto knows it only by itself


def test_the_code_bucket_is_closed(moto: Cloud, package: Path) -> None:
    seen = Seen()
    deploy(moto, "closed", {}, package=package, watch=seen)
    bucket = f"skyfan-code-{MOTO_ACCOUNT}-us-east-1"
    s3 = moto.client("s3")
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert set(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values()) == {True}
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert {"Key": "project", "Value": "skyfan"} in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert buckets.is_ours(moto, bucket)
    assert sorted(key.split("-")[0] for key in keys_in(moto, bucket)) == ["closed/package", "closed/statemachine"]
    assert f"made bucket {bucket}" in seen.notes

    again = Seen()
    assert deploy(moto, "closed", {}, package=package, watch=again).changes is None
    assert not again.all
    found = overview(moto, "closed")
    assert found.code is not None
    assert (found.code.version, found.code.size_bytes) == ("0.1.0", package.stat().st_size)

    done = destroy(moto, "closed", watch=Seen())
    assert done is not None
    assert (done.stack, done.code_objects, done.code_bucket) == (True, 2, True)
    assert bucket not in there(moto)


def test_a_bucket_that_is_named_is_not_touched(moto: Cloud) -> None:
    put(moto, "theirs")
    assert not buckets.make_code_bucket(moto, "theirs", "skyfan")
    assert not buckets.is_ours(moto, "theirs")
    assert buckets.make_code_bucket(moto, "new-one", "skyfan")
    tags = moto.client("s3").get_bucket_tagging(Bucket="new-one")["TagSet"]
    assert MAKER_TAG in tags


def test_emptying_goes_past_a_page(moto: Cloud) -> None:
    put(moto, "full", "resultsful/1")
    for number in range(1002):
        s3_backends[MOTO_ACCOUNT]["aws"].put_object("full", f"results/{number}", b"data")
    assert buckets.contents(moto, "full", "results/") == buckets.Contents("full", "results/", 1002, 4008)
    assert buckets.empty(moto, "full", "results/") == 1002
    assert keys_in(moto, "full") == ["resultsful/1"]
    assert not buckets.delete_bucket(moto, "full")
    assert buckets.contents(moto, "absent").objects == 0
