"""A run that goes on: what is done is kept, what is lost or damaged is done again."""

from pathlib import Path

import pytest

from skyfan import planning, stages
from skyfan.errors import SkyfanError, StoreError
from skyfan.payload import Payload
from skyfan.storage import Bucket, Store
from stages.runs import KEYS, run, stored


def test_a_finished_run_is_not_done_again(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    before = stored(bucket)
    plan = stages.initialize(payload, store)
    assert plan.pending == []
    assert stored(bucket) == before


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("what", ["report", "part"])
def test_what_is_deleted_of_a_task_has_that_task_done_again_and_no_other(
    payload: Payload, store: Store, bucket: Bucket, rank: int, what: str
) -> None:
    run(payload, store)
    before = stored(bucket)
    bucket.delete([getattr(KEYS, what)(rank)])
    done, summary = run(payload, store)
    assert done == [rank]
    assert summary.complete
    assert {key for key in before if before[key] != bucket.get(key)} <= {KEYS.report(rank), KEYS.combined, KEYS.summary}


@pytest.mark.parametrize("what", ["payload", "manifest", "combined", "summary"])
def test_any_other_object_that_is_deleted_is_written_again_without_a_task_done_twice(
    payload: Payload, store: Store, bucket: Bucket, what: str
) -> None:
    run(payload, store)
    reports = {key: data for key, data in stored(bucket).items() if key.startswith(KEYS.reports)}
    bucket.delete([getattr(KEYS, what)])
    _, summary = run(payload, store)
    assert summary.complete
    assert bucket.get(getattr(KEYS, what)) is not None
    if what != "manifest":  # without its plan, a run does not know what its reports are of
        assert {key: bucket.get(key) for key in reports} == reports


def test_a_task_done_twice_gives_the_same_part(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    before = bucket.get(KEYS.part(1))
    stages.infer(planning.preview(payload, store).tasks[1], store, attempt=2)
    assert bucket.get(KEYS.part(1)) == before
    assert run(payload, store)[1].complete


def test_a_task_that_a_twin_has_done_is_not_done_again(payload: Payload, store: Store, bucket: Bucket) -> None:
    _, summary = run(payload, store)
    assert summary.complete
    task = planning.preview(payload, store).tasks[0]
    before = bucket.get(KEYS.report(0))
    assert stages.infer(task, store, attempt=2).attempt == 1
    assert bucket.get(KEYS.report(0)) == before
    bucket.delete([KEYS.part(0)])
    assert stages.infer(task, store, attempt=2).attempt == 2


def test_a_late_failed_attempt_does_not_undo_a_task_that_is_done(
    payload: Payload, store: Store, bucket: Bucket
) -> None:
    _, summary = run(payload, store)
    assert summary.complete
    task = planning.preview(payload, store).tasks[0]
    stages.record_failure(task, bucket, 2, StoreError("too late"))
    assert planning.preview(payload, store).pending == []


def test_a_resumed_run_has_no_verdict_until_it_ends(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    bucket.delete([KEYS.part(0)])
    stages.initialize(payload, store)
    assert bucket.get(KEYS.summary) is None


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null"])
def test_a_damaged_plan_is_an_error_that_says_how_to_go_on(
    payload: Payload, store: Store, bucket: Bucket, data: bytes
) -> None:
    run(payload, store)
    bucket.put(KEYS.manifest, data)
    with pytest.raises(StoreError, match=r"manifest.*run with --overwrite to plan anew"):
        stages.initialize(payload, store)
    assert run(payload, store, overwrite=True)[1].complete


def test_a_damaged_claim_is_an_error_and_can_be_overwritten(payload: Payload, store: Store, bucket: Bucket) -> None:
    bucket.put(KEYS.payload, b"{")
    with pytest.raises(SkyfanError, match=r"sky/results/one/payload\.json"):
        stages.initialize(payload, store)
    assert run(payload, store, overwrite=True)[1].complete


def test_reports_of_an_abandoned_plan_do_not_spoil_the_next(payload: Payload, store: Store, root: Path) -> None:
    folder = root / "sky" / "25MB"
    good = {path: path.read_bytes() for path in folder.iterdir()}
    for path in good:
        path.write_bytes(b"not a partition")
    assert run(payload, store)[1].tasks_failed == 4
    for path, data in good.items():
        path.write_bytes(data)
    (folder / "4.safetensors").unlink()
    done, summary = run(payload, store)
    assert done == [0, 1, 2]
    assert summary.problems == []


def test_a_run_sweeps_up_after_its_own_killed_writers_only(payload: Payload, store: Store, root: Path) -> None:
    run(payload, store)
    folder = root / "sky" / "results"
    left = {"one/reports/00000.json#1": False, "one/field#12": True, "one/two/reports/00000.json#1": True}
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    stages.initialize(payload, store)
    assert {name: (folder / name).exists() for name in left} == left
