"""The lease of an execution, which cannot renew it: held to its end, and by its last Initialize alone."""

from pathlib import Path

import pytest

from skyfan.errors import ClaimedError, LeaseLostError, StoreFullError
from skyfan.keys import RunKeys
from skyfan.lease import check_for, hold, hold_for, read_lease, release_for, take_for
from skyfan.storage import Bucket, Store

KEYS = RunKeys("run")


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Store(str(tmp_path)).bucket("b", create="store")


def test_of_two_begins_of_one_execution_the_later_drives(bucket: Bucket) -> None:
    with hold_for(bucket, KEYS, "arn:one") as check_first:
        check_first()
        with hold_for(bucket, KEYS, "arn:one") as check_second:
            with pytest.raises(LeaseLostError, match="the lease went to the execution arn:one"):
                check_first()
            check_second()
    holder = read_lease(bucket, KEYS)
    assert holder is not None
    assert (holder.execution, holder.lapsed()) == ("arn:one", False), "it drives the run to the execution's end"


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_begin_that_fails_gives_up_its_own_lease_only(bucket: Bucket, taken_over: bool) -> None:
    def begin() -> None:
        with hold_for(bucket, KEYS, "arn:one"):
            if taken_over:
                take_for(bucket, KEYS, "arn:one")
            raise StoreFullError("no space is left")

    with pytest.raises(StoreFullError):
        begin()
    holder = read_lease(bucket, KEYS)
    assert holder is not None
    assert holder.lapsed() != taken_over


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


def test_an_execution_that_gave_its_lease_up_may_still_end_until_another_drives(bucket: Bucket) -> None:
    take_for(bucket, KEYS, "arn:one")
    release_for(bucket, KEYS, "arn:one")
    check_for(bucket, KEYS, "arn:one")
    with hold(bucket, KEYS), pytest.raises(LeaseLostError, match="the lease went to process"):
        check_for(bucket, KEYS, "arn:one")
