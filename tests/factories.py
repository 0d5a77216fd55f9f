"""Small partitions and models, made by the formats' own libraries rather than by skyfan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
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


def parsed_model(graph: str, **metadata: str) -> bytes:
    """Return a model written in ONNX's own notation."""
    built = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> g {graph}')
    for key, value in metadata.items():
        built.metadata_props.add(key=key, value=value)
    return built.SerializeToString()


def doubtful_model(**metadata: str) -> bytes:
    """Return a model of which each output fails by itself.

    z_phot = 3 / mean(magnitude), infinite where that is 0; its intervals are as wide as sqrt(min(magnitude)), NaN where
    that is negative; pdf = magnitude / magnitude, NaN where one is 0; anomaly_score = max(magnitude).
    """
    return parsed_model(
        """(float[n,5] magnitude) => (float[n] z_phot, float[n] z_l68, float[n] z_u68, float[n] z_l95, float[n] z_u95,
            float[n,5] pdf, float[n] anomaly_score)
        <int64[1] one = {1}, float[1] three = {3.0}, float[1] forty = {40.0}> {
            mean = ReduceMean<keepdims=0>(magnitude, one)
            z_phot = Div(three, mean)
            faintest = ReduceMin<keepdims=0>(magnitude, one)
            root = Sqrt(faintest)
            half = Div(root, forty)
            z_l68 = Sub(z_phot, half)
            z_u68 = Add(z_phot, half)
            z_l95 = Sub(z_l68, half)
            z_u95 = Add(z_u68, half)
            pdf = Div(magnitude, magnitude)
            anomaly_score = ReduceMax<keepdims=0>(magnitude, one)
        }""",
        **metadata,
    )


UNUSUAL_ABOVE = 50.0
"""For the `anomaly_score` of `doubtful_rows`."""


def doubtful_rows(rows: int = 12, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return a partition for `doubtful_model`.

    Row 1 has no pdf, row 2 no output at all, row 3 no intervals, row 4 no redshift and no intervals, row 5 is unusual.
    """
    content = make_rows(rows, seed)
    content["magnitude"][1, 2] = 0
    content["magnitude"][2, 2] = np.nan
    content["magnitude"][3, 2] = -1
    content["magnitude"][4] = [-2, -1, 1, 1, 1]
    content["magnitude"][5, 2] = 99
    return content
