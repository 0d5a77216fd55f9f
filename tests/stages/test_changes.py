"""What changes between the plan of a run and its tasks: told, or refused."""

from pathlib import Path
from typing import Any

import pytest

from factories import tiny_model, write_partition
from skyfan import planning, stages, staging
from skyfan.errors import ModelError, PartitionError
from skyfan.partitions import PartitionRef
from skyfan.payload import Payload
from skyfan.storage import Store
from stages.runs import KEYS, run


def test_a_mended_partition_is_taken_when_the_run_goes_on(payload: Payload, store: Store, root: Path) -> None:
    path = root / "sky" / "25MB" / "3.safetensors"
    path.write_bytes(b"not a partition")
    run(payload, store)
    write_partition(path, rows=9, seed=3)
    done, summary = run(payload, store)
    assert done == [2]
    assert summary.complete
    assert "1 partition changed since this run was planned, the first 25MB/3.safetensors" in summary.warnings[0]


def test_a_partition_that_came_since_the_plan_is_a_warning_and_is_left_out(
    payload: Payload, store: Store, root: Path
) -> None:
    run(payload, store)
    write_partition(root / "sky" / "25MB" / "5.safetensors", rows=3)
    done, summary = run(payload, store)
    assert done == []
    assert (summary.complete, summary.partitions) == (True, 4)
    assert "1 partition came since this run was planned, the first 25MB/" in summary.warnings[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "is not there any more; put it back, or plan anew with --overwrite"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "has .* bytes, .* when the run was planned"),
    ],
    ids=["gone", "grown"],
)
def test_a_partition_that_changed_since_the_plan_fails_its_task(
    payload: Payload, store: Store, root: Path, change: Any, said: str
) -> None:
    task = stages.initialize(payload, store).tasks[1]
    change(root / "sky" / "25MB" / "2.safetensors")
    with pytest.raises(PartitionError, match=rf"sky/25MB/2\.safetensors: {said}"):
        stages.infer(task, store)


def test_a_partition_that_changed_at_the_same_size_is_told_on_resume() -> None:
    before = PartitionRef("a", 10, 1, "one")
    assert planning._changed(before, PartitionRef("a", 10, 1, "two"))
    assert planning._changed(before, PartitionRef("a", 11))
    assert not planning._changed(before, PartitionRef("a", 10))
    assert not planning._changed(before, before)


def test_a_model_that_changed_since_the_plan_is_an_error(
    payload: Payload, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(payload, store)
    monkeypatch.setattr(staging, "_LOADED", {})  # as in a worker that has not loaded the old one
    store.bucket("sky").delete([KEYS.report(1)])
    tiny_model(root / "sky" / "models" / "tiny.onnx", metadata={"version": "another"})
    (task,) = stages.initialize(payload, store).pending
    with pytest.raises(ModelError, match=r"model models/tiny\.onnx: its hash is .*, expected .* put the old file back"):
        stages.infer(task, store)
