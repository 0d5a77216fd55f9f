"""What a plan of a script refuses: results of others, and stored plans that are not the payload's."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from skyfan import stages
from skyfan.errors import ClaimedError, CodeError, PayloadError, StoreError
from skyfan.payload import Payload, parse_payload
from skyfan.planning import preview
from skyfan.storage import Bucket, Store

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def bucket(store: Store) -> Bucket:
    found = store.bucket("sky")
    found.put("code/run.py", b"print('mine')")
    return found


@pytest.fixture
def payload(asked: dict[str, Any]) -> Payload:
    del asked["model"]
    return parse_payload(asked | {"S3_object_name": "code", "script": "run.py"})[0]


@pytest.fixture
def begun(payload: Payload, store: Store, bucket: Bucket) -> Bucket:
    """A run of which one task is done."""
    plan = stages.initialize(payload, store)
    stages.infer(plan.tasks[0], store, allow_scripts=True)
    return bucket


def change(bucket: Bucket, how: Change) -> None:
    """Change the last task of the stored manifest."""
    tasks = json.loads(bucket.get("results/one/manifest.json") or b"")
    how(tasks[-1])
    bucket.put("results/one/manifest.json", json.dumps(tasks).encode())


CHANGES: dict[str, Change] = {
    "other code": lambda task: task["script"].update(folder="evil", file="evil/e.py"),
    "another file of it": lambda task: task["script"].update(file="../evil.py"),
    "another bucket": lambda task: task.update(bucket="evil"),
    "other data": lambda task: task["partitions"][0].update(key="elsewhere/1.safetensors"),
    "a model": lambda task: (task.pop("script"), task.update(model={"name": "photoz-sim-2", "sha256": "0" * 64})),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_stored_plan_that_was_changed_by_hand_is_refused(
    begun: Bucket, payload: Payload, store: Store, name: str
) -> None:
    assert len(preview(payload, store).pending) == 3
    change(begun, CHANGES[name])
    with pytest.raises(StoreError, match="was changed by hand; run with --overwrite"):
        preview(payload, store)
    assert len(preview(payload, store, overwrite=True).pending) == 4


def test_code_that_changed_since_is_refused_before_a_task_is_tried(
    begun: Bucket, payload: Payload, store: Store
) -> None:
    begun.put("code/run.py", b"print('other')")
    with pytest.raises(CodeError, match="as when the run was planned"):
        preview(payload, store)


def test_a_finished_run_does_not_need_its_code(begun: Bucket, payload: Payload, store: Store) -> None:
    for task in preview(payload, store).pending:
        stages.infer(task, store, allow_scripts=True)
    begun.delete(["code/run.py"])
    assert preview(payload, store).pending == []


def test_results_of_others_are_not_written_over(bucket: Bucket, payload: Payload, store: Store) -> None:
    bucket.put("results/one/2024.json", b"{}")
    for overwrite in (False, True):
        with pytest.raises(ClaimedError, match=r"results that no run of skyfan's left, results/one/2024\.json"):
            stages.initialize(payload, store, overwrite=overwrite)
    assert bucket.get("results/one/2024.json") == b"{}"
    assert bucket.get("results/one/payload.json") is None


def test_overwrite_deletes_the_results_of_its_own_tasks_only(begun: Bucket, payload: Payload, store: Store) -> None:
    for name in ("0", "3", "7", "2024"):
        begun.put(f"results/one/{name}.json", b"{}")
    stages.initialize(payload, store, overwrite=True)
    left = {entry.key for entry in begun.list("results/one")}
    assert {f"results/one/{name}.json" for name in ("0", "3", "7", "2024")} & left == {
        "results/one/7.json",
        "results/one/2024.json",
    }


@pytest.mark.parametrize("name", ["result_path", "data_prefix"])
def test_nothing_that_is_written_or_read_lies_within_the_code(
    bucket: Bucket, payload: Payload, store: Store, name: str
) -> None:
    bucket.put("code/in/1.safetensors", bucket.get("25MB/1.safetensors") or b"")
    with pytest.raises(PayloadError, match=f"{name} 'code/in' lies within the code"):
        preview(msgspec.structs.replace(payload, **{name: "code/in"}), store)


def test_a_slash_at_the_end_of_the_code_makes_no_other_payload(asked: dict[str, Any]) -> None:
    one, two = (parse_payload(asked | {"S3_object_name": name})[0] for name in ("code", "code/"))
    assert one == two
