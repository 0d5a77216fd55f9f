"""Opening a store: the root under which buckets live, in a folder, on S3 or in memory."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError
from obstore.store import LocalStore, MemoryStore, S3Store

from skyfan.blob import Blob, BufferBlob, MappedBlob, RangedBlob
from skyfan.errors import InputError, StoreAbsentError, StoreError
from skyfan.folder import check_listable
from skyfan.keys import check_bucket, check_key
from skyfan.s3 import Credentials, open_s3, without_secrets
from skyfan.store_errors import raise_if_bucket_absent, translated

DEFAULT_STORE = "./skyfan-data"
STORE_VARIABLE = "SKYFAN_STORE"
READERS = 16  # requests in flight when many small objects are read
READ_AHEAD = 256  # of them, that wait to be looked at

Create = Literal["nothing", "on paper", "bucket", "store"]

_MEMORY: dict[tuple[str, str], MemoryStore] = {}


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
                f"store: {without_secrets(url)!r} has the scheme {scheme!r}; expected a folder, s3://, http(s):// or "
                "memory://"
            )
        if scheme == "s3" and url.rstrip("/") != "s3:":
            raise InputError(
                f"store: {without_secrets(url)!r} names a bucket; expected s3:// alone, since the payload names the "
                "buckets"
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
            self._opened[name] = Bucket(name, f"s3://{name}", open_s3(name, endpoint, self._credentials), None)
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

    def check_listable(self, prefix: str) -> None:
        """Check that `list` shows all that lies below a prefix; only a folder store may hide something.

        Raises
        ------
        SurveyError
            If it does.
        """
        if self.folder is not None:
            with translated(f"{self.where}/{prefix}"):
                check_listable(self._path(prefix))

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
