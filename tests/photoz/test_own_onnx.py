"""Someone else's network that is ONNX already: it runs as it is, or renamed as the guide says."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pyarrow as pa
import pytest

import skyfan
from factories import make_rows, tiny_model, write_partition
from skyfan.photoz.onnx_file import open_session


@pytest.mark.parametrize(
    ("graph", "columns"),
    [
        (
            "(float[n,5,8,8] image) => (float[n,k] pixels) { pixels = Flatten(image) }",
            {"pixels": lambda rows: rows["image"].reshape(6, -1)},
        ),
        (
            "(double[n] ra, float[n,2] shape) => (double[n] two, float[n,2] s) { two = Add(ra, ra) s = Abs(shape) }",
            {"two": lambda rows: 2 * rows["ra"], "s": lambda rows: np.abs(rows["shape"])},
        ),
    ],
    ids=["image alone", "columns and a tensor of its own"],
)
def test_any_onnx_with_named_inputs_runs(tmp_path, graph, columns):
    bucket = tmp_path / "store" / "sky"
    rows = make_rows(6) | {"shape": np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)}
    write_partition(bucket / "data" / "1.safetensors", arrays=rows)
    onnx.save(onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]> g {graph}'), bucket / "any.onnx")
    payload = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "data", "result_path": "out", "model": "any.onnx"}
    table = pa.table(skyfan.run(payload, store=tmp_path / "store", workers=1).predictions())
    for name, expected in columns.items():
        np.testing.assert_allclose(np.stack(table[name].to_pylist()), expected(rows), rtol=1e-4)


def test_the_guides_renaming_makes_a_model_that_runs(tmp_path, monkeypatch):
    guide = (Path(__file__).parents[2] / "docs" / "your-own-model.md").read_text()
    block = next(text for text in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "renamed" in text)
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path / "theirs.onnx", image="input_1")
    exec(block.replace('"dense_4": "z_phot"', '"pdf": "pair"'), {})  # noqa: S102  as the guide tells its reader to do
    session = open_session(tmp_path / "model.onnx")
    assert [node.name for node in session.get_inputs()] == ["image", "magnitude"]
    assert [node.name for node in session.get_outputs()] == ["z_phot", "pair"]
