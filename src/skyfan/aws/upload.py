"""Copying partitions and models to S3: in parallel, resumable, each object with a SHA-256 that S3 checks.

Until all partitions are there, an index beside them says that they are not complete: a run refuses them. What is sent
is read from the disk piece by piece, and never held as a whole.
"""

import hashlib
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any, BinaryIO, TypeVar

from skyfan.aws.sending import (
    CHUNK_BYTES,
    PART_BYTES,
    File,
    Part,
    Piece,
    StoppedError,
    collect,
    count,
    guards,
    indexed,
    part_bytes,
    reading,
    strangers,
)
from skyfan.aws.session import Cloud, explained
from skyfan.errors import AwsError, InputError, RunStoppedError, SkyfanError, SurveyError
from skyfan.keys import INDEX_NAME, check_bucket, check_prefix
from skyfan.partitions import SUFFIXES, Index, decode_index
from skyfan.wording import counted, size

MOST_WORKERS = 64

_BY_PARTS = {"ChecksumAlgorithm": "SHA256", "ChecksumType": "COMPOSITE"}

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Uploaded:
    """What an upload did."""

    files: int
    skipped: int
    """Of them, those that were there already."""
    bytes: int
    """Of all files."""
    bytes_sent: int
    seconds: float
    bucket: str
    prefix: str


def upload(
    cloud: Cloud,
    source: Path,
    bucket: str,
    prefix: str,
    *,
    workers: int = 8,
    overwrite: bool = False,
    progress: Progress,
) -> Uploaded:
    """Copy a file, or all files of a folder, to `bucket/prefix/`; what is there already is not sent again.

    Parameters
    ----------
    cloud : Cloud
    source : Path
        A file keeps its name; what is in a folder keeps its path below it.
    bucket : str
        In the region of `cloud`.
    prefix : str
    workers : int
        Requests at once, 1 to 64. Each holds about a MiB.
    overwrite : bool
        Replace objects of another content.
    progress : callable
        Told of the bytes that are there and their total, by one thread at a time.

    Raises
    ------
    InputError
        If the files or names cannot be used, the bucket is not there or elsewhere, or something else is there: an
        object of another content, or, whatever `overwrite` says, a partition that would pass as one of these.
    SurveyError
        If partitions are not what the index beside them says.
    AwsError
        If AWS does not do it. Doing it again goes on, as after any of these.
    RunStoppedError
        If it is interrupted.
    """
    started = time.monotonic()
    if not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"upload: got {workers} workers; expected 1 to {MOST_WORKERS}")
    check_bucket(bucket, "bucket")
    prefix = check_prefix(prefix, "prefix")
    source = source.expanduser()
    files = collect(source, prefix)
    hashes = indexed(files)
    guarded = guards(files, prefix) if source.is_dir() else {}
    job = _Upload(cloud, bucket, files, hashes, progress)
    try:
        with ThreadPoolExecutor(workers) as job.pool:
            skipped = job.run(f"{prefix}/", guarded, overwrite)
    except KeyboardInterrupt as error:
        raise RunStoppedError(f"upload: interrupted; {job.left()}") from error
    seconds = time.monotonic() - started
    return Uploaded(len(files), skipped, job.total, job.bytes_sent, seconds, bucket, prefix)


class _Upload:
    """One upload under way."""

    pool: ThreadPoolExecutor

    def __init__(
        self, cloud: Cloud, bucket: str, files: Sequence[File], hashes: dict[str, str], progress: Progress
    ) -> None:
        self._client, self._region, self._bucket = cloud.client("s3"), cloud.region, bucket
        self._files, self._hashes, self._progress = files, hashes, progress
        self._left = {file.key: file.size for file in files}
        self._stop, self._lock = Event(), Lock()
        self.total = sum(self._left.values())
        self.bytes_sent = self._seen = 0

    def run(self, folder: str, guarded: dict[str, set[str]], overwrite: bool) -> int:
        """Send what is not there; return how many files were."""
        listed = self._listed(folder, guarded.keys() | self._left.keys())
        if guarded:
            self._check_alone(folder, listed)
        marks = {key for key in guarded.keys() & listed.keys() if self._is_mark(key)}
        candidates = [file for file in self._files if listed.get(file.key) == file.size]
        same = {file.key for file, is_same in self._each(self._is_same, candidates) if is_same}
        other = [file.key for file in self._files if file.key in listed.keys() - same - marks]
        if other and not overwrite:
            raise InputError(
                f"{self._at(other[0])}: is there, of another content, as are {len(other) - 1} more of these files; "
                "nothing was sent; expected nothing there, or the same: choose another prefix, or --overwrite"
            )
        try:
            marks |= self._marked(guarded, same, listed.keys() - marks)
            skipped = same - marks
            for file in (file for file in self._files if file.key in skipped):
                self._see(file.size)
                self._sent(file.key, 0)
            self._send([file for file in self._files if file.key not in skipped])
            self._check_stored(folder)
            self._finish([file for file in self._files if file.is_index and file.key not in skipped], marks)
        except SkyfanError as error:
            raise type(error)(f"{error}; {self.left()}") from error
        return len(skipped)

    def left(self) -> str:
        """Return what is left, and how to go on."""
        with self._lock:
            files, rest = counted(len(self._left), "file"), size(sum(self._left.values()))
        return f"{files} of {len(self._files):,} are left, {rest}; do the same again: it goes on"

    def _at(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _listed(self, folder: str, keys: AbstractSet[str]) -> dict[str, int]:
        """Return the bytes of those objects, and of any partition, that are there, of a bucket of this region."""
        where = f"bucket {self._bucket}"
        with explained(where):
            try:  # S3 says why it refuses a listing, but not of a HEAD
                pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder)
                found = {
                    item["Key"]: item["Size"]
                    for page in pages
                    for item in page.get("Contents", [])
                    if item["Key"] in keys or item["Key"].endswith(SUFFIXES)
                }
                region = self._client.head_bucket(Bucket=self._bucket).get("BucketRegion", self._region)
            except self._client.exceptions.NoSuchBucket as error:
                raise InputError(
                    f"{where}: there is none; expected one that is: 'skyfan aws status' names the stack's"
                ) from error
        if region != self._region:
            raise InputError(
                f"{where}: lies in {region}; expected the stack's region, {self._region}, since data that leave a "
                "region cost: choose another bucket or --region"
            )
        return found

    def _check_alone(self, folder: str, there: Iterable[str]) -> None:
        """Refuse to mix with partitions of another set, as those that a smaller one leaves of a larger one."""
        if found := strangers(self._files, there):
            more = f" and {counted(len(found) - 3, 'other')}" if len(found) > 3 else ""
            raise InputError(
                f"{', '.join(map(self._at, found[:3]))}{more}: partitions that are not part of this upload, and would "
                f"be read with it from {self._at(folder)}; nothing was sent; expected no others where no index says "
                "which belong together: choose another prefix, or delete them; --overwrite does not"
            )

    def _is_mark(self, key: str) -> bool:
        with explained(self._at(key)):
            data = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        try:
            return not decode_index(data, key).complete
        except SurveyError:
            return False

    def _marked(self, guarded: dict[str, set[str]], same: AbstractSet[str], others: AbstractSet[str]) -> set[str]:
        """Say beside partitions that are about to be sent that they are not complete; return where."""
        ours = {file.key for file in self._files if file.is_index}
        marks = set()
        for key, partitions in guarded.items():
            # an index of another's, where these files have none, is Initialize's to judge
            if not partitions <= same and (key in ours or key not in others):
                with explained(self._at(key)):
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=Index(1, 0, False, ()).encode())
                marks.add(key)
        return marks

    def _send(self, files: Sequence[File]) -> None:
        for file in (file for file in files if file.size > PART_BYTES and not file.is_index):
            self._send_parts(file)
        self._each(self._send_whole, [file for file in files if file.size <= PART_BYTES and not file.is_index])

    def _finish(self, indexes: Sequence[File], marks: AbstractSet[str]) -> None:
        """Send the indexes last, and take away those that only marked what was unfinished."""
        self._each(self._send_whole, indexes)
        for key in marks - {file.key for file in indexes}:
            with explained(self._at(key)):
                self._client.delete_object(Bucket=self._bucket, Key=key)

    def _check_stored(self, folder: str) -> None:
        expected = {file.key: file.size for file in self._files if not file.is_index}
        stored = self._listed(folder, expected.keys())
        for key, length in expected.items():
            if stored.get(key) != length:
                raise AwsError(f"{self._at(key)}: is not there as it was sent; expected nothing else to write there")

    def _each(self, do: Callable[[Item], Result], items: Sequence[Item]) -> list[tuple[Item, Result]]:
        """Do something to all items at once; the first error ends it."""
        futures = {self.pool.submit(do, item): item for item in items}
        try:
            return [(futures[future], future.result()) for future in as_completed(futures)]
        except BaseException:
            self._stop.set()
            for future in futures:
                future.cancel()
            raise

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise StoppedError

    def _see(self, number: int) -> None:
        self._go_on()
        with self._lock:
            self._seen += number
            self._progress(self._seen, self.total)

    def _sent(self, key: str, number: int) -> None:
        with self._lock:
            self._left.pop(key, None)
            self.bytes_sent += number

    @contextmanager
    def _opened(self, file: File) -> Iterator[BinaryIO]:
        """Open a file, and see to it that it stays as it was."""
        with reading(file.path), file.path.open("rb", buffering=0) as body:
            try:
                yield body
            finally:
                state = file.path.stat()
                if (state.st_size, state.st_mtime_ns) != (file.size, file.changed_ns):
                    raise InputError(f"{file.path}: was changed meanwhile; expected a file that stays as it is")

    def _checksum(self, read: Callable[[int], bytes], length: int, step: int | None = None) -> str:
        """Return a SHA-256 as S3 has it: of the whole, or, with the bytes of a part, that of all parts'."""
        digests = []
        step_bytes = step or max(length, 1)
        for start in range(0, max(length, 1), step_bytes):
            digest, rest = hashlib.sha256(), min(step_bytes, length - start)
            while rest and (data := read(min(rest, CHUNK_BYTES))):
                self._go_on()
                digest.update(data)
                rest -= len(data)
            digests.append(digest.digest())
        if step is None:
            return b64encode(digests[0]).decode()
        return f"{b64encode(hashlib.sha256(b''.join(digests)).digest()).decode()}-{len(digests)}"

    def _is_same(self, file: File) -> bool:
        """Whether the object has a file's content; one that was stored without a SHA-256 is read for it."""
        with self._opened(file) as body, explained(self._at(file.key)):
            there, step = self._stored_checksum(file)
            return there == self._checksum(body.read, file.size, step)

    def _stored_checksum(self, file: File) -> tuple[str, int | None]:
        """Return what S3 says of an object's content, and the bytes of a part if it says it of parts."""
        where = {"Bucket": self._bucket, "Key": file.key}
        said = self._client.head_object(**where, ChecksumMode="ENABLED").get("ChecksumSHA256")
        if said is None:
            return self._checksum(self._client.get_object(**where)["Body"].read, file.size), None
        if "-" not in said:
            return said, None
        step = self._client.head_object(**where, PartNumber=1)["ContentLength"]
        return said, step if count(file.size, step) == int(said.rsplit("-", 1)[1]) else part_bytes(file.size)

    def _verify(self, file: File, said: str | None, expected: str) -> None:
        if said != expected and (said or not self._is_same(file)):
            raise AwsError(f"{self._at(file.key)}: AWS stored something else (SHA-256 {said}); expected {expected}")

    def _check_hash(self, file: File, checksum: str) -> None:
        known = self._hashes.get(file.key)
        if known and known != b64decode(checksum).hex():
            raise SurveyError(
                f"{file.path}: is not what its {INDEX_NAME} says: its SHA-256 is {b64decode(checksum).hex()}; expected "
                f"{known}: make the partitions again with 'skyfan partition'"
            )

    def _send_whole(self, file: File) -> None:
        with self._opened(file) as body:
            checksum = self._checksum(body.read, file.size)
            self._check_hash(file, checksum)
            with explained(self._at(file.key)):
                said = self._client.put_object(
                    Bucket=self._bucket,
                    Key=file.key,
                    Body=Piece(body, 0, file.size, self._see),
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                ).get("ChecksumSHA256")
                self._verify(file, said, checksum)
        self._sent(file.key, file.size)

    def _send_parts(self, file: File) -> None:
        """Send a large file, but for those parts that an earlier attempt left."""
        step = part_bytes(file.size)
        parts = [Part(number, at, min(step, file.size - at)) for number, at in enumerate(range(0, file.size, step), 1)]
        if file.key in self._hashes:
            with self._opened(file) as body:
                self._check_hash(file, self._checksum(body.read, file.size))
        with explained(self._at(file.key)):
            begun, kept = self._begun(file)
        sent = self._each(lambda part: self._send_part(file, begun, part, kept.get(part.number, {})), parts)
        done = sorted((part for _, part in sent), key=lambda part: int(part["PartNumber"]))
        with explained(self._at(file.key)):
            said = self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=file.key, UploadId=begun, MultipartUpload={"Parts": done}
            ).get("ChecksumSHA256")
            digests = b"".join(b64decode(part["ChecksumSHA256"]) for part in done)
            expected = f"{b64encode(hashlib.sha256(digests).digest()).decode()}-{len(done)}"
            self._verify(file, said, expected)
        self._sent(file.key, 0)

    def _begun(self, file: File) -> tuple[str, dict[int, dict[str, Any]]]:
        """Return the newest unfinished upload of an object and its parts by number, or begin one."""
        where = {"Bucket": self._bucket, "Key": file.key}
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=file.key)
        found = [
            (item["Initiated"], item["UploadId"])
            for page in pages
            for item in page.get("Uploads", [])
            if item["Key"] == file.key and item.get("ChecksumAlgorithm", "SHA256") == "SHA256"
        ]
        if not found:
            return self._client.create_multipart_upload(**where, **_BY_PARTS)["UploadId"], {}
        begun = max(found)[1]
        pages = self._client.get_paginator("list_parts").paginate(**where, UploadId=begun)
        return begun, {part["PartNumber"]: part for page in pages for part in page.get("Parts", [])}

    def _send_part(self, file: File, begun: str, part: Part, kept: dict[str, Any]) -> dict[str, Any]:
        with self._opened(file) as body:
            body.seek(part.start)
            named = {"PartNumber": part.number, "ChecksumSHA256": self._checksum(body.read, part.length)}
            if kept.get("ChecksumSHA256") == named["ChecksumSHA256"] and kept["Size"] == part.length:
                self._see(part.length)
                return named | {"ETag": kept["ETag"]}
            with explained(f"{self._at(file.key)}, part {part.number}"):
                answer = self._client.upload_part(
                    Bucket=self._bucket,
                    Key=file.key,
                    UploadId=begun,
                    Body=Piece(body, part.start, part.length, self._see),
                    ChecksumAlgorithm="SHA256",
                    **named,
                )
        with self._lock:
            self.bytes_sent += part.length
        return named | {"ETag": answer["ETag"]}
