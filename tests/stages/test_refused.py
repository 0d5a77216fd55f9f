"""What no run is planned for: models that do not fit, a set that is not whole, keys that lead elsewhere."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from factories import tiny_model, write_partition
from skyfan import planning, stages
from skyfan.errors import KeyNameError, ModelError, PartitionError, PayloadError, SurveyError
from skyfan.partitions import Index
from skyfan.payload import Payload, parse_payload
from skyfan.storage import Bucket, Store
from stages.runs import other, stored


def test_a_model_that_does_not_fit_is_refused_before_anything_is_claimed(
    asked: dict[str, Any], store: Store, root: Path, bucket: Bucket
) -> None:
    tiny_model(root / "sky" / "models" / "other.onnx", image="cutout")
    with pytest.raises(PartitionError, match="no tensor 'cutout'"):
        stages.initialize(other(asked, model="models/other.onnx"), store)
    assert stored(bucket) == {}


@pytest.mark.parametrize("name", ["models/none.onnx", "none", "x" * 255])
def test_a_model_that_is_not_there_says_what_was_expected(asked: dict[str, Any], store: Store, name: str) -> None:
    with pytest.raises(ModelError, match=r"there is no such object in bucket 'sky'|ships with skyfan; there is"):
        planning.preview(other(asked, model=name), store)


def test_a_script_without_code_is_refused(asked: dict[str, Any], store: Store) -> None:
    del asked["model"]
    with pytest.raises(PayloadError, match=r"'script' is 'x\.py', but no 'S3_object_name'"):
        planning.preview(other(asked, script="x.py"), store)


@pytest.mark.parametrize("length", [1, 60, 200])
def test_a_model_with_weights_in_another_file_is_refused(
    asked: dict[str, Any], store: Store, root: Path, length: int
) -> None:
    model = onnx.load(root / "sky" / "models" / "tiny.onnx")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(4096, np.float32), "unused"))
    weights = "w" * length + ".bin"
    onnx.save(model, root / "sky" / "ext.onnx", save_as_external_data=True, location=weights, size_threshold=1024)
    assert (root / "sky" / weights).is_file()
    with pytest.raises(ModelError, match="keeps weights in another file"):
        planning.preview(other(asked, model="ext.onnx"), store)


def test_an_empty_model_is_refused(asked: dict[str, Any], store: Store, root: Path) -> None:
    (root / "sky" / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"empty\.onnx: cannot be loaded as ONNX"):
        planning.preview(other(asked, model="empty.onnx"), store)


def test_an_incomplete_set_below_the_prefix_is_refused(store: Store, root: Path, asked: dict[str, Any]) -> None:
    below = root / "sky" / "25MB" / "new"
    below.mkdir()
    write_partition(below / "1.safetensors", rows=3)
    (below / "index.json").write_bytes(b"{}")  # somebody else's
    assert len(planning.preview(parse_payload(asked)[0], store).tasks) == 5
    (below / "index.json").write_bytes(msgspec.json.encode(Index(1, 3, False, [])))
    with pytest.raises(SurveyError, match=r"25MB/new/: its index.json says that .* has not finished writing 3 rows"):
        planning.preview(parse_payload(asked)[0], store)


def test_no_key_of_a_plan_leaves_the_store(payload: Payload, store: Store, root: Path) -> None:
    write_partition(root.parent / "secret.safetensors", rows=7)
    task = planning.preview(payload, store).tasks[0]
    for key in ("../../secret.safetensors", str(root.parent / "secret.safetensors")):
        bad = msgspec.structs.replace(task, partitions=(msgspec.structs.replace(task.partitions[0], key=key),))
        with pytest.raises(KeyNameError):
            stages.infer(bad, store)
