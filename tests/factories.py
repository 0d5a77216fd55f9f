"""Small partitions and models, made by the formats' own libraries rather than by skyfan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper

BANDS, SIDE = 5, 8


def make_rows(rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return the tensors of a good partition."""
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(rows, BANDS, SIDE, SIDE)).astype(np.float32),
        "magnitude": rng.uniform(14, 20, size=(rows, BANDS)).astype(np.float32),
        "redshift": rng.uniform(0, 0.4, size=rows).astype(np.float32),
        "object_id": np.arange(rows, dtype=np.int64) + 1000 * seed,
        "ra": rng.uniform(0, 360, size=rows),
        "dec": rng.uniform(-90, 90, size=rows),
    }


def write_partition(
    path: Path, rows: int = 8, seed: int = 0, arrays: Mapping[str, NDArray[Any]] | None = None
) -> dict[str, NDArray[Any]]:
    """Write a partition with the safetensors library; return what it holds."""
    content = dict(arrays) if arrays is not None else make_rows(rows, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(content, path)
    return content


def expected_z(content: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return what `tiny_model` predicts."""
    return content["magnitude"].mean(axis=1) / 100 + content["image"].mean(axis=(1, 2, 3))


def tiny_model(
    path: Path, *, metadata: Mapping[str, str] | None = None, image: str = "image", batch: Any = "n"
) -> Path:
    """Write a model with z_phot = mean(magnitude) / 100 + mean(image), and pdf = (magnitude, magnitude)."""
    hundred = helper.make_tensor("hundred", TensorProto.FLOAT, [], [100.0])
    axes = helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMean", ["magnitude", "one"], ["m"], keepdims=0),
        helper.make_node("Div", ["m", "hundred"], ["scaled"]),
        helper.make_node("ReduceMean", [image, "axes"], ["i"], keepdims=0),
        helper.make_node("Add", ["scaled", "i"], ["z_phot"]),
        helper.make_node("Concat", ["magnitude", "magnitude"], ["pdf"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(image, TensorProto.FLOAT, [batch, BANDS, SIDE, SIDE]),
            helper.make_tensor_value_info("magnitude", TensorProto.FLOAT, [batch, BANDS]),
        ],
        [
            helper.make_tensor_value_info("z_phot", TensorProto.FLOAT, [batch]),
            helper.make_tensor_value_info("pdf", TensorProto.FLOAT, [batch, 2 * BANDS]),
        ],
        [hundred, axes, one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
