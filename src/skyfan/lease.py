"""Who drives a run: a record in the store that is renewed while the driver lives and lapses when it dies."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from skyfan.errors import ClaimedError, LeaseLostError, StoreError
from skyfan.keys import RunKeys
from skyfan.measure import process_start_ticks
from skyfan.storage import Bucket

LIFETIME_S = 60.0
SETTLE_S = 0.2


class Record(Struct, frozen=True):
    """What lease.json holds."""

    owner: str
    """A new one for every driver."""
    until: float
    """Seconds since 1970, UTC."""
    host: str
    pid: int
    process_start: int | None
    """Tells the process from a later one of the same number."""
    machine: str
    """Host, boot and process namespace: only there does `pid` mean anything."""

    @property
    def driver(self) -> str:
        return f"process {self.pid} on {self.host}"

    def lapsed(self) -> bool:
        """Whether its driver is gone: past its time, or a process of this machine that no longer runs."""
        if time.time() > self.until:
            return True
        return self.machine == _machine() and self.process_start is not None and self._ended()

    def _ended(self) -> bool:
        return process_start_ticks(self.pid) != self.process_start


class Lease:
    """The right to drive one run, held by this process until released."""

    def __init__(self, bucket: Bucket, keys: RunKeys, lifetime_s: float = LIFETIME_S) -> None:
        self._bucket = bucket
        self._key = keys.lease
        self._lifetime_s = lifetime_s
        self._owner = uuid.uuid4().hex
        self._end = threading.Event()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._renew, name="skyfan-lease", daemon=True)

    def take(self) -> None:
        """Become the run's driver.

        Raises
        ------
        ClaimedError
            If another driver is at work.
        """
        if not self._bucket.create(self._key, self._record()):
            self._take_over()
        self._thread.start()

    def _take_over(self) -> None:
        holder = self._holder()
        if holder is not None and not holder.lapsed():
            raise ClaimedError(
                f"{self._bucket.name}/{self._key}: {holder.driver} drives this run; expected no other driver: wait for "
                "it (see 'skyfan status'), or stop it; if it died elsewhere, its lease lapses within "
                f"{self._lifetime_s:.0f} s"
            )
        self._bucket.delete([self._key])
        self._bucket.create(self._key, self._record())
        # two that found the same lapsed lease may both have deleted and created: the last one to create has it
        time.sleep(SETTLE_S)
        holder = self._holder()
        if holder is None or holder.owner != self._owner:
            raise ClaimedError(
                f"{self._bucket.name}/{self._key}: another driver took this run over just now; wait for it"
            )

    def check(self) -> None:
        """Raise if the lease is no longer ours.

        Raises
        ------
        LeaseLostError
            If another driver has it, or it could not be renewed in time.
        """
        if self._lost:
            raise LeaseLostError(f"{self._bucket.name}/{self._key}: {self._lost}; run the same payload again to go on")

    def release(self) -> None:
        """Stop driving. What the store says to that is of no consequence: the lease lapses by itself."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lost:
            return
        try:
            holder = self._holder()
            if holder is not None and holder.owner == self._owner:
                self._bucket.delete([self._key])
        except StoreError:
            return

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._end.wait(self._lifetime_s / 4):
            try:
                holder = self._holder()
                if holder is None or holder.owner != self._owner:
                    self._lost = f"the lease went to {holder.driver if holder else 'nobody: it was deleted'}"
                    return
                self._bucket.put(self._key, self._record())
                renewed = time.monotonic()
            except StoreError as error:
                if time.monotonic() - renewed > self._lifetime_s * 0.75:
                    self._lost = f"the lease could not be renewed ({error})"
                    return

    def _holder(self) -> Record | None:
        return read_lease(self._bucket, self._key)

    def _record(self) -> bytes:
        pid = os.getpid()
        host = socket.gethostname()
        until = time.time() + self._lifetime_s
        return msgspec.json.encode(Record(self._owner, until, host, pid, process_start_ticks(pid), _machine()))


@contextmanager
def hold(bucket: Bucket, keys: RunKeys) -> Iterator[Lease]:
    """Hold the lease of a run within the block.

    Raises
    ------
    ClaimedError
        If another driver is at work.
    """
    lease = Lease(bucket, keys)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()


def read_lease(bucket: Bucket, key: str) -> Record | None:
    """Return the lease of a run; None if there is none, or it cannot be read (it is then as good as lapsed)."""
    data = bucket.get(key)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError:
        return None


def _machine() -> str:
    parts = [socket.gethostname()]
    for path in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            parts.append(str(path.readlink()) if path.is_symlink() else path.read_text().strip())
        except OSError:
            parts.append("")
    return "|".join(parts)
