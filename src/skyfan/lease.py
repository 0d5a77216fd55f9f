"""Who drives a run: a record in the store that is renewed while the driver lives and lapses when it dies.

An execution of a state machine drives its run too. It cannot renew anything: its lease lasts as long as it may, and
whoever finds it there asks AWS whether it still goes on.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from skyfan.errors import ClaimedError, LeaseLostError, StoreError
from skyfan.keys import RunKeys, rank_of
from skyfan.measure import process_exists, process_start_ticks
from skyfan.storage import Bucket

LIFETIME_S = 60.0
RELEASE_S = 5.0
"""That a driver waits, at its end, for the store to take its lease back."""
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

    def lapsed(self, seen_at: float | None = None) -> bool:
        """Whether its driver is gone: past its time, or a process of this machine that no longer runs.

        Parameters
        ----------
        seen_at : float, optional
            When the record was read, or before, in seconds since 1970: what its driver did after that is not in it. By
            default now.
        """
        if (time.time() if seen_at is None else seen_at) > self.until:
            return True
        return self.is_here and self._ended()

    def _ended(self) -> bool:
        started = process_start_ticks(self.pid)
        return started != self.process_start if started is not None else not process_exists(self.pid)


class Lease:
    """The right to drive one run, held by this process until released.

    Leases are numbered. Who finds the last one lapsed creates the next, which the store lets only one process do; a
    lease that was given up stays, so that no number is ever used twice.

    A driver believes in its lease no longer than others see it hold: by the clock, so that sleep counts, and until what
    it last stored. A renewal that is stored after that renews nothing, for another may have looked before. So a driver
    that was stopped, wherever it was, finds its lease lost at its next `check` if another could have taken it.

    Two things remain. A stop between a check and the one request that follows it: `skyfan.stages` says what that can
    do. And clocks that differ by more than three quarters of a lifetime: two may then drive for a quarter of it, until
    the first renews and finds the other's number.
    """

    def __init__(self, bucket: Bucket, keys: RunKeys, lifetime_s: float = LIFETIME_S) -> None:
        self._bucket = bucket
        self._keys = keys
        self._lifetime_s = lifetime_s
        self._generation = 0
        self._end = threading.Event()
        self._lost: str | None = None
        self._until = 0.0
        self._thread = threading.Thread(target=self._keep, name="skyfan-lease", daemon=True)

    def take(self) -> None:
        """Become the run's driver.

        Raises
        ------
        ClaimedError
            If another driver is at work.
        """
        until = time.time() + self._lifetime_s
        self._generation = _acquire(self._bucket, self._keys, _own_record(until))
        self._until = until
        self._thread.start()

    def check(self) -> None:
        """Raise if the lease is no longer ours.

        Raises
        ------
        LeaseLostError
            If another driver has it, or it could not be renewed in time.
        """
        if self._is_lost():
            raise _lost_error(self._bucket, self._keys, str(self._lost))

    def release(self) -> None:
        """Stop driving; if the store does not take that, or does not answer in time, the lease lapses by itself."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(RELEASE_S)

    def _keep(self) -> None:
        """Renew the lease until it is given up, or lost."""
        while not self._lost and not self._end.wait(self._lifetime_s / 4):
            try:
                self._renew()
            except StoreError:
                continue  # it may pass; if it does not, the lease runs out
            except Exception as error:  # noqa: BLE001  whatever it is, it must end the drive, not only this thread
                self._lost = f"the lease could not be renewed ({error!r})"
        if not self._lost:
            with suppress(Exception):
                self._store(0.0)

    def _renew(self) -> None:
        until = time.time() + self._lifetime_s
        if max(_numbers(self._bucket, self._keys), default=0) != self._generation:
            self._lost = _taken_by(read_lease(self._bucket, self._keys))
            return
        self._store(until)
        if not self._is_lost():
            self._until = until

    def _is_lost(self) -> bool:
        if not self._lost and time.time() > self._until:
            self._lost = "the lease ran out before it could be renewed"
        return self._lost is not None

    def _store(self, until: float) -> None:
        self._bucket.put(self._keys.lease(self._generation), _own_record(until))


def _acquire(bucket: Bucket, keys: RunKeys, mine: bytes, execution: str | None = None) -> int:
    """Create the next lease, with this record; return its number. An execution may take it from itself."""
    name = f"{bucket.name}/{keys.result_path}"
    seen_at = time.time()
    numbers = _numbers(bucket, keys)
    last = max(numbers, default=0)
    holder = _read(bucket, keys, last)
    ours = holder is not None and holder.execution is not None and holder.execution == execution
    if holder is not None and not ours and not holder.lapsed(seen_at):
        lapses = "" if holder.execution else f"; if it died elsewhere, its lease lapses within {LIFETIME_S:.0f} s"
        raise ClaimedError(
            f"{name}: {holder.driver} drives this run; expected no other driver: wait for it (see 'skyfan status'), "
            f"or stop it: skyfan stop {name}{lapses}"
        )
    generation = last + 1
    # a create whose answer was lost is made twice, and the second time finds our own
    taken = bucket.create(keys.lease(generation), mine) or bucket.get(keys.lease(generation)) == mine
    if taken and max(_numbers(bucket, keys), default=0) != generation:
        # others drove this run between our look and our move: our number is then an old one; we give way
        bucket.delete([keys.lease(generation)])
        taken = False
    if not taken:
        raise ClaimedError(f"{name}: another driver took this run over just now; wait for it")
    bucket.delete([keys.lease(number) for number in numbers])
    return generation


def take_for(bucket: Bucket, keys: RunKeys, execution: str) -> int:
    """Make an execution the run's driver; return the number of its lease, a new one even if it is so already.

    Raises
    ------
    ClaimedError
        If another driver is at work.
    """
    return _acquire(bucket, keys, _execution_record(execution, time.time() + EXECUTION_LIFETIME_S), execution)


def release_for(bucket: Bucket, keys: RunKeys, execution: str, number: int | None = None) -> None:
    """Say that an execution no longer drives the run, if it does, and if by the lease of this number."""
    last, holder = _last(bucket, keys)
    if holder is not None and holder.execution == execution and number in (None, last):
        bucket.put(keys.lease(last), _execution_record(execution, 0.0))


@contextmanager
def hold_for(bucket: Bucket, keys: RunKeys, execution: str) -> Iterator[Callable[[], None]]:
    """Make an execution the run's driver, to its end; if the block fails, it is none.

    An Initialize that is tried again may find the first still at work. It takes the lease from it, and what this gives
    raises in the first: it must not delete what the second, or the map, has done meanwhile.

    Raises
    ------
    ClaimedError
        If another driver is at work.
    """
    number = take_for(bucket, keys, execution)
    try:
        yield lambda: check_for(bucket, keys, execution, number)
    except BaseException:
        with suppress(StoreError):  # a driver that finds it asks whether the execution goes on
            release_for(bucket, keys, execution, number)
        raise


def check_for(bucket: Bucket, keys: RunKeys, execution: str, number: int | None = None) -> None:
    """Raise if the last lease of a run is not an execution's, given up or not, or not the one of this number.

    Raises
    ------
    LeaseLostError
        If another driver took the run over.
    """
    last, holder = _last(bucket, keys)
    if holder is None or holder.execution != execution or number not in (None, last):
        raise _lost_error(bucket, keys, _taken_by(holder))


def _taken_by(holder: Record | None) -> str:
    return f"the lease went to {holder.driver if holder else 'nobody: it was deleted'}"


def _lost_error(bucket: Bucket, keys: RunKeys, said: str) -> LeaseLostError:
    return LeaseLostError(f"{bucket.name}/{keys.result_path}: {said}; run the same payload again to go on")


def _own_record(until: float) -> bytes:
    pid = os.getpid()
    return msgspec.json.encode(Record(until, socket.gethostname(), pid, process_start_ticks(pid), _machine()))


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
    return _last(bucket, keys)[1]


def _last(bucket: Bucket, keys: RunKeys) -> tuple[int, Record | None]:
    """Return the number of the last lease, 0 if there is none, and what it says."""
    number = max(_numbers(bucket, keys), default=0)
    return number, _read(bucket, keys, number)


def _read(bucket: Bucket, keys: RunKeys, number: int) -> Record | None:
    data = bucket.get(keys.lease(number)) if number else None
    try:
        return msgspec.json.decode(data, type=Record) if data is not None else None
    except (msgspec.DecodeError, RecursionError):
        return None


def _numbers(bucket: Bucket, keys: RunKeys) -> list[int]:
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
