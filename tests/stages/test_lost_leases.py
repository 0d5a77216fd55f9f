"""A driver that sleeps through its lease, after any request to the store, changes nothing of what another does then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from factories import write_partition
from skyfan import stages
from skyfan.errors import LeaseLostError
from skyfan.lease import Lease, hold
from skyfan.payload import Payload
from skyfan.storage import Bucket, Store
from stages.runs import DRIVE, KEYS, other, run, stored

REQUESTS = ("get", "get_many", "put", "create", "head", "list", "delete", "sweep")


class Sleeper:
    """Has a driver sleep after its request to the store of a given number, while something else is done."""

    def __init__(self, number: int, meanwhile: Callable[[], None]) -> None:
        self.slept = False
        self._left = number
        self._meanwhile = meanwhile

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count the requests that are made within the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in REQUESTS:
                patch.setattr(Bucket, name, self._after(getattr(Bucket, name)))
            yield

    def _after(self, request: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any, **options: Any) -> Any:
            answer = request(*args, **options)
            if not self.slept:
                self._left -= 1
                self.slept = self._left == 0
                if self.slept:
                    self._meanwhile()
            return answer

        return asked


def results(bucket: Bucket) -> dict[str, bytes | None]:
    """Return all that the run stored, but for who drives it."""
    return {key: data for key, data in stored(bucket).items() if not key.startswith(KEYS.leases)}


def drive(payload: Payload, store: Store, overwrite: bool, lease: Lease, sleeper: Sleeper) -> None:
    """Do what the pipeline does, here; it is the driver that sleeps, not its workers."""
    with sleeper.watching():
        plan = stages.initialize(payload, store, overwrite=overwrite, check=lease.check)
    for task in plan.pending:
        lease.check()
        stages.infer(task, store)
    with sleeper.watching():
        stages.summarize(payload, plan.tasks, store, DRIVE, plan.warnings, check=lease.check)


def drive_asleep(payload: Payload, store: Store, overwrite: bool, number: int) -> tuple[bool, bool]:
    """Drive a run with a sleep, in which another does it anew; return whether it slept, and found that it is lost.

    The partition is mended meanwhile, so that the other's plan is another.
    """
    bucket = store.bucket(payload.bucket)
    done: dict[str, bytes | None] = {}
    lease = Lease(bucket, KEYS, lifetime_s=1e6)  # it renews nothing, as a process that is stopped
    lease.take()

    def another() -> None:
        lease._until = 0.0
        folder = bucket.local_path(payload.data_prefix)
        assert folder is not None
        write_partition(folder / "1.safetensors", rows=number)
        bucket.delete([entry.key for entry in bucket.list(KEYS.leases)])
        with hold(bucket, KEYS):
            assert run(payload, store, overwrite=True)[1].complete
        done.update(results(bucket))

    sleeper = Sleeper(number, another)
    try:
        drive(payload, store, overwrite, lease, sleeper)
        lost = False
    except LeaseLostError:
        lost = True
    finally:
        lease.release()
    assert not sleeper.slept or results(bucket) == done, f"after request {number}"
    return sleeper.slept, lost


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_driver_that_slept_after_any_request_changes_nothing(
    asked: dict[str, Any], store: Store, overwrite: bool
) -> None:
    payload = other(asked, file_limit=1)
    slept, lost, bucket = True, list[bool](), store.bucket(payload.bucket)
    while slept:
        bucket.delete(list(stored(bucket)))
        if overwrite:
            run(payload, store)
        else:
            stages.initialize(payload, store)  # an earlier drive, killed after its manifest
        slept, found_lost = drive_asleep(payload, store, overwrite, len(lost) + 1)
        lost.append(found_lost)
    assert len(lost) > 20
    assert lost == [True] * (len(lost) - 2) + [False, False], "all but a sleep at the very end, and none"
