"""One task with the built-in worker: its report is of what was predicted, and what cannot be joined names its file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import make_rows, parsed_model, write_partition
from skyfan.errors import PartitionError
from skyfan.inference import predict_task
from skyfan.measure import Meter
from skyfan.partitions import PartitionRef
from skyfan.payload import parse_payload
from skyfan.planning import preview
from skyfan.predictor import Predicted, Predictor
from skyfan.storage import Store
from skyfan.task import Report, Task


def do(task: Task, store: Store) -> Report:
    return predict_task(task, store.bucket("sky"), store.bucket("sky"), 1, Meter())


def written_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-400, os.SEEK_END)
        file.write(bytes(400))


def written_anew(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())
    new.replace(path)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize(
    "change", [written_in_place, written_anew, grown, Path.unlink], ids=lambda change: change.__name__
)
def test_a_partition_that_is_changed_between_its_hash_and_its_prediction_fails_its_task(
    store: Store, root: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = root / "sky" / "25MB" / "1.safetensors"
    os.utime(path, (1e9, 1e9))
    task = preview(parse_payload(asked)[0], store).tasks[0]
    real = Predictor.predict

    def predict(self: Predictor, *arguments: Any) -> Predicted:
        change(path)
        return real(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", predict)
    with pytest.raises(PartitionError, match=r"1\.safetensors: was changed while it was read; .* run .* again"):
        do(task, store)
    assert not (root / "sky" / "results").exists()


def test_a_partition_that_is_only_looked_at_meanwhile_is_not_changed(
    store: Store, root: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = root / "sky" / "25MB" / "1.safetensors", Predictor.predict

    def predict(self: Predictor, *arguments: Any) -> Predicted:
        path.read_bytes()
        (root / "sky" / "again.safetensors").hardlink_to(path)
        path.chmod(0o444)
        return real(self, *arguments)

    monkeypatch.setattr(Predictor, "predict", predict)
    assert do(preview(parse_payload(asked)[0], store).tasks[0], store).rows_out == 7


def test_outputs_of_unequal_length_in_one_task_name_the_partition(
    store: Store, root: Path, asked: dict[str, Any]
) -> None:
    folder = root / "sky" / "25MB"
    rows = make_rows(8) | {"image": np.zeros((8, 5, 8, 6), np.float32)}
    rows["image"][:, :, 0] = 1
    write_partition(folder / "2.safetensors", arrays=rows)
    (root / "sky" / "models" / "wide.onnx").write_bytes(
        parsed_model(
            "(float[n,5,h,w] image) => (float[n,w] v)"
            "<int64[2] axes = {1, 2}> { v = ReduceMean<keepdims=0>(image, axes) }"
        )
    )
    asked |= {"model": "models/wide.onnx", "world_size": 2}
    task = preview(parse_payload(asked)[0], store).tasks[0]
    assert [type(ref) for ref in task.partitions] == [PartitionRef] * 2
    said = r"25MB/2\.safetensors: its v is \(6,\) per row; expected \(8,\), as 25MB/1\.safetensors, .* in the same task"
    with pytest.raises(PartitionError, match=said):
        do(task, store)
