"""What a store's failures are called: the storage library's and the operating system's errors as ours."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from skyfan.errors import StoreAbsentError, StoreError, StoreFullError, StoreRefusedError

_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_ABSENT = re.compile(r"NoSuchBucket|bucket does not exist|BucketNotFound", re.IGNORECASE)
_REFUSED = re.compile(r"os error (?:1|13|30)\b|AccessDenied|403 Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch")
_FULL = re.compile(r"os error (?:28|122)\b|No space left|XMinioStorageFull|507 Insufficient")
_CREDENTIALS = re.compile(r"169\.254\.169\.254|CredentialsNotLoaded|no credentials", re.IGNORECASE)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what the storage library and the operating system raise into our errors, with the place named."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise _refused(where, error) from error
    except (BaseError, OSError) as error:
        text = str(error)
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.ENOMEM:
            raise MemoryError(f"{where}: {text}") from error
        if number in {errno.ENOSPC, errno.EDQUOT} or _FULL.search(text):
            message = f"{where}: no space is left in the store; free some, then do the same again: a run goes on"
            raise StoreFullError(message) from error
        if _CREDENTIALS.search(text):
            raise StoreRefusedError(
                f"{where}: no credentials for S3 were found; expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in "
                "the environment (AWS_SKIP_SIGNATURE=true for a public bucket)"
            ) from error
        if number in {errno.EROFS, errno.EPERM} or _REFUSED.search(text):
            raise _refused(where, error) from error
        raise_if_bucket_absent(error, where)
        raise StoreError(
            f"{where}: the store failed: {first_line(error)}; see that it can be reached (--store, the AWS_* "
            "variables), then run the same again"
        ) from error


def _refused(where: str, error: Exception) -> StoreRefusedError:
    if where.startswith("s3://"):
        return StoreRefusedError(
            f"{where}: the store refused: {first_line(error)}; expected credentials that may read and write there; "
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION, and the bucket's policy"
        )
    reason = first_line(error).replace("Generic LocalFileSystem error: ", "")
    return StoreRefusedError(
        f"{where}: the store refused: {reason}; expected permission to read and write there; check the folder's owner, "
        "its permissions, and whether its disk is mounted read-only"
    )


def raise_if_bucket_absent(error: Exception, where: str) -> None:
    """Raise ours if an error says that the whole bucket is not there, not only an object."""
    if _ABSENT.search(str(error)):
        message = f"{where}: there is no such bucket; create it, or correct the payload's bucket or data_bucket"
        raise StoreAbsentError(message) from error


def first_line(error: Exception) -> str:
    """Return what matters of an error's text; a server's own words stand in its XML, lines below the first."""
    first = str(error).split("\n", 1)[0].strip() or type(error).__name__
    said = _MESSAGE.search(str(error))
    return f"{first.partition(': <?xml')[0]}: {said[1]}" if said else first
