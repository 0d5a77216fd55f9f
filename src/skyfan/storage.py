"""Opening a store: the root under which buckets live, in a folder, on S3 or in memory."""

import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError, PreconditionError
from obstore.store import LocalStore, MemoryStore, S3Store

from skyfan.blob import Blob, BufferBlob, MappedBlob, RangedBlob
from skyfan.errors import InputError, StoreAbsentError, StoreError
from skyfan.keys import check_bucket, check_key
from skyfan.store_errors import first_line, raise_if_bucket_absent, translated

DEFAULT_STORE = "./skyfan-data"
STORE_VARIABLE = "SKYFAN_STORE"
REQUEST_TIMEOUT = timedelta(minutes=15)  # for the whole body: a large partition over a slow line takes its time
READERS = 16  # requests in flight when many small objects are read
READ_AHEAD = 256  # of them, that wait to be looked at

Credentials = Callable[[], Any]
"""Gives what obstore calls an `S3Credential`."""
Create = Literal["nothing", "on paper", "bucket", "store"]

_MEMORY: dict[tuple[str, str], MemoryStore] = {}
_S3_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_ENDPOINT = re.compile(r"https?://[!-~]+")


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
    credentials : callable, optional
        Gives those of a server, as obstore wants them; by default those of the AWS_* variables, else what boto3 finds
        if it is installed.
    """

    def __init__(self, url: str, *, credentials: Credentials | None = None) -> None:
        scheme = url.partition("://")[0].lower() if "://" in url else ""
        if scheme not in {"", "file", "s3", "http", "https", "memory"}:
            raise InputError(
                f"store: {url!r} has the scheme {scheme!r}; expected a folder, s3://, http(s):// or memory://"
            )
        if scheme == "s3" and url.rstrip("/") != "s3:":
            raise InputError(
                f"store: {url!r} names a bucket; expected s3:// alone, since the payload names the buckets"
            )
        self.url = url if scheme else str(Path(url).expanduser().absolute())
        self._scheme = scheme or "file"
        self._credentials = credentials
        self._opened: dict[str, Bucket] = {}

    @property
    def is_server(self) -> bool:
        """Whether the buckets lie on an S3 server."""
        return self._scheme in {"s3", "http", "https"}

    @property
    def folder(self) -> Path | None:
        """The folder whose subfolders the buckets are; None if they lie elsewhere."""
        if self._scheme != "file":
            return None
        return Path(unquote(self.url.removeprefix("file://"))) if self.url.startswith("file://") else Path(self.url)

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
        if self.folder is not None:
            return self._in_folder(self.folder, name, create)
        if self._scheme == "memory":
            return Bucket(name, f"{self.url}/{name}", _MEMORY.setdefault((self.url, name), MemoryStore()), None)
        if name not in self._opened:  # a client keeps its connections: a new one for every task would not
            endpoint = None if self._scheme == "s3" else self.url
            self._opened[name] = Bucket(name, f"s3://{name}", _s3(name, endpoint, self._credentials), None)
        return self._opened[name]

    def _in_folder(self, root: Path, name: str, create: Create) -> "Bucket":
        folder = root / name
        with translated(str(folder)):
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


def _s3(bucket: str, endpoint: str | None, credentials: Credentials | None) -> S3Store:
    if not _S3_BUCKET.fullmatch(bucket):
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
            f"store: {endpoint!r} is no server's address; expected http(s)://HOST:PORT, as in http://127.0.0.1:9000 "
            "(from --store, AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL)"
        )


class Bucket:
    """The objects of one bucket. Every method raises `StoreError` or one of its kinds if the store does not comply."""

    def __init__(self, name: str, where: str, backend: LocalStore | MemoryStore | S3Store, folder: Path | None) -> None:
        self.name = name
        self.where = where
        self.folder = folder
        """Where its objects lie as files; None unless the store is a folder."""
        self._backend = backend

    def get(self, key: str) -> bytes | None:
        """Return an object's bytes, None if there is no such object."""
        with translated(f"{self.where}/{key}"):
            try:
                return bytes(obstore.get(self._backend, key).bytes())
            except FileNotFoundError as error:
                raise_if_bucket_absent(error, self.where)
                return None

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the bucket; on a server, without its bytes coming here."""
        with translated(f"{self.where}/{source}"):
            obstore.copy(self._backend, source, target)

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the bytes of many small objects, in order; only few are read ahead."""
        with ThreadPoolExecutor(READERS) as pool:
            rest = iter(keys)
            while several := list(itertools.islice(rest, READ_AHEAD)):
                yield from pool.map(self.get, several)

    def blob(self, key: str) -> Blob | None:
        """Open one object to be read whole: a local file is mapped, a remote one fetched by one request."""
        if self.folder is not None:
            return self._mapped(self._path(key))
        with translated(f"{self.where}/{key}"):
            try:
                return BufferBlob(f"{self.where}/{key}", memoryview(obstore.get(self._backend, key).bytes()))
            except FileNotFoundError as error:
                raise_if_bucket_absent(error, self.where)
                return None

    def ranged_blob(self, key: str) -> Blob | None:
        """Open one object of any size to be read in pieces: a local file is mapped, a remote one read by ranges."""
        if self.folder is not None:
            return self._mapped(self._path(key))
        entry = self.head(key)
        if entry is None:
            return None
        return RangedBlob(f"{self.where}/{key}", entry.bytes, lambda start, stop: self._range(key, start, stop))

    def _range(self, key: str, start: int, stop: int) -> memoryview:
        with translated(f"{self.where}/{key}"):
            return memoryview(obstore.get_range(self._backend, key, start=start, end=stop))

    def _mapped(self, path: Path) -> Blob | None:
        with translated(str(path)):
            return MappedBlob(path) if path.is_file() else None

    def put(self, key: str, data: bytes | Sequence[bytes | memoryview]) -> None:
        """Write an object whole or not at all, over what was there."""
        with translated(f"{self.where}/{key}"):
            obstore.put(self._backend, key, data if isinstance(data, bytes) else list(data))

    def create(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none of that name; return whether this call made it."""
        with translated(f"{self.where}/{key}"):
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
        with translated(f"{self.where}/{key}"):
            try:
                return Entry(key, int(obstore.head(self._backend, key)["size"]))
            except FileNotFoundError as error:
                raise_if_bucket_absent(error, self.where)
                return None

    def list(self, prefix: str) -> list[Entry]:
        """Return every object below the folder `prefix`, all pages of the listing, in no set order."""
        entries: list[Entry] = []
        with translated(f"{self.where}/{prefix}/"):
            # Arrow keeps a listing of 100,000 objects small; dicts with dates would take ten times as much
            for batch in obstore.list(self._backend, f"{prefix}/", chunk_size=10_000, return_arrow=True):
                entries.extend(map(Entry, batch["path"].to_pylist(), batch["size"].to_pylist()))
        return entries

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, on a server in no set order; one that is not there is no error."""
        with translated(self.where):
            if self.folder is None:
                obstore.delete(self._backend, list(keys))
                return
            for key in keys:
                try:
                    obstore.delete(self._backend, key)
                except FileNotFoundError:
                    continue

    def sweep(self, folder: str, ours: Callable[[str], bool]) -> None:
        """Remove what killed writers of our own left in a folder; only a folder store has any.

        Parameters
        ----------
        folder : str
            Its subfolders are left alone.
        ours : callable
            Tells of a key whether it is one that the caller writes.
        """
        if self.folder is None:
            return
        with translated(f"{self.where}/{folder}"):
            for path in self._path(folder).glob("*#*"):
                name, _, number = path.name.rpartition("#")
                if number.isdecimal() and ours(f"{folder}/{name}") and path.is_file():
                    path.unlink(missing_ok=True)

    def local_path(self, key: str) -> Path | None:
        """Return the object's path where the store is a folder, else None."""
        return self._path(key) if self.folder is not None else None

    def _path(self, key: str) -> Path:
        """Return where a key's object lies: the one place that joins a folder and a key."""
        if self.folder is None:
            raise StoreError(f"{self.where}: is no folder; expected a folder store")
        return self.folder / check_key(key, "key")


def open_store(url: str | Path | None) -> Store:
    """Open the store of an address, or the default one; see `resolve_store`."""
    return Store(resolve_store(str(url) if url is not None else None))
