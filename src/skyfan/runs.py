"""A run as a user holds it: what was asked, where it stands, its catalogue."""

import hashlib
from collections.abc import Iterator

from arro3.core import RecordBatchReader

from skyfan.claim import read_claim
from skyfan.errors import PartitionError, UnknownRunError
from skyfan.keys import RunKeys
from skyfan.manifest import decode_manifest
from skyfan.payload import Payload
from skyfan.predictions import chain_parts
from skyfan.reports import collect
from skyfan.standing import Standing, stand
from skyfan.storage import Store
from skyfan.summary import Summary, decode_summary
from skyfan.task import PartRef, Task
from skyfan.verification import AGAIN, Verification, verify_run


class Run:
    """A run, as its store shows it. Open one with `skyfan.open_run`, or get it from `skyfan.run`.

    Parameters
    ----------
    store : Store
    bucket, result_path : str
        Together they name the run.
    """

    def __init__(self, store: Store, bucket: str, result_path: str) -> None:
        self.id = f"{bucket}/{result_path}"
        self._keys = RunKeys(result_path)
        self._bucket = store.bucket(bucket)

    def __repr__(self) -> str:
        return f"<skyfan run {self.id} in {self._bucket.where}>"

    @property
    def payload(self) -> Payload:
        """What was asked for.

        Raises
        ------
        UnknownRunError
            If there is no such run.
        """
        payload = read_claim(self._bucket, self._keys)
        if payload is None:
            raise UnknownRunError(
                f"{self.id}: there is no run in {self._bucket.where}; expected <bucket>/<result_path>, "
                "or its payload file"
            )
        return payload

    @property
    def tasks(self) -> list[Task]:
        """The plan; empty if the run was interrupted before it had one."""
        data = self._bucket.get(self._keys.manifest)
        return decode_manifest(data, f"{self._bucket.name}/{self._keys.manifest}") if data else []

    @property
    def summary(self) -> Summary | None:
        """The verdict of the last drive that came to its end; None if none did."""
        return decode_summary(self._bucket.get(self._keys.summary))

    def status(self) -> Standing:
        """Say where the run stands, from the store alone."""
        return stand(self.payload, self.tasks, self._bucket, self._keys)

    def verify(self) -> Verification:
        """Prove that the catalogue is complete: every part is read, hashed and counted again."""
        return verify_run(self.payload, self.tasks, self._bucket, self._keys)

    def predictions(self) -> RecordBatchReader:
        """Stream the catalogue, in the order of the ranks.

        Returns
        -------
        RecordBatchReader
            An Arrow stream: `pyarrow.table(...)`, `polars.DataFrame(...)` and others take it without a copy. Parts of
            tasks that are not done are not in it; `summary.complete` tells.
        """
        return chain_parts(self._parts())

    def part_keys(self) -> list[str]:
        """Return the keys of the parts of the tasks that are done, by rank."""
        return [part.key for part in self._done_parts()]

    @property
    def where(self) -> str:
        """Where the catalogue's parts lie."""
        return f"{self._bucket.where}/{self._keys.predictions}"

    def _parts(self) -> Iterator[tuple[str, bytes]]:
        for part in self._done_parts():
            data = self._bucket.get(part.key) or b""
            if hashlib.sha256(data).hexdigest() != part.sha256:
                raise PartitionError(f"{part.key}: is not what its task wrote; {AGAIN} (see 'skyfan verify')")
            yield part.key, data

    def _done_parts(self) -> list[PartRef]:
        done = collect(self._bucket, self._keys, self.tasks).ok
        return [report.part for _, report in sorted(done.items()) if report.part]
