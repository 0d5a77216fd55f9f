"""One driver at a time, and none for ever."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from skyfan.errors import ClaimedError, LeaseLostError
from skyfan.keys import RunKeys
from skyfan.lease import Lease, Record, hold, read_lease, release_for, take_for
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


def test_a_lease_that_ran_out_is_lost_even_if_its_thread_hangs(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "_renew", lambda self: None)
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


def test_an_execution_holds_a_lease_until_it_says_that_it_is_over(bucket: Bucket) -> None:
    take_for(bucket, KEYS, "arn:one")
    take_for(bucket, KEYS, "arn:one")  # a state that is tried again
    with pytest.raises(ClaimedError, match="the execution arn:one drives this run"):
        take_for(bucket, KEYS, "arn:two")
    release_for(bucket, KEYS, "arn:two")
    with pytest.raises(ClaimedError, match=r"stop it: skyfan stop b/run$"), hold(bucket, KEYS):
        pass
    release_for(bucket, KEYS, "arn:one")
    with hold(bucket, KEYS):
        release_for(bucket, KEYS, "arn:one")
        holder = read_lease(bucket, KEYS)
        assert holder is not None
        assert not holder.lapsed(), "another's lease must stay"
    take_for(bucket, KEYS, "arn:two")
    holder = read_lease(bucket, KEYS)
    assert holder is not None
    assert (holder.execution, holder.is_here, holder.lapsed()) == ("arn:two", False, False)
    assert len(bucket.list(KEYS.leases)) == 1
