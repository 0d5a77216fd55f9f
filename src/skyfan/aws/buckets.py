"""Buckets around a stack: the one that its code lies in, and emptying what is ours."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skyfan.aws.session import Cloud, code_of, explained
from skyfan.errors import AwsError, InputError

MAKER_TAG = {"Key": "made-by", "Value": "skyfan"}
"""On a bucket that a deployment made; it is set last, so that a bucket that has it is closed."""
ANY = re.compile(r".*", re.DOTALL)
"""Of keys, all."""


@dataclass(frozen=True)
class Contents:
    """What lies below a prefix of a bucket, or those of it that are meant."""

    bucket: str
    prefix: str
    objects: int
    bytes: int


def default_code_bucket(cloud: Cloud) -> str:
    """Return the name of the bucket that code lies in unless another one is named: one an account and region."""
    return f"skyfan-code-{cloud.account}-{cloud.region}"


def check_bucket(cloud: Cloud, bucket: str, option: str, *, owned: bool = True) -> bool:
    """Return whether there is a bucket that can be used here.

    Parameters
    ----------
    option : str
        That names it, for messages.
    owned : bool
        Whether it has to be of this account. A survey may be another's, who lets everybody read it.

    Raises
    ------
    InputError
        If it is another account's, or lies in another region.
    AwsError
        If AWS does not answer.
    """
    s3 = cloud.client("s3")
    owner = {"ExpectedBucketOwner": cloud.account} if owned else {}
    with explained(f"bucket {bucket}"):
        try:
            found = s3.head_bucket(Bucket=bucket, **owner)
        except s3.exceptions.ClientError as error:
            code = code_of(error)
            if code in {"404", "NoSuchBucket"}:
                return False
            if code not in {"403", "AccessDenied"}:
                raise
            if not owned:
                return True  # the workers may be allowed what a deployer is not
            raise _taken(cloud, bucket, option) from error
    region = found.get("BucketRegion") or cloud.region
    if region != cloud.region:
        raise InputError(
            f"bucket {bucket}: is in region {region}; expected {cloud.region}, where the functions run: name another "
            f"with {option}, or deploy there: --region {region}"
        )
    return True


def _taken(cloud: Cloud, bucket: str, option: str) -> InputError:
    return InputError(
        f"bucket {bucket}: belongs to another account, or you may not use it; expected one of account "
        f"{cloud.account}: name another with {option}"
    )


def make_code_bucket(cloud: Cloud, bucket: str, project: str) -> bool:
    """Make a bucket, closed to all but the account, unless it is there; return whether it was made.

    Raises
    ------
    InputError
        If it is another account's, or lies in another region.
    AwsError
        If AWS does not do it.
    """
    there = check_bucket(cloud, bucket, "--code-bucket")
    if there and (bucket != default_code_bucket(cloud) or is_ours(cloud, bucket)):
        return False  # by its name the default one is ours too, should an earlier deployment not have come this far
    s3 = cloud.client("s3")
    with explained(f"bucket {bucket}"):
        if not there:
            elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": cloud.region}}
            try:
                s3.create_bucket(Bucket=bucket, **({} if cloud.region == "us-east-1" else elsewhere))
            except s3.exceptions.BucketAlreadyExists as error:
                raise _taken(cloud, bucket, "--code-bucket") from error
            except s3.exceptions.BucketAlreadyOwnedByYou:
                pass  # another deployment was faster
        _close(s3, bucket, cloud.account)
        tags = [{"Key": "project", "Value": project}, MAKER_TAG]
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags}, ExpectedBucketOwner=cloud.account)
    return not there


def _close(s3: Any, bucket: str, account: str) -> None:
    """Encrypt a bucket, and close it to the public and to whatever comes without TLS."""
    flags = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    partition = s3.meta.partition
    statement = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:{partition}:s3:::{bucket}", f"arn:{partition}:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_public_access_block(
        Bucket=bucket,
        PublicAccessBlockConfiguration=dict.fromkeys(flags, True),
        ExpectedBucketOwner=account,
    )
    s3.put_bucket_encryption(
        Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]}, ExpectedBucketOwner=account
    )
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy, ExpectedBucketOwner=account)


def is_ours(cloud: Cloud, bucket: str) -> bool:
    """Whether a deployment made a bucket, by its tag."""
    s3 = cloud.client("s3")
    with explained(f"tags of bucket {bucket}"):
        try:
            tags = s3.get_bucket_tagging(Bucket=bucket, ExpectedBucketOwner=cloud.account)["TagSet"]
        except s3.exceptions.ClientError as error:
            if code_of(error) in {"NoSuchTagSet", "NoSuchBucket", "404"}:
                return False
            raise
    return MAKER_TAG in tags


def put_if_absent(cloud: Cloud, bucket: str, key: str, source: Path | bytes, metadata: dict[str, str]) -> bool:
    """Store an object under a key that names its content; return False if it is there already.

    Raises
    ------
    AwsError
        If AWS does not take it.
    """
    s3 = cloud.client("s3")
    where = {"Bucket": bucket, "Key": key, "ExpectedBucketOwner": cloud.account}
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    with explained(f"s3://{bucket}/{key}"):
        try:
            if s3.head_object(**where)["ContentLength"] == size:
                return False
        except s3.exceptions.ClientError as error:
            if code_of(error) not in {"404", "NoSuchKey"}:
                raise
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as body:
            s3.put_object(**where, Body=body, Metadata=metadata, ChecksumAlgorithm="SHA256")
    return True


def contents(cloud: Cloud, bucket: str, prefix: str = "", only: re.Pattern[str] = ANY) -> Contents:
    """Count what lies below a prefix, of it only keys of a pattern; an absent bucket holds nothing."""
    sizes = [found["Size"] for batch in _listed(cloud, bucket, prefix, only) for found in batch]
    return Contents(bucket, prefix, len(sizes), sum(sizes))


def empty(cloud: Cloud, bucket: str, prefix: str = "", only: re.Pattern[str] = ANY) -> int:
    """Delete what lies below a prefix, of it only keys of a pattern; return the number of objects.

    Raises
    ------
    AwsError
        If one of them could not be deleted.
    """
    s3, deleted = cloud.client("s3"), 0
    for batch in _listed(cloud, bucket, prefix, only):
        keys = [{"Key": found["Key"]} for found in batch]
        with explained(f"deleting in s3://{bucket}/{prefix}"):
            answer = s3.delete_objects(
                Bucket=bucket, Delete={"Objects": keys, "Quiet": True}, ExpectedBucketOwner=cloud.account
            )
        for error in answer.get("Errors", []):
            raise AwsError(
                f"s3://{bucket}/{error['Key']}: could not be deleted ({error.get('Message') or error.get('Code')}); "
                f"{deleted} others are: do the same again to go on"
            )
        deleted += len(keys)
    return deleted


def delete_bucket(cloud: Cloud, bucket: str) -> bool:
    """Delete a bucket; return False if there is something in it, as versions that its owner keeps."""
    s3 = cloud.client("s3")
    with explained(f"bucket {bucket}"):
        try:
            s3.delete_bucket(Bucket=bucket, ExpectedBucketOwner=cloud.account)
        except s3.exceptions.ClientError as error:
            if code_of(error) == "BucketNotEmpty":
                return False
            if code_of(error) != "NoSuchBucket":
                raise
    return True


def _listed(cloud: Cloud, bucket: str, prefix: str, only: re.Pattern[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield what lies below a prefix, at most 1,000 objects at a time, as many as S3 deletes at once."""
    s3 = cloud.client("s3")
    with explained(f"s3://{bucket}/{prefix}"):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=cloud.account
        )
        try:
            for page in pages:
                if meant := [found for found in page.get("Contents", []) if only.fullmatch(found["Key"])]:
                    yield meant
        except s3.exceptions.NoSuchBucket:
            return
