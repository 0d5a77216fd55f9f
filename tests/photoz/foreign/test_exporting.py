"""Someone else's network, pickled whole: exported where its user trusts it."""

import hashlib
import json

import numpy as np
import onnx
import onnx.parser
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from torch.utils.data import TensorDataset

import skyfan
from factories import BANDS, SIDE, make_rows, write_partition
from photoz.foreign.networks import GIVEN, forget_code, metadata
from skyfan.cli import cli
from skyfan.errors import ModelError


def torch_says(code, path, monkeypatch, *inputs):
    """What the network gives without skyfan."""
    monkeypatch.syspath_prepend(code)
    with torch.no_grad():
        result = torch.load(path, weights_only=False).module(*inputs).numpy()
    forget_code()
    return result


def test_a_pickled_checkpoint_becomes_a_model_that_runs(saved, code, tmp_path, monkeypatch):
    bucket = tmp_path / "store" / "sky"
    (bucket / "25MB").mkdir(parents=True)
    images, magnitudes, redshifts = (torch.from_numpy(make_rows(9)[k]) for k in ("image", "magnitude", "redshift"))
    torch.save(TensorDataset(images, magnitudes.double(), redshifts), bucket / "25MB" / "1.pt")
    command = ["export", str(saved / "Listed.pt"), str(bucket / "own.onnx"), "--trust-pickle", "--code", str(code)]
    command += ["--test", str(bucket / "25MB" / "1.pt"), "--metadata", "bands=ugriz"]
    done = CliRunner().invoke(cli, [*command, "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    assert told["translation"]["inputs_as"] == "list"
    assert told["translation"]["inputs"] == {"image": [5, 8, 8], "magnitude": [5]}
    assert told["translation"]["traced"] == ""
    assert told["compared_rows"] == 64 + 9
    assert told["max_difference"] <= 1e-4
    assert told["scores"]["count"] == 9
    assert sorted(path.name for path in code.rglob("*")) == ["__init__.py", "net.py", "ownmae"], "no __pycache__"

    payload = {"bucket": "sky", "data_bucket": "sky", "data_prefix": "25MB", "result_path": "out", "model": "own.onnx"}
    run = skyfan.run(payload | {"batch_size": 4}, store=tmp_path / "store", workers=1)
    table = pa.table(run.predictions())
    assert table.column_names == ["source", "row", "z_spec", "z_phot", "flags"]
    expected = torch_says(code, saved / "Listed.pt", monkeypatch, [images, magnitudes])
    np.testing.assert_allclose(table["z_phot"].to_numpy(), expected[:, 0], rtol=1e-4)
    assert run.summary.complete


def test_metadata_says_where_the_model_is_from(export, saved):
    ranges = json.dumps({"magnitude": {"min": 14, "max": 22}})
    written = export("Arguments", name="own", outputs=["z_ours"], metadata={"valid_range": ranges})
    found = metadata(written.path)
    assert (found["name"], found["version"], found["exported_from"]) == ("own", "1", "Arguments.pt")
    assert found["checkpoint_sha256"] == hashlib.sha256((saved / "Arguments.pt").read_bytes()).hexdigest()
    assert json.loads(found["outputs"]) == {"z_ours": {"unit": "", "description": "z_ours of own"}}
    assert found["valid_range"] == ranges
    assert [node.name for node in onnx.load(written.path).graph.output] == ["z_ours"]
    assert b".py" not in written.path.read_bytes()
    with pytest.raises(ModelError, match="'valid_range' names 'z', which is not an input"):
        export("Arguments", metadata={"valid_range": json.dumps({"z": {"min": 0, "max": 1}})})


@pytest.mark.parametrize(
    ("name", "options", "way", "outputs"),
    [
        ("Turned", {}, "arguments", {"z_phot": []}),
        ("Either", {"inputs_as": "list"}, "list", {"z_phot": []}),
        ("ImageOnly", {"inputs": {"image": (BANDS, SIDE, SIDE)}}, "arguments", {"output": [16]}),
        ("Named", {}, "arguments", {"z_phot": [], "pdf": [3]}),
        ("Pair", {}, "arguments", {"output_1": [], "output_2": []}),
        ("Pair", {"outputs": ["z_phot", "z_phot_std"]}, "arguments", {"z_phot": [], "z_phot_std": []}),
        ("dict", {}, "arguments", {"z_phot": []}),
        ("several", {}, "arguments", {"z_phot": []}),
    ],
)
def test_how_a_network_is_called_and_what_it_gives_is_found_out(export, name, options, way, outputs):
    found = export(name, **options).translation
    assert (found.inputs_as, found.outputs) == (way, outputs)
    assert found.key == ("model" if name in {"dict", "several"} else "")


def test_a_network_of_images_alone_needs_no_word(here, saved, code, tmp_path):
    test = tmp_path / "rows.safetensors"
    write_partition(test, rows=5)
    written = skyfan.export(saved / "ImageOnly.pt", tmp_path / "x.onnx", trust_pickle=True, code=code, test=test)
    assert list(written.translation.inputs) == ["image"]
    assert written.compared_rows == 64 + 5
    assert written.scores is None


def test_a_network_that_only_tracing_can_export_says_so(saved, code, tmp_path):
    command = ["export", str(saved / "Branches.pt"), str(tmp_path / "x.onnx"), "--trust-pickle", "--code", str(code)]
    done = CliRunner().invoke(cli, [*command, *GIVEN], catch_exceptions=False)
    assert "it was traced, for torch's newer exporter could not (" in done.stdout
    assert "Branches takes image (n, 5, 8, 8), magnitude (n, 5) as arguments, and gives z_phot (n,)" in done.stdout


def test_int8_says_what_it_changes(export):
    plain, small = export("Arguments"), export("Arguments", int8=True)
    assert small.max_difference > plain.max_difference
    assert "MatMulInteger" in {node.op_type for node in onnx.load(small.path).graph.node}
