"""Opening a bucket of an S3 server: its address, region and credentials."""

import os
import re
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from skyfan.errors import InputError
from skyfan.store_errors import first_line

REQUEST_TIMEOUT = timedelta(minutes=15)  # for the whole body: a large partition over a slow line takes its time

Credentials = Callable[[], Any]
"""Gives what obstore calls an `S3Credential`."""

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_ENDPOINT = re.compile(r"https?://[!-~]+")


def open_s3(bucket: str, endpoint: str | None, credentials: Credentials | None) -> S3Store:
    """Return a client for a bucket; nothing is asked of the server yet.

    Parameters
    ----------
    bucket : str
    endpoint : str or None
        The server's address; None takes that of AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else Amazon's.
    credentials : callable or None
        None takes those of the AWS_* variables, else what boto3 finds if it is installed.

    Raises
    ------
    InputError
        If no server has such a bucket, or nothing can be a server's address.
    """
    if not _BUCKET.fullmatch(bucket):
        raise InputError(
            f"bucket {bucket!r}: no server has a bucket of that name; expected 2 to 63 letters, digits, '.', '_' or '-'"
        )
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options: dict[str, Any] = {"client_options": {"timeout": REQUEST_TIMEOUT}}
    if endpoint:
        _check_endpoint(endpoint)
        options |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        options["client_options"]["allow_http"] = endpoint.startswith("http://")
    credentials = credentials or _found_by_boto3()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = getattr(credentials, "config", {}).get("region") or region or "us-east-1"
    try:
        return S3Store(
            bucket,
            region=region,
            credential_provider=credentials,
            retry_config={"max_retries": 5, "retry_timeout": REQUEST_TIMEOUT},
            **options,
        )
    except (BaseError, ValueError) as error:
        raise InputError(f"store: s3://{bucket} cannot be opened: {first_line(error)}") from error


def without_secrets(address: str) -> str:
    """Return an address as a message may show it: its user, password and query left out."""
    scheme, found, rest = address.partition("://")
    place = rest if found else scheme
    place = re.split(r"[?#]", place, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}://{place}" if found else place


def _found_by_boto3() -> Credentials | None:
    """Return the credentials of a profile or a login, which the storage library does not know by itself."""
    if {"AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"} & os.environ.keys() or find_spec("boto3") is None:
        return None  # as in a worker, which has no boto3
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider()
    except (BotoCoreError, ValueError):  # there are none, or no such profile
        return None


def _check_endpoint(endpoint: str) -> None:
    """Check a server's address here: the storage library panics at one that it cannot parse."""
    try:
        parts = urlsplit(endpoint)
        fault = (
            not _ENDPOINT.fullmatch(endpoint) or not parts.hostname or parts.port == 0 or parts.query or parts.fragment
        )
        secret = "@" in parts.netloc
    except ValueError:  # a port or an address that cannot be one
        fault, secret = True, "@" in endpoint
    if secret:
        raise InputError(
            "store: the server's address holds a user name or password; expected http(s)://HOST:PORT alone: put the "
            "credentials into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if fault:
        raise InputError(
            f"store: {without_secrets(endpoint)!r} is no server's address; expected http(s)://HOST:PORT, as in "
            "http://127.0.0.1:9000 (from --store, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL)"
        )
