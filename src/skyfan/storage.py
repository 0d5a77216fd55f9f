"""Opening a store: the root under which buckets live, in a folder, on S3 or in memory."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, MemoryStore, S3Store

from skyfan.blob import Blob, BufferBlob, MappedBlob, RangedBlob
from skyfan.errors import (
    InputError,
    StoreAbsentError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
)
from skyfan.keys import check_bucket

DEFAULT_STORE = "./skyfan-data"
STORE_VARIABLE = "SKYFAN_STORE"
READERS = 16  # requests in flight when many small objects are read

Create = Literal["nothing", "on paper", "bucket", "store"]

_MEMORY: dict[tuple[str, str], MemoryStore] = {}
_STAGED = re.compile(r".*#\d+", re.ASCII)
_S3_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_ENDPOINT = re.compile(r"https?://[!-~]+")
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_ABSENT = re.compile(r"NoSuchBucket|bucket does not exist|BucketNotFound", re.IGNORECASE)
_REFUSED = re.compile(r"os error (?:1|13|30)\b|AccessDenied|403 Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch")
_FULL = re.compile(r"os error (?:28|122)\b|No space left|XMinioStorageFull|507 Insufficient")


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One stored object, as a listing shows it."""

    key: str
    bytes: int


def resolve_store(url: str | None) -> str:
    """Return the store's address: the argument, else `SKYFAN_STORE`, else `./skyfan-data`."""
    return url or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE


class Store:
    """The root under which buckets live.

    Parameters
    ----------
    url : str
        A folder, `s3://` (with the usual AWS_* variables, AWS_ENDPOINT_URL for another server than Amazon's),
        the address of an S3-compatible server (`http://127.0.0.1:9000`), or `memory://NAME`.
    """

    def __init__(self, url: str) -> None:
        scheme = url.partition("://")[0].lower() if "://" in url else ""
        if scheme not in {"", "file", "s3", "http", "https", "memory"}:
            raise InputError(
                f"store: {url!r} has the scheme {scheme!r}; expected a folder, s3://, http(s):// or memory://"
            )
        if scheme == "s3" and url.rstrip("/") != "s3:":
            raise InputError(
                f"store: {url!r} names a bucket; expected s3:// alone, since the payload names the buckets"
            )
        self.url = url if scheme else str(Path(url).absolute())
        self._scheme = scheme or "file"

    @property
    def shared(self) -> bool:
        """Whether another process sees the same store."""
        return self._scheme != "memory"

    def bucket(self, name: str, *, create: Create = "nothing") -> "Bucket":
        """Open a bucket.

        Parameters
        ----------
        name : str
            Its name; in a folder store, that of a subfolder.
        create : str
            In a folder store, make what is absent: the `bucket`'s folder, or the `store`'s too; `on paper` opens an
            empty bucket that is nowhere, to plan with. Buckets of a server are never made.

        Raises
        ------
        StoreAbsentError
            If a folder store or its bucket is not there.
        StoreRefusedError
            If it may not be read.
        """
        check_bucket(name, "bucket")
        if self._scheme == "file":
            return self._folder(name, create)
        if self._scheme == "memory":
            return Bucket(name, f"{self.url}/{name}", _MEMORY.setdefault((self.url, name), MemoryStore()), None)
        return Bucket(name, f"s3://{name}", _s3(name, None if self._scheme == "s3" else self.url), None)

    def _folder(self, name: str, create: Create) -> "Bucket":
        root = Path(unquote(urlsplit(self.url).path)) if self.url.startswith("file://") else Path(self.url)
        folder = root / name
        with _translated(str(folder)):
            if create == "on paper" and root.is_dir() and not folder.exists():
                return Bucket(name, str(folder), MemoryStore(), None)
            if create == "store" or (create == "bucket" and root.is_dir()):
                with suppress(FileExistsError, NotADirectoryError):  # a file is in the way: said below
                    folder.mkdir(parents=True, exist_ok=True)
            for path, what in ((root, "store"), (folder, f"bucket {name!r} of the store")):
                if not path.is_dir():
                    raise StoreAbsentError(
                        f"{what}: there is no folder {path}; expected one; name another with --store or "
                        f"{STORE_VARIABLE}, or put partitions there with 'skyfan partition'"
                    )
            return Bucket(name, str(folder), LocalStore(folder), folder)


def _s3(bucket: str, endpoint: str | None) -> S3Store:
    if not _S3_BUCKET.fullmatch(bucket):
        raise InputError(
            f"bucket {bucket!r}: no server has a bucket of that name; expected 2 to 63 letters, digits, '.', '_' or '-'"
        )
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options: dict[str, Any] = {}
    if endpoint:
        _check_endpoint(endpoint)
        options = {"endpoint": endpoint, "virtual_hosted_style_request": False}
        options["client_options"] = {"allow_http": endpoint.startswith("http://")}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    try:
        return S3Store(
            bucket,
            region=region,
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=60)},
            **options,
        )
    except (BaseError, ValueError) as error:
        raise InputError(f"store: s3://{bucket} cannot be opened: {_first_line(error)}") from error


def _check_endpoint(endpoint: str) -> None:
    """Check a server's address here: the storage library panics at one that it cannot parse."""
    try:
        parts = urlsplit(endpoint)
        fault = (
            not _ENDPOINT.fullmatch(endpoint) or not parts.hostname or parts.port == 0 or parts.query or parts.fragment
        )
    except ValueError:  # a port or an address that cannot be one
        fault = True
    if fault:
        raise InputError(
            f"store: {endpoint!r} is no server's address; expected http(s)://HOST:PORT, as in http://127.0.0.1:9000 "
            "(from --store, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL)"
        )


class Bucket:
    """The objects of one bucket. Every method raises `StoreError` or one of its kinds if the store does not comply."""

    def __init__(self, name: str, where: str, backend: LocalStore | MemoryStore | S3Store, folder: Path | None) -> None:
        self.name = name
        self.where = where
        self._backend = backend
        self._folder = folder

    def get(self, key: str) -> bytes | None:
        """Return an object's bytes, None if there is no such object."""
        with _translated(f"{self.where}/{key}"):
            try:
                return bytes(obstore.get(self._backend, key).bytes())
            except FileNotFoundError as error:
                _raise_if_bucket_absent(error, self.where)
                return None

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the bytes of many small objects, in order."""
        with ThreadPoolExecutor(READERS) as pool:
            yield from pool.map(self.get, keys)

    def blob(self, key: str) -> Blob | None:
        """Open one object to be read whole: a local file is mapped, a remote one fetched by one request."""
        if self._folder is not None:
            return self._mapped(self._folder / key)
        with _translated(f"{self.where}/{key}"):
            try:
                return BufferBlob(f"{self.where}/{key}", memoryview(obstore.get(self._backend, key).bytes()))
            except FileNotFoundError as error:
                _raise_if_bucket_absent(error, self.where)
                return None

    def ranged_blob(self, key: str) -> Blob | None:
        """Open one object of any size to be read in pieces: a local file is mapped, a remote one read by ranges."""
        if self._folder is not None:
            return self._mapped(self._folder / key)
        entry = self.head(key)
        if entry is None:
            return None
        return RangedBlob(f"{self.where}/{key}", entry.bytes, lambda start, stop: self._range(key, start, stop))

    def _range(self, key: str, start: int, stop: int) -> memoryview:
        with _translated(f"{self.where}/{key}"):
            return memoryview(obstore.get_range(self._backend, key, start=start, end=stop))

    def _mapped(self, path: Path) -> Blob | None:
        with _translated(str(path)):
            return MappedBlob(path) if path.is_file() else None

    def put(self, key: str, data: bytes | Sequence[bytes | memoryview]) -> None:
        """Write an object whole or not at all, over what was there."""
        with _translated(f"{self.where}/{key}"):
            obstore.put(self._backend, key, data if isinstance(data, bytes) else list(data))

    def create(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none of that name; return whether this call made it."""
        with _translated(f"{self.where}/{key}"):
            try:
                obstore.put(self._backend, key, data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
            except NotSupportedError as error:
                raise StoreError(
                    f"{self.where}: this server cannot create an object only if absent (If-None-Match), which a run "
                    "needs to hold its result path; use a newer server, or a folder"
                ) from error
        return True

    def head(self, key: str) -> Entry | None:
        """Return an object's listing entry, None if there is none."""
        with _translated(f"{self.where}/{key}"):
            try:
                return Entry(key, int(obstore.head(self._backend, key)["size"]))
            except FileNotFoundError as error:
                _raise_if_bucket_absent(error, self.where)
                return None

    def list(self, prefix: str) -> list[Entry]:
        """Return every object below the folder `prefix`, all pages of the listing, in no set order."""
        entries: list[Entry] = []
        with _translated(f"{self.where}/{prefix}/"):
            # Arrow keeps a listing of 100,000 objects small; dicts with dates would take ten times as much
            for batch in obstore.list(self._backend, f"{prefix}/", chunk_size=10_000, return_arrow=True):
                entries.extend(map(Entry, batch["path"].to_pylist(), batch["size"].to_pylist()))
        return entries

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, on a server in no set order; one that is not there is no error."""
        with _translated(self.where):
            if self._folder is None:
                obstore.delete(self._backend, list(keys))
                return
            for key in keys:
                try:
                    obstore.delete(self._backend, key)
                except FileNotFoundError:
                    continue

    def sweep(self, prefix: str) -> None:
        """Remove what writers that were killed left behind below a folder; only a folder store has any."""
        if self._folder is None:
            return
        with _translated(f"{self.where}/{prefix}"):
            for path in (self._folder / prefix).rglob("*#*"):
                if _STAGED.fullmatch(path.name) and path.is_file():
                    path.unlink(missing_ok=True)

    def local_path(self, key: str) -> Path | None:
        """Return the object's path where the store is a folder, else None."""
        return self._folder / key if self._folder is not None else None


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn what the storage library and the operating system raise into our errors, with the place named."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise _refused(where, error) from error
    except (BaseError, OSError) as error:
        text = str(error)
        number = error.errno if isinstance(error, OSError) else None
        if number in {errno.ENOSPC, errno.EDQUOT} or _FULL.search(text):
            message = f"{where}: no space is left in the store; free some, then run the same payload again: it goes on"
            raise StoreFullError(message) from error
        if number in {errno.EROFS, errno.EPERM} or _REFUSED.search(text):
            raise _refused(where, error) from error
        _raise_if_bucket_absent(error, where)
        raise StoreError(
            f"{where}: the store failed: {_first_line(error)}; see that it can be reached (--store, the AWS_* "
            "variables), then run the same again"
        ) from error


def _refused(where: str, error: Exception) -> StoreRefusedError:
    return StoreRefusedError(
        f"{where}: the store refused: {_first_line(error)}; expected permission to read and write there; "
        "check the folder's permissions, or the AWS_* variables"
    )


def _raise_if_bucket_absent(error: Exception, where: str) -> None:
    if _ABSENT.search(str(error)):
        message = f"{where}: there is no such bucket; create it, or correct the payload's bucket or data_bucket"
        raise StoreAbsentError(message) from error


def _first_line(error: Exception) -> str:
    """Return what matters of an error's text; a server's own words stand in its XML, lines below the first."""
    first = str(error).split("\n", 1)[0].strip() or type(error).__name__
    said = _MESSAGE.search(str(error))
    return f"{first.partition(': <?xml')[0]}: {said[1]}" if said else first
