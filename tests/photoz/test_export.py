"""The exported file: the same redshifts as torch, any batch, and everything a run needs to know inside it."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from photoz.small import TINY
from skyfan.errors import ModelError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz import export as module
from skyfan.photoz.export import export, export_random, quantise
from skyfan.photoz.network import PhotoZ
from skyfan.photoz.onnx_file import set_metadata


def run(path, image, magnitude):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["z_phot", "z_phot_std"], {"image": image, "magnitude": magnitude})


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.fixture(scope="module")
def exported(trained, survey_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    return export(trained, out, name="photoz-tiny", test=survey_file)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_file_agrees_with_torch_at_any_batch(exported, trained, survey, rows):
    loaded = checkpoints.load(trained)
    image, magnitude = survey["image"][:rows], survey["magnitude"][:rows]
    with torch.no_grad():
        model = PhotoZ(loaded.averaged_network(), loaded.record.config).eval()
        expected = model(torch.from_numpy(image), torch.from_numpy(magnitude))
    for ours, theirs in zip(run(exported.path, image, magnitude), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
    assert exported.max_dz <= 1e-4


def test_file_names_its_inputs_and_outputs(exported):
    graph = onnx.load(exported.path).graph
    assert {i.name: i.type.tensor_type.shape.dim[0].dim_param for i in graph.input} == {
        "image": "batch",
        "magnitude": "batch",
    }
    assert [o.name for o in graph.output] == ["z_phot", "z_phot_std"]
    assert {i.type.tensor_type.elem_type for i in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


def test_metadata_says_what_a_run_needs(exported, survey):
    found = metadata(exported.path)
    assert set(found) == {
        "name", "version", "description", "trained_on", "outputs", "valid_range", "bands", "pixel_scale_arcsec",
        "metrics", "recipe", "seed",
    }  # fmt: skip
    assert found["name"] == "photoz-tiny"
    assert found["bands"] == "ugriz"
    assert found["pixel_scale_arcsec"] == "0.396"
    assert "skyfan-sim-2" in found["trained_on"]
    assert set(json.loads(found["outputs"])["z_phot"]) == {"unit", "description"}
    ranges = json.loads(found["valid_range"])
    assert ranges["image"]["min"] < 0 < ranges["image"]["max"]
    assert len(ranges["magnitude"]["min"]) == len(ranges["magnitude"]["max"]) == 5
    assert json.loads(found["recipe"])["inception_channels"] == [4, 4, 4, 4, 2]
    assert json.loads(found["metrics"])["r2"] == exported.scores.r2
    assert json.loads(found["metrics"])["count"] == len(survey["redshift"])


def test_file_holds_no_trace_of_this_machine(exported):
    content = exported.path.read_bytes()
    assert b"/" + b"work" not in content
    assert b".py" not in content
    assert list(exported.path.parent.iterdir()) == [exported.path]


def test_int8_is_smaller_and_nearly_the_same(exported, trained, survey, tmp_path):
    small = export(trained, tmp_path / "small.onnx", int8=True)
    assert json.loads(metadata(small.path)["recipe"])["weights"] == "int8"
    assert small.max_dz < 0.01
    operators = {node.op_type for node in onnx.load(small.path).graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear", "Conv"} <= operators
    image, magnitude = survey["image"][:64], survey["magnitude"][:64]
    np.testing.assert_allclose(run(small.path, image, magnitude)[0], run(exported.path, image, magnitude)[0], atol=0.01)


def test_quantised_file_keeps_its_metadata(exported, tmp_path):
    assert metadata(quantise(exported.path, tmp_path / "int8.onnx")) == metadata(exported.path)


def test_random_network_comes_in_both_precisions(tmp_path, survey):
    plain, int8 = export_random(tmp_path / "random.onnx", TINY, seed=3)
    assert (plain.name, int8.name) == ("random.onnx", "random-int8.onnx")
    for path in (plain, int8):
        assert np.isfinite(run(path, survey["image"][:2], survey["magnitude"][:2])[0]).all()
        assert metadata(path)["name"] == path.stem


def test_file_that_disagrees_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_difference", lambda *_: 2e-4)
    with pytest.raises(ModelError, match=r"differs from torch by 2.0e-04 in dz, expected at most 1e-04"):
        export(trained, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_export_of_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ModelError, match="there is no checkpoint"):
        export(tmp_path / "absent", tmp_path / "x.onnx")


def test_files_that_cannot_be_used_are_refused(exported, trained, tmp_path):
    with pytest.raises(ModelError, match="expected the name of a file in a folder that exists"):
        export(trained, tmp_path / "absent" / "x.onnx")
    with pytest.raises(ModelError, match="cannot write the model"):
        set_metadata(exported.path, tmp_path, {})
    (tmp_path / "text.onnx").write_text("this is not a model")
    for path in (tmp_path / "text.onnx", tmp_path / "absent.onnx"):
        with pytest.raises(ModelError, match="expected an ONNX file"):
            quantise(path, tmp_path / "x.onnx")
