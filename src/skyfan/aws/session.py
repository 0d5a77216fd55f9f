"""An account of AWS and a region, by whatever credentials boto3 finds; and what its refusals mean."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

from skyfan.errors import AwsError, AwsRefusedError, InputError
from skyfan.storage import Store
from skyfan.wording import with_extra

STACK_VARIABLE = "SKYFAN_STACK"
DEFAULT_STACK = "skyfan"

_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,39}")
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN = frozenset(
    {
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "AuthFailure",
        "InvalidToken",
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403"})
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "TooManyRequestsException", "SlowDown", "RequestLimitExceeded"}
)
_QUOTA = frozenset(
    {"LimitExceededException", "ServiceQuotaExceededException", "ExecutionLimitExceeded", "TooManyBuckets"}
)


def resolve_stack(name: str | None) -> str:
    """Return the stack's name: the argument, else `SKYFAN_STACK`, else `skyfan`.

    Raises
    ------
    InputError
        If CloudFormation, or a function named after it, could not have that name.
    """
    name = name or os.environ.get(STACK_VARIABLE) or DEFAULT_STACK
    if not _STACK.fullmatch(name):
        raise InputError(
            f"stack: {name!r} is no name for one; expected a letter, then letters, digits or '-', 40 at most "
            f"(from --stack or {STACK_VARIABLE})"
        )
    return name


class Cloud:
    """One account and region of AWS.

    Parameters
    ----------
    region : str, optional
        By default what boto3 finds: `AWS_REGION`, or the profile's.
    profile : str, optional
        Of the credentials; by default what boto3 finds.

    Raises
    ------
    InputError
        If boto3 is not installed, there is no such profile, or no region is known.
    """

    def __init__(self, region: str | None = None, profile: str | None = None) -> None:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise InputError(f"AWS: boto3 is not installed; {with_extra('aws')}") from error
        region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        try:
            self._session = boto3.Session(profile_name=profile, region_name=region)
        except BotoCoreError as error:
            raise InputError(f"AWS: {error}; expected a profile of ~/.aws/config: name it with --profile") from error
        if not self._session.region_name:
            raise InputError("AWS: no region is known; expected one, as us-east-1: give --region or set AWS_REGION")
        self.region: str = self._session.region_name
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return boto3's client of a service; throttled requests are tried again, slower."""
        if service not in self._clients:
            from botocore.config import Config

            config = Config(retries={"mode": "adaptive", "total_max_attempts": 10}, user_agent_appid="skyfan")
            self._clients[service] = self._session.client(service, config=config)
        return self._clients[service]

    def store(self) -> Store:
        """Open its S3, with the same credentials."""
        from obstore.auth.boto3 import Boto3CredentialProvider

        with suppress(ValueError):  # there are no credentials: the store's own message says so
            return Store("s3://", credentials=Boto3CredentialProvider(self._session))
        return Store("s3://")

    @cached_property
    def account(self) -> str:
        """The account's number.

        Raises
        ------
        AwsError
            If AWS does not know who asks.
        """
        with explained("who you are"):
            return str(self.client("sts").get_caller_identity()["Account"])


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn what boto3 raises into our errors, which say what to do.

    Parameters
    ----------
    what : str
        What was asked of AWS, as the beginning of the message.

    Raises
    ------
    AwsError
        Or one of its kinds.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        NoCredentialsError,
        PartialCredentialsError,
        SSOError,
        TokenRetrievalError,
    )

    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise AwsRefusedError(
            f"{what}: no credentials for AWS were found ({error}); log in first: 'aws configure', 'aws sso login', or "
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (SSOError, TokenRetrievalError) as error:
        raise AwsRefusedError(f"{what}: {error}; log in again: aws sso login") from error
    except EndpointConnectionError as error:
        raise AwsError(
            f"{what}: AWS cannot be reached ({error}); expected a network and a region that exists: see --region"
        ) from error
    except ClientError as error:
        raise explanation(what, error) from error
    except BotoCoreError as error:
        raise AwsError(f"{what}: {error}; try the same again") from error


def code_of(error: Any) -> str:
    """Return the code of a ClientError, such as NoSuchBucket."""
    return str(error.response.get("Error", {}).get("Code", ""))


def explanation(what: str, error: Any) -> AwsError:
    """Return our error for a ClientError: what AWS said, and what to do."""
    code, said = code_of(error), str(error.response.get("Error", {}).get("Message", "")) or str(error)
    if code in _EXPIRED:
        return AwsRefusedError(
            f"{what}: your credentials have expired; log in again and do the same again: what was begun goes on"
        )
    if code in _UNKNOWN:
        return AwsRefusedError(
            f"{what}: AWS does not know these credentials ({said}); expected a valid key: check AWS_ACCESS_KEY_ID, "
            "AWS_SESSION_TOKEN or --profile"
        )
    if code in _DENIED:
        return AwsRefusedError(
            f"{what}: you are not allowed to ({said}); ask for what 'skyfan aws iam --deployer' prints, "
            "or --runner for uploads and runs"
        )
    if code in _THROTTLED:
        return AwsError(f"{what}: AWS asks to slow down ({said}); wait a minute, then do the same again")
    if code in _QUOTA:
        return AwsRefusedError(
            f"{what}: a quota of the account is used up ({said}); ask for more in the console, Service Quotas"
        )
    return AwsError(f"{what}: {said} ({code})")
