"""Who drives a run: a record in the store that is renewed while the driver lives and lapses when it dies.

An execution of a state machine drives its run too. It cannot renew anything: its lease lasts as long as it may, and
whoever finds it there asks AWS whether it still goes on.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from skyfan.errors import ClaimedError, LeaseLostError, StoreError
from skyfan.keys import RunKeys, rank_of
from skyfan.measure import process_start_ticks
from skyfan.storage import Bucket

LIFETIME_S = 60.0
EXECUTION_LIFETIME_S = 86_400.0
"""How long an execution may last: the state machine's TimeoutSeconds."""


class Record(Struct, frozen=True):
    """What a lease holds."""

    until: float
    """Seconds since 1970, UTC; 0 once it is given up."""
    host: str
    pid: int
    process_start: int | None
    """Tells the process from a later one of the same number."""
    machine: str
    """Host, boot and process namespace: only there does `pid` mean anything."""
    execution: str | None = None
    """ARN of the execution that drives it on AWS; there is then no process."""

    @property
    def driver(self) -> str:
        return f"the execution {self.execution}" if self.execution else f"process {self.pid} on {self.host}"

    @property
    def is_here(self) -> bool:
        """Whether its process is one of this machine."""
        return self.machine == _machine() and self.process_start is not None

    def lapsed(self) -> bool:
        """Whether its driver is gone: past its time, or a process of this machine that no longer runs."""
        if time.time() > self.until:
            return True
        return self.is_here and self._ended()

    def _ended(self) -> bool:
        return process_start_ticks(self.pid) != self.process_start


class Lease:
    """The right to drive one run, held by this process until released.

    Leases are numbered. Who finds the last one lapsed creates the next, which the store lets only one process do; a
    lease that was given up stays, so that no number is ever used twice.
    """

    def __init__(self, bucket: Bucket, keys: RunKeys, lifetime_s: float = LIFETIME_S) -> None:
        self._bucket = bucket
        self._keys = keys
        self._lifetime_s = lifetime_s
        self._generation = 0
        self._held = False
        self._end = threading.Event()
        self._lost: str | None = None
        self._until = 0.0
        self._thread = threading.Thread(target=self._renew, name="skyfan-lease", daemon=True)

    def take(self) -> None:
        """Become the run's driver.

        Raises
        ------
        ClaimedError
            If another driver is at work.
        """
        self._generation = _acquire(self._bucket, self._keys, self._record())
        self._held = True
        self._thread.start()

    def check(self) -> None:
        """Raise if the lease is no longer ours.

        Raises
        ------
        LeaseLostError
            If another driver has it, or it could not be renewed in time.
        """
        if not self._lost and time.time() > self._until:  # by the clock that others judge it by: sleep counts
            self._lost = "the lease ran out before it could be renewed"
        if self._lost:
            raise LeaseLostError(f"{self._name}: {self._lost}; run the same payload again to go on")

    def release(self) -> None:
        """Stop driving. What the store says to that is of no consequence: the lease lapses by itself."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lost or not self._held:
            return
        with suppress(StoreError):
            self._bucket.put(self._key, self._record(until=0.0))

    def _renew(self) -> None:
        while not self._end.wait(self._lifetime_s / 4):
            try:
                last = max(_generations(self._bucket, self._keys), default=0)
                if last != self._generation:
                    holder = read_lease(self._bucket, self._keys)
                    self._lost = f"the lease went to {holder.driver if holder else 'nobody: it was deleted'}"
                    return
                self._bucket.put(self._key, self._record())
            except StoreError:
                continue  # it may pass; if it does not, `check` sees the lease run out
            except Exception as error:  # noqa: BLE001  whatever it is, it must end the drive, not only this thread
                self._lost = f"the lease could not be renewed ({error!r})"
                return

    @property
    def _key(self) -> str:
        return self._keys.lease(self._generation)

    @property
    def _name(self) -> str:
        return f"{self._bucket.name}/{self._keys.result_path}"

    def _record(self, until: float | None = None) -> bytes:
        pid = os.getpid()
        self._until = time.time() + self._lifetime_s if until is None else until
        return msgspec.json.encode(Record(self._until, socket.gethostname(), pid, process_start_ticks(pid), _machine()))


def _acquire(bucket: Bucket, keys: RunKeys, mine: bytes) -> int:
    """Create the next lease, with this record; return its number."""
    name = f"{bucket.name}/{keys.result_path}"
    numbers = _generations(bucket, keys)
    holder = read_lease(bucket, keys)
    if holder is not None and not holder.lapsed():
        lapses = "" if holder.execution else f"; if it died elsewhere, its lease lapses within {LIFETIME_S:.0f} s"
        raise ClaimedError(
            f"{name}: {holder.driver} drives this run; expected no other driver: wait for it (see 'skyfan status'), "
            f"or stop it: skyfan stop {name}{lapses}"
        )
    generation = max(numbers, default=0) + 1
    # a create whose answer was lost is made twice, and the second time finds our own
    taken = bucket.create(keys.lease(generation), mine) or bucket.get(keys.lease(generation)) == mine
    if taken and max(_generations(bucket, keys), default=0) != generation:
        # others drove this run between our look and our move: our number is then an old one; we give way
        bucket.delete([keys.lease(generation)])
        taken = False
    if not taken:
        raise ClaimedError(f"{name}: another driver took this run over just now; wait for it")
    bucket.delete([keys.lease(number) for number in numbers])
    return generation


def take_for(bucket: Bucket, keys: RunKeys, execution: str) -> None:
    """Make an execution the run's driver; one that is so already stays it.

    Raises
    ------
    ClaimedError
        If another driver is at work.
    """
    holder = read_lease(bucket, keys)
    if holder is None or holder.execution != execution or holder.lapsed():
        _acquire(bucket, keys, _execution_record(execution, time.time() + EXECUTION_LIFETIME_S))


def release_for(bucket: Bucket, keys: RunKeys, execution: str) -> None:
    """Say that an execution no longer drives the run, if it does."""
    numbers = _generations(bucket, keys)
    holder = read_lease(bucket, keys)
    if holder is not None and holder.execution == execution:
        bucket.put(keys.lease(max(numbers)), _execution_record(execution, 0.0))


def _execution_record(execution: str, until: float) -> bytes:
    return msgspec.json.encode(Record(until, "", 0, None, "", execution))


@contextmanager
def hold(bucket: Bucket, keys: RunKeys) -> Iterator[Lease]:
    """Hold the lease of a run within the block.

    Raises
    ------
    ClaimedError
        If another driver is at work.
    """
    lease = Lease(bucket, keys)
    try:
        lease.take()
        yield lease
    finally:
        lease.release()


def read_lease(bucket: Bucket, keys: RunKeys) -> Record | None:
    """Return the last lease of a run; None if there is none, or it cannot be read (it is then as good as lapsed)."""
    numbers = _generations(bucket, keys)
    data = bucket.get(keys.lease(max(numbers))) if numbers else None
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, RecursionError):
        return None


def _generations(bucket: Bucket, keys: RunKeys) -> list[int]:
    found = (rank_of(entry.key) for entry in bucket.list(keys.leases))
    return [number for number in found if number is not None]


def _machine() -> str:
    parts = [socket.gethostname()]
    for path in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        try:
            parts.append(str(path.readlink()) if path.is_symlink() else path.read_text().strip())
        except OSError:
            parts.append("")
    return "|".join(parts)
