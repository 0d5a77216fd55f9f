"""Copying partitions and models to S3: in parallel, resumable, each object with a SHA-256 that S3 checks.

Until all partitions are there, an index beside them says that they are not complete: a run refuses them. What is sent
is read from the disk piece by piece, and never held as a whole.
"""

import time
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from skyfan.aws.course import Course, Progress
from skyfan.aws.objects import Sender
from skyfan.aws.sending import PART_BYTES, File, collect, guards, indexed, strangers
from skyfan.aws.session import Cloud, explained
from skyfan.errors import AwsError, InputError, RunStoppedError, SkyfanError, SurveyError
from skyfan.keys import check_bucket, check_prefix
from skyfan.partitions import SUFFIXES, Index, decode_index
from skyfan.wording import counted

MOST_WORKERS = 64


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
    with ThreadPoolExecutor(workers) as pool:
        course = Course(files, pool, progress)
        try:
            skipped = _Upload(cloud, bucket, files, hashes, course).run(f"{prefix}/", guarded, overwrite)
        except KeyboardInterrupt as error:
            raise RunStoppedError(f"upload: interrupted; {course.left()}") from error
    seconds = time.monotonic() - started
    return Uploaded(len(files), skipped, course.total, course.bytes_sent, seconds, bucket, prefix)


class _Upload:
    """One upload under way."""

    def __init__(
        self, cloud: Cloud, bucket: str, files: Sequence[File], hashes: dict[str, str], course: Course
    ) -> None:
        self._client, self._region, self._bucket = cloud.client("s3"), cloud.region, bucket
        self._files, self._course = files, course
        self._sender = Sender(self._client, bucket, hashes, course)

    def run(self, folder: str, guarded: dict[str, set[str]], overwrite: bool) -> int:
        """Send what is not there; return how many files were."""
        listed = self._listed(folder, guarded.keys() | {file.key for file in self._files})
        if guarded:
            self._check_alone(folder, listed)
        marks = {key for key in guarded.keys() & listed.keys() if self._is_mark(key)}
        candidates = [file for file in self._files if listed.get(file.key) == file.size]
        same = {file.key for file, is_same in self._course.each(self._sender.is_same, candidates) if is_same}
        other = [file.key for file in self._files if file.key in listed.keys() - same - marks]
        if other and not overwrite:
            raise InputError(
                f"{self._sender.at(other[0])}: is there, of another content, as are {len(other) - 1} more of these "
                "files; nothing was sent; expected nothing there, or the same: choose another prefix, or --overwrite"
            )
        try:
            marks |= self._marked(guarded, same, listed.keys() - marks)
            skipped = same - marks
            for file in (file for file in self._files if file.key in skipped):
                self._course.see(file.size)
                self._course.done(file.key)
            self._send([file for file in self._files if file.key not in skipped])
            self._check_stored(folder)
            self._finish([file for file in self._files if file.is_index and file.key not in skipped], marks)
        except SkyfanError as error:
            raise type(error)(f"{error}; {self._course.left()}") from error
        return len(skipped)

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
                f"{', '.join(map(self._sender.at, found[:3]))}{more}: partitions that are not part of this upload, and "
                f"would be read with it from {self._sender.at(folder)}; nothing was sent; expected no others where no "
                "index says which belong together: choose another prefix, or delete them; --overwrite does not"
            )

    def _is_mark(self, key: str) -> bool:
        with explained(self._sender.at(key)):
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
                with explained(self._sender.at(key)):
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=Index(1, 0, False, ()).encode())
                marks.add(key)
        return marks

    def _send(self, files: Sequence[File]) -> None:
        for file in (file for file in files if file.size > PART_BYTES and not file.is_index):
            self._sender.send_in_parts(file)
        self._course.each(
            self._sender.send_whole, [file for file in files if file.size <= PART_BYTES and not file.is_index]
        )

    def _finish(self, indexes: Sequence[File], marks: AbstractSet[str]) -> None:
        """Send the indexes last, and take away those that only marked what was unfinished."""
        self._course.each(self._sender.send_whole, indexes)
        for key in marks - {file.key for file in indexes}:
            with explained(self._sender.at(key)):
                self._client.delete_object(Bucket=self._bucket, Key=key)

    def _check_stored(self, folder: str) -> None:
        expected = {file.key: file.size for file in self._files if not file.is_index}
        stored = self._listed(folder, expected.keys())
        for key, length in expected.items():
            if stored.get(key) != length:
                raise AwsError(
                    f"{self._sender.at(key)}: is not there as it was sent; expected nothing else to write there"
                )
