"""A result path belongs to one payload: who may claim it, and what overwriting replaces."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import make_rows, write_partition
from skyfan import planning, stages
from skyfan.claim import release_claim
from skyfan.errors import ClaimedError, LeaseLostError, ModelError, SurveyError
from skyfan.keys import RunKeys
from skyfan.payload import Payload
from skyfan.storage import Bucket, Store
from stages.runs import KEYS, other, run, stored


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 5}, r"batch_size 4 \(asked now: 5\)"),
        ({"file_limit": 2}, r"file_limit nothing \(asked now: 2\)"),
        ({"data_prefix": "50MB"}, r"data_prefix '25MB' \(asked now: '50MB'\)"),
        ({"S3_object_name": "code"}, r"S3_object_name nothing \(asked now: 'code'\)"),
        ({"model": "models/x.onnx", "world_size": 3}, r"model .*, world_size nothing \(asked now: 3\)"),
    ],
)
def test_another_payload_on_the_path_is_refused_by_its_keys(
    payload: Payload, asked: dict[str, Any], store: Store, bucket: Bucket, change: dict[str, Any], said: str
) -> None:
    run(payload, store)
    before = stored(bucket)
    with pytest.raises(ClaimedError, match=rf"sky/results/one: .* another payload, with {said}; expected the same"):
        stages.initialize(other(asked, **change), store)
    assert stored(bucket) == before


def test_one_may_try_harder_on_the_same_path(payload: Payload, asked: dict[str, Any], store: Store) -> None:
    run(payload, store)
    harder = other(asked, max_attempts=9, task_timeout_s=5, max_concurrency=1, tolerated_failure_count=2)
    assert stages.initialize(harder, store).pending == []


def test_overwrite_replaces_another_run(payload: Payload, asked: dict[str, Any], store: Store, bucket: Bucket) -> None:
    run(payload, store)
    done, summary = run(other(asked, world_size=2), store, overwrite=True)
    assert done == [0, 1]
    assert summary.complete
    assert bucket.get(KEYS.part(2)) is bucket.get(KEYS.report(2)) is None


def test_an_overwrite_that_is_cut_leaves_no_verdict_on_half_a_run(
    payload: Payload, store: Store, bucket: Bucket
) -> None:
    run(payload, store)
    verdict = {KEYS.summary, KEYS.combined, KEYS.bill}
    left: list[set[str]] = []

    def look() -> None:
        left.append(set(stored(bucket)))

    release_claim(bucket, KEYS, look)
    assert left[0] >= {KEYS.summary, KEYS.combined, KEYS.payload}
    assert all(verdict.isdisjoint(keys) and KEYS.payload in keys for keys in left[1:])
    assert len(left) == 5
    assert stored(bucket) == {}


@pytest.mark.parametrize("script", [False, True])
def test_nothing_more_is_deleted_of_a_run_that_went_to_another(
    payload: Payload, asked: dict[str, Any], store: Store, bucket: Bucket, script: bool
) -> None:
    if script:
        del asked["model"]
        bucket.put("code/run.py", b"")
        payload = other(asked, S3_object_name="code", script="run.py")
    plan = stages.initialize(payload, store)
    for task in plan.tasks:
        for key in (KEYS.result(task.rank), KEYS.log(task.rank), KEYS.part(task.rank), KEYS.report(task.rank)):
            bucket.put(key, b"{}")
    bucket.put(KEYS.summary, b"{}")
    before = stored(bucket)

    def check() -> None:
        if bucket.get(KEYS.summary) is None:
            raise LeaseLostError("the lease went to another")

    with pytest.raises(LeaseLostError):
        release_claim(bucket, KEYS, check)
    del before[KEYS.summary]
    assert stored(bucket) == before


def test_overwrite_leaves_what_is_not_the_runs_own(payload: Payload, store: Store, bucket: Bucket) -> None:
    run(payload, store)
    mine = ["results/one/notes.txt", "results/one/sub/part-00000.parquet", "results/one-more/payload.json"]
    for key in mine:
        bucket.put(key, b"mine")
    run(payload, store, overwrite=True)
    assert [bucket.get(key) for key in mine] == [b"mine"] * 3


def test_overwrite_leaves_a_run_within_the_runs_folder(payload: Payload, store: Store, bucket: Bucket) -> None:
    inner = RunKeys(f"{KEYS.predictions}/inner")
    bucket.put(inner.part(0), b"another run's")
    run(payload, store)
    run(payload, store, overwrite=True)
    assert bucket.get(inner.part(0)) == b"another run's"


@pytest.mark.parametrize(
    "change", [{"data_prefix": "none"}, {"model": "models/none.onnx"}, {"model": "25MB/1.safetensors"}]
)
def test_a_run_that_cannot_be_planned_overwrites_nothing(
    payload: Payload, asked: dict[str, Any], store: Store, bucket: Bucket, change: dict[str, Any]
) -> None:
    run(payload, store)
    before = stored(bucket)
    with pytest.raises((SurveyError, ModelError)):
        stages.initialize(other(asked, **change), store, overwrite=True)
    assert stored(bucket) == before


@pytest.mark.parametrize(
    "change", [{"data_prefix": "none"}, {"model": "models/none.onnx"}, {"data_prefix": "25MB-old"}]
)
def test_a_run_that_cannot_be_planned_claims_nothing(
    asked: dict[str, Any], store: Store, bucket: Bucket, change: dict[str, Any]
) -> None:
    with pytest.raises((SurveyError, ModelError)):
        stages.initialize(other(asked, **change), store)
    assert stored(bucket) == {}


def test_a_preview_writes_nothing_at_all(payload: Payload, asked: dict[str, Any], store: Store, root: Path) -> None:
    images = np.random.default_rng(1).normal(size=(4, 5, 32, 32)).astype(np.float32)
    write_partition(root / "sky" / "50MB" / "1.safetensors", arrays=make_rows(4) | {"image": images})
    before = sorted(root.rglob("*"))
    assert len(planning.preview(payload, store).tasks) == 4
    assert len(planning.preview(other(asked, bucket="new", model="photoz-sim-2", data_prefix="50MB"), store).tasks) == 1
    assert sorted(root.rglob("*")) == before
