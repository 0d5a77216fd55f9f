"""One file to one object of S3: whole or in parts, with a SHA-256 that S3 checks and that its index may know."""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from skyfan.aws.course import Course
from skyfan.aws.sending import CHUNK_BYTES, File, Part, Piece, count, part_bytes, reading
from skyfan.aws.session import explained
from skyfan.errors import AwsError, InputError, SurveyError
from skyfan.keys import INDEX_NAME

_BY_PARTS = {"ChecksumAlgorithm": "SHA256", "ChecksumType": "COMPOSITE"}


class Sender:
    """Sends files to a bucket.

    Parameters
    ----------
    client
        Boto3's, of S3.
    bucket : str
    hashes : mapping
        The SHA-256 that an index gives, by key.
    course : Course
        Told of what is there, and asked whether to go on.
    """

    def __init__(self, client: Any, bucket: str, hashes: Mapping[str, str], course: Course) -> None:
        self._client, self._bucket, self._hashes, self._course = client, bucket, hashes, course

    def at(self, key: str) -> str:
        """Return an object's address."""
        return f"s3://{self._bucket}/{key}"

    def is_same(self, file: File) -> bool:
        """Whether the object has a file's content; one that was stored without a SHA-256 is read for it."""
        with self._opened(file) as body, explained(self.at(file.key)):
            there, step = self._stored_checksum(file)
            return there == self._checksum(body.read, file.size, step)

    def send_whole(self, file: File) -> None:
        """Send a file by one request."""
        with self._opened(file) as body:
            checksum = self._checksum(body.read, file.size)
            self._check_hash(file, checksum)
            with explained(self.at(file.key)):
                said = self._client.put_object(
                    Bucket=self._bucket,
                    Key=file.key,
                    Body=Piece(body, 0, file.size, self._course.see),
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=checksum,
                ).get("ChecksumSHA256")
                self._verify(file, said, checksum)
        self._course.sent(file.size)
        self._course.done(file.key)

    def send_in_parts(self, file: File) -> None:
        """Send a large file, but for those parts that an earlier attempt left."""
        step = part_bytes(file.size)
        parts = [Part(number, at, min(step, file.size - at)) for number, at in enumerate(range(0, file.size, step), 1)]
        if file.key in self._hashes:
            with self._opened(file) as body:
                self._check_hash(file, self._checksum(body.read, file.size))
        with explained(self.at(file.key)):
            begun, kept = self._begun(file)
        sent = self._course.each(lambda part: self._send_part(file, begun, part, kept.get(part.number, {})), parts)
        done = sorted((part for _, part in sent), key=lambda part: int(part["PartNumber"]))
        with explained(self.at(file.key)):
            said = self._client.complete_multipart_upload(
                Bucket=self._bucket, Key=file.key, UploadId=begun, MultipartUpload={"Parts": done}
            ).get("ChecksumSHA256")
            digests = b"".join(b64decode(part["ChecksumSHA256"]) for part in done)
            expected = f"{b64encode(hashlib.sha256(digests).digest()).decode()}-{len(done)}"
            self._verify(file, said, expected)
        self._course.done(file.key)

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
                self._course.see(part.length)
                return named | {"ETag": kept["ETag"]}
            with explained(f"{self.at(file.key)}, part {part.number}"):
                answer = self._client.upload_part(
                    Bucket=self._bucket,
                    Key=file.key,
                    UploadId=begun,
                    Body=Piece(body, part.start, part.length, self._course.see),
                    ChecksumAlgorithm="SHA256",
                    **named,
                )
        self._course.sent(part.length)
        return named | {"ETag": answer["ETag"]}

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
                self._course.go_on()
                digest.update(data)
                rest -= len(data)
            digests.append(digest.digest())
        if step is None:
            return b64encode(digests[0]).decode()
        return f"{b64encode(hashlib.sha256(b''.join(digests)).digest()).decode()}-{len(digests)}"

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
        if said != expected and (said or not self.is_same(file)):
            raise AwsError(f"{self.at(file.key)}: AWS stored something else (SHA-256 {said}); expected {expected}")

    def _check_hash(self, file: File, checksum: str) -> None:
        known = self._hashes.get(file.key)
        if known and known != b64decode(checksum).hex():
            raise SurveyError(
                f"{file.path}: is not what its {INDEX_NAME} says: its SHA-256 is {b64decode(checksum).hex()}; expected "
                f"{known}: make the partitions again with 'skyfan partition'"
            )
