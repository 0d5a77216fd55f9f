"""The exported file: the same redshifts as torch, any batch, and everything a run needs to know inside it."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import save_file

from photoz.small import TINY
from skyfan.errors import ModelError, SurveyError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz import export as module
from skyfan.photoz.calibration import LEAST_ROWS, calibrate
from skyfan.photoz.dataset import open_survey, split
from skyfan.photoz.export import KEPT_FLOAT, draw_galaxies, export, export_random, quantise
from skyfan.photoz.network import PhotoZ
from skyfan.photoz.onnx_file import load, set_metadata
from skyfan.photoz.posterior import ANOMALY_MEANING, OUTPUTS, UNUSUAL_ABOVE, Calibration
from skyfan.photoz.probability import parse_edges
from skyfan.screening import parse_unusual_above


def run(path, image, magnitude):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"image": image, "magnitude": magnitude}), strict=True))


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.fixture(scope="module")
def calibrated(trained, survey_file, tmp_path_factory):
    """Return a checkpoint with a calibration that changes everything."""
    loaded, data = checkpoints.load(trained), open_survey(survey_file, TINY)
    found = calibrate(loaded.averaged_network(), TINY, data, split(data.object_id)).tensors()
    found["cdf"] = torch.tensor([[0.0, 0.1, 0.5, 1.0], [0.0, 0.2, 0.55, 1.0]])
    path = tmp_path_factory.mktemp("calibrated") / "tiny.safetensors"
    checkpoints.save(path, replace(loaded, calibration=found))
    return path


@pytest.fixture(scope="module")
def exported(calibrated, survey_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    return export(calibrated, out, name="photoz-tiny", test=survey_file)


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_file_agrees_with_torch_at_any_batch(exported, calibrated, survey, rows):
    loaded = checkpoints.load(calibrated)
    image, magnitude = survey["image"][:rows], survey["magnitude"][:rows]
    calibration = Calibration.from_tensors(loaded.calibration, TINY.width)
    with torch.no_grad():
        model = PhotoZ(loaded.averaged_network(), loaded.record.config, calibration).eval()
        expected = model(torch.from_numpy(image), torch.from_numpy(magnitude))
    for name, ours in run(exported.path, image, magnitude).items():
        np.testing.assert_allclose(ours, getattr(expected, name).numpy(), atol=1e-4, rtol=1e-4, err_msg=name)
    assert exported.max_dz <= 1e-4
    assert exported.differences.keys() == OUTPUTS.keys()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["image", "magnitude"])
def test_row_that_is_not_finite_has_no_value_and_harms_no_other(exported, survey, bad, which):
    given = {name: survey[name][:4].copy() for name in ("image", "magnitude")}
    before = run(exported.path, **given)
    given[which][1].flat[3] = bad
    for name, after in run(exported.path, **given).items():
        assert np.isnan(after[1]).all(), name
        assert np.array_equal(after[[0, 2, 3]], before[name][[0, 2, 3]]), name


def test_file_names_its_inputs_and_outputs(exported):
    graph = onnx.load(exported.path).graph
    assert {i.name: i.type.tensor_type.shape.dim[0].dim_param for i in graph.input} == {
        "image": "batch",
        "magnitude": "batch",
    }
    assert [o.name for o in graph.output] == list(OUTPUTS)
    assert {i.type.tensor_type.elem_type for i in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


def test_metadata_says_what_a_run_needs(exported, survey):
    found = metadata(exported.path)
    assert set(found) == {
        "name", "version", "description", "trained_on", "outputs", "valid_range", "bands", "pixel_scale_arcsec",
        "metrics", "recipe", "seed", "pdf_edges", "anomaly_score", "unusual_above", "calibration",
    }  # fmt: skip
    assert found["name"] == "photoz-tiny"
    assert found["bands"] == "ugriz"
    assert found["pixel_scale_arcsec"] == "0.396"
    assert "skyfan-sim-2" in found["trained_on"]
    assert set(json.loads(found["outputs"])["z_phot"]) == {"unit", "ucd", "description"}
    assert parse_edges(found["pdf_edges"], "m").tolist() == pytest.approx(np.linspace(0.0, 0.4, 65).tolist())
    assert parse_unusual_above(found["unusual_above"], "m") == UNUSUAL_ABOVE
    assert found["anomaly_score"] == json.loads(found["outputs"])["anomaly_score"]["description"] == ANOMALY_MEANING
    assert json.loads(found["calibration"])["temperature"] > 0
    # 80-odd validation rows are counted down to 20
    assert json.loads(found["calibration"])["counted_to"] == pytest.approx(
        np.log10(len(split(survey["object_id"]).validation) / 20), abs=1e-3
    )
    ranges = json.loads(found["valid_range"])
    assert ranges["image"]["min"] < 0 < ranges["image"]["max"]
    assert len(ranges["magnitude"]["min"]) == len(ranges["magnitude"]["max"]) == 5
    assert json.loads(found["recipe"])["inception_channels"] == [4, 4, 4, 4, 2]
    assert json.loads(found["metrics"])["r2"] == exported.scores.r2
    assert json.loads(found["metrics"])["count"] == len(split(survey["object_id"]).test)
    assert json.loads(found["metrics"])["pit_ks"] == exported.pdf_scores.pit_ks
    assert 0.5 < json.loads(found["metrics"])["coverage_68"] < 0.9


def test_rows_that_were_trained_on_are_not_scored(trained, survey_file, survey, exported, tmp_path):
    held_back = len(split(survey["object_id"]).test)
    moved, shuffled, others = (tmp_path / f"{name}.safetensors" for name in ("moved", "shuffled", "others"))
    order = np.random.default_rng(1).permutation(len(survey["redshift"]))
    write(moved, survey)
    write(shuffled, survey, rows=order)
    write(others, survey, object_id=survey["object_id"] + 1_000_000)
    counts = {path: export(trained, tmp_path / "x.onnx", test=path).scores.count for path in (moved, shuffled, others)}
    assert counts == {moved: held_back, shuffled: held_back, others: len(order)}


def test_survey_of_an_older_training_is_known_by_its_names(trained, survey_file, survey, tmp_path):
    old, moved = tmp_path / "old.safetensors", tmp_path / "moved.safetensors"
    loaded = checkpoints.load(trained)
    checkpoints.save(old, replace(loaded, record=replace(loaded.record, training_ids_sha256="")))
    write(moved, survey)
    assert export(old, tmp_path / "x.onnx", test=survey_file).scores.count == len(split(survey["object_id"]).test)
    assert export(old, tmp_path / "x.onnx", test=moved).scores.count == len(survey["redshift"])


def write(path, survey, rows=slice(None), **changes):
    save_file({name: np.ascontiguousarray(values[rows]) for name, values in (survey | changes).items()}, path)


def test_too_few_rows_to_test_with_are_refused(trained, survey, tmp_path):
    few = tmp_path / "few.safetensors"
    write(few, survey, rows=slice(LEAST_ROWS - 1))
    for int8 in (False, True):
        with pytest.raises(SurveyError, match=r"few.safetensors has 49 rows to test with.*50 or more - give a larger"):
            export(trained, tmp_path / "x.onnx", test=few, int8=int8)
    assert not (tmp_path / "x.onnx").exists()


def test_figures_that_are_not_defined_are_null(trained, survey, tmp_path):
    same = tmp_path / "same.safetensors"
    write(same, survey, rows=slice(LEAST_ROWS), redshift=np.full_like(survey["redshift"], 0.1))
    found = metadata(export(trained, tmp_path / "x.onnx", test=same).path)
    assert json.loads(found["metrics"])["r2"] is None
    assert not any("NaN" in text or "Infinity" in text for text in found.values())


def test_what_is_compared_on_looks_like_galaxies(trained, survey):
    loaded = checkpoints.load(trained)
    network = loaded.averaged_network()
    image, magnitude = draw_galaxies(loaded.record, network)
    assert image.shape == (64, 5, 32, 32)
    low, high = (torch.tensor(values) for values in loaded.record.valid_range.magnitude)
    assert ((magnitude >= low) & (magnitude <= high)).all()
    assert image.min() >= loaded.record.valid_range.image[0]
    assert image.max() <= loaded.record.valid_range.image[1]
    stretched, _ = network.normalise(image, magnitude)
    theirs, _ = network.normalise(torch.from_numpy(survey["image"]), torch.from_numpy(survey["magnitude"]))
    torch.testing.assert_close(stretched.std(), theirs.std(), rtol=0.5, atol=0)
    centre, corner = image[:, :, 14:18, 14:18].mean(dim=(2, 3)), image[:, :, :4, :4].mean(dim=(2, 3))
    assert (centre > corner).float().mean() > 0.9


def test_file_holds_no_trace_of_this_machine(exported):
    content = exported.path.read_bytes()
    assert b"/" + b"work" not in content
    assert b".py" not in content
    assert list(exported.path.parent.iterdir()) == [exported.path]


def test_int8_is_smaller_and_nearly_the_same(exported, calibrated, survey, survey_file, tmp_path):
    small = export(calibrated, tmp_path / "small.onnx", int8=True, test=survey_file)
    found = metadata(small.path)
    assert json.loads(found["recipe"])["weights"] == "int8"
    assert small.max_dz < 0.01
    assert json.loads(found["int8_change"]) == {"survey": survey_file.name, **small.int8_change}
    assert 0 < small.int8_change["max_dz"] < 0.01
    assert abs(small.int8_change["sigma_nmad_relative"]) < 0.05
    graph = onnx.load(small.path).graph
    assert {"MatMulInteger", "DynamicQuantizeLinear", "Conv"} <= {node.op_type for node in graph.node}
    assert any(node.op_type == "MatMul" and "calibration.whitening" in node.input for node in graph.node)
    assert not any(i.name.startswith(KEPT_FLOAT) for i in graph.initializer if i.data_type == onnx.TensorProto.INT8)
    image, magnitude = survey["image"][:64], survey["magnitude"][:64]
    before, after = (run(path, image, magnitude) for path in (exported.path, small.path))
    np.testing.assert_allclose(after["z_phot"], before["z_phot"], atol=0.01)
    moved = np.abs(after["anomaly_score"] - before["anomaly_score"])
    assert np.sqrt(np.mean(moved**2)) < 0.1


def test_checkpoint_without_calibration_is_exported_as_it_is(trained, tmp_path):
    plain = tmp_path / "plain.safetensors"
    checkpoints.save(plain, replace(checkpoints.load(trained), calibration={}))
    found = metadata(export(plain, tmp_path / "x.onnx").path)
    assert not {"unusual_above", "anomaly_score", "calibration", "int8_change"} & found.keys()
    assert "not calibrated" in json.loads(found["outputs"])["anomaly_score"]["description"]


def test_calibration_of_another_network_is_refused(trained, tmp_path):
    path = tmp_path / "other.safetensors"
    other = Calibration.none(TINY.width + 1).tensors()
    checkpoints.save(path, replace(checkpoints.load(trained), calibration=other))
    with pytest.raises(ModelError, match=r"other.safetensors: the calibration has feature_mean of shape \(17,\)"):
        export(path, tmp_path / "x.onnx")


def test_checkpoint_in_its_pretraining_is_named(trained, tmp_path):
    path = tmp_path / "early.safetensors"
    loaded = checkpoints.load(trained)
    checkpoints.save(path, replace(loaded, average={}, record=replace(loaded.record, step=0)))
    with pytest.raises(ModelError, match=r"early.safetensors: it is in its pretraining; .* skyfan train --resume"):
        export(path, tmp_path / "x.onnx")


def test_quantised_file_keeps_its_metadata(exported, tmp_path):
    assert metadata(quantise(exported.path, tmp_path / "int8.onnx")) == metadata(exported.path)


def test_random_network_comes_in_both_precisions(tmp_path, survey):
    plain, int8 = export_random(tmp_path / "random.onnx", TINY, seed=3)
    assert (plain.name, int8.name) == ("random.onnx", "random-int8.onnx")
    for path in (plain, int8):
        found = run(path, survey["image"][:2], survey["magnitude"][:2])
        assert all(np.isfinite(values).all() for values in found.values())
        assert metadata(path)["name"] == path.stem


def test_file_that_disagrees_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "compare", lambda *_: {"z_phot": 0.0, "odds": 2e-4})
    with pytest.raises(ModelError, match=r"differs from torch by 2.0e-04 in odds, expected at most 1e-04"):
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
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"empty.onnx holds no network; expected an ONNX file"):
        load(tmp_path / "empty.onnx")
