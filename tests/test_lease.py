"""One driver at a time, and none for ever."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from skyfan import lease as leases
from skyfan.errors import ClaimedError, LeaseLostError, StoreFullError
from skyfan.keys import RunKeys
from skyfan.lease import Lease, Record, hold, read_lease
from skyfan.measure import process_start_ticks
from skyfan.storage import Bucket, Store

KEYS = RunKeys("run")


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Store(str(tmp_path)).bucket("b", create="store")


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, however slow the machine is."""
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def put(bucket: Bucket, generation: int = 1, **changes: object) -> None:
    """Store the lease of this very process, with changes."""
    start = process_start_ticks(os.getpid())
    record = Record(time.time() + 60, socket.gethostname(), os.getpid(), start, "elsewhere")
    bucket.put(KEYS.lease(generation), msgspec.json.encode(msgspec.structs.replace(record, **changes)))


def test_the_second_driver_is_refused_until_the_first_is_done(bucket: Bucket) -> None:
    with hold(bucket, KEYS), pytest.raises(ClaimedError, match=f"process {os.getpid()} .* drives this run"):
        Lease(bucket, KEYS).take()
    with hold(bucket, KEYS):
        pass
    left = read_lease(bucket, KEYS)
    assert left is not None
    assert left.lapsed()
    assert len(bucket.list(KEYS.leases)) == 1


def test_a_lease_of_another_machine_lapses_with_its_time(bucket: Bucket) -> None:
    put(bucket)
    with pytest.raises(ClaimedError), hold(bucket, KEYS):
        pass
    put(bucket, until=time.time() - 1)
    with hold(bucket, KEYS) as lease:
        lease.check()


def test_a_lease_of_a_dead_process_of_this_machine_lapses_at_once(bucket: Bucket) -> None:
    code = (
        "import os; from skyfan.lease import Lease; from skyfan.keys import RunKeys; from skyfan.storage import Store;"
        f"Lease(Store({str(Path(bucket.where).parent)!r}).bucket('b'), RunKeys('run')).take(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    left = read_lease(bucket, KEYS)
    assert left is not None
    assert left.until > time.time() + 30
    with hold(bucket, KEYS):
        pass


def test_a_live_driver_renews_its_lease(bucket: Bucket) -> None:
    lease = Lease(bucket, KEYS, lifetime_s=2.0)
    lease.take()
    first = read_lease(bucket, KEYS)
    assert first is not None
    wait_until(lambda: (now := read_lease(bucket, KEYS)) is not None and now.until > first.until)
    lease.check()
    lease.release()


@pytest.mark.parametrize("taken", [True, False])
def test_a_driver_whose_lease_is_gone_stops(bucket: Bucket, taken: bool) -> None:
    lease = Lease(bucket, KEYS, lifetime_s=0.4)
    lease.take()
    if taken:
        put(bucket, generation=2)
    else:
        bucket.delete([KEYS.lease(1)])
    with pytest.raises(LeaseLostError, match="run the same payload again"):
        wait_until(lambda: lease.check() is not None)
    lease.release()
    holder = read_lease(bucket, KEYS)
    assert (holder is not None and not holder.lapsed()) == taken, "another's lease must stay"


@pytest.mark.parametrize("earlier", [True, False])
def test_of_many_that_come_at_once_one_drives(bucket: Bucket, earlier: bool) -> None:
    if earlier:
        put(bucket, until=0.0)
    leases = [Lease(bucket, KEYS) for _ in range(8)]
    winners: list[Lease] = []

    def take(lease: Lease) -> None:
        try:
            lease.take()
        except ClaimedError:
            return
        winners.append(lease)

    threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    winners[0].release()


def test_a_lease_that_cannot_be_read_is_as_good_as_none(bucket: Bucket) -> None:
    bucket.put(KEYS.lease(1), b"{")
    with hold(bucket, KEYS):
        pass


@pytest.mark.parametrize("others", [1, 2, 3])
def test_a_driver_that_looked_long_ago_does_not_take_a_run_that_others_have_had_since(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    put(bucket, until=0.0)
    create = Bucket.create

    def create_late(self: Bucket, key: str, data: bytes) -> bool:
        monkeypatch.undo()
        for _ in range(others):  # whole runs pass between this driver's look and its move
            with hold(bucket, KEYS):
                pass
        return create(self, key, data)

    monkeypatch.setattr(Bucket, "create", create_late)
    with pytest.raises(ClaimedError, match="took this run over just now"):
        Lease(bucket, KEYS).take()


def test_a_lease_that_cannot_be_renewed_is_lost_when_others_see_it_lapse(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(bucket, KEYS, lifetime_s=0.8)
    lease.take()
    stored = read_lease(bucket, KEYS)
    assert stored is not None
    tries: list[str] = []

    def refuse(key: str, data: bytes) -> None:
        tries.append(key)
        raise StoreFullError("no space is left")

    monkeypatch.setattr(bucket, "put", refuse)
    wait_until(lambda: bool(tries) and time.time() > stored.until)
    assert stored == read_lease(bucket, KEYS)
    with pytest.raises(LeaseLostError, match="ran out before it could be renewed"):
        lease.check()
    lease.release()


def test_a_renewal_that_comes_too_late_renews_nothing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a driver that was stopped between its look at the lease and its move."""
    lease = Lease(bucket, KEYS, lifetime_s=1.2)
    lease.take()
    stored = read_lease(bucket, KEYS)
    assert stored is not None
    put = bucket.put
    taken = threading.Event()

    def put_late(key: str, data: bytes) -> None:
        monkeypatch.undo()
        wait_until(lambda: time.time() > stored.until)
        with hold(Store(str(Path(bucket.where).parent)).bucket("b"), KEYS):
            put(key, data)
        taken.set()

    monkeypatch.setattr(bucket, "put", put_late)
    assert taken.wait(30)
    with pytest.raises(LeaseLostError):
        lease.check()
    lease.release()
    holder = read_lease(bucket, KEYS)
    assert holder is not None
    assert holder.lapsed(), "the other gave it up"


def test_a_driver_that_read_a_lease_long_ago_does_not_take_it_for_lapsed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket)
    read = leases.read_lease

    def read_early(bucket: Bucket, keys: RunKeys) -> Record | None:
        put(bucket, until=time.time() + 0.1)
        record = read(bucket, keys)
        put(bucket)  # its driver renews it
        time.sleep(0.2)
        return record

    monkeypatch.setattr(leases, "read_lease", read_early)
    with pytest.raises(ClaimedError):
        Lease(bucket, KEYS).take()


@pytest.mark.parametrize("renewing", [True, False])
def test_a_store_that_hangs_does_not_hold_up_the_end(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, renewing: bool
) -> None:
    monkeypatch.setattr(leases, "RELEASE_S", 0.2, raising=False)
    lease = Lease(bucket, KEYS, lifetime_s=0.8 if renewing else 60)
    lease.take()
    hangs, answers = threading.Event(), threading.Event()

    def hang(key: str, data: bytes) -> None:
        hangs.set()
        answers.wait(60)

    monkeypatch.setattr(bucket, "put", hang)
    if renewing:
        assert hangs.wait(30)
    ended = threading.Thread(target=lease.release, daemon=True)
    ended.start()
    ended.join(20)
    held_up = ended.is_alive()
    answers.set()
    assert hangs.is_set()
    assert not held_up
    lease._thread.join(30)


def _hidden_processes() -> bool:
    """Whether this system lets us hide a process of our own from a program."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    probe = [unshare, "-rm", "mount", "-t", "tmpfs", "tmpfs", f"/proc/{os.getpid()}"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _hidden_processes(), reason="this system permits no private mounts (unshare -rm)")
def test_a_driver_that_proc_does_not_show_is_alive_until_it_has_ended(bucket: Bucket) -> None:
    """As another user's where /proc is mounted with hidepid."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as driver:
        put(bucket, pid=driver.pid, process_start=process_start_ticks(driver.pid), machine=leases._machine())
        code = (
            "import os, sys; from skyfan.lease import read_lease; from skyfan.keys import RunKeys;"
            f"from skyfan.storage import Store; where = Store({str(Path(bucket.where).parent)!r}).bucket('b');"
            "record = read_lease(where, RunKeys('run')); print(record.is_here, record.lapsed())"
        )
        hidden = f'mount -t tmpfs tmpfs /proc/{driver.pid} && exec {sys.executable} -c "$0"'
        seen = subprocess.run(
            ["unshare", "-rm", "sh", "-c", hidden, code], capture_output=True, text=True, check=True
        ).stdout
        driver.communicate()
    assert seen.split() == ["True", "False"]
    holder = read_lease(bucket, KEYS)
    assert holder is not None
    assert holder.lapsed()


def test_a_lease_that_ran_out_is_lost_even_if_its_thread_hangs(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "_keep", lambda self: None)
    lease = Lease(bucket, KEYS, lifetime_s=0.05)
    lease.take()
    time.sleep(0.1)
    with pytest.raises(LeaseLostError, match="ran out"):
        lease.check()


def test_a_create_whose_answer_was_lost_is_ours(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Bucket.create

    def create_twice(self: Bucket, key: str, data: bytes) -> bool:
        create(self, key, data)
        return create(self, key, data)

    monkeypatch.setattr(Bucket, "create", create_twice)
    with hold(bucket, KEYS) as lease:
        lease.check()
