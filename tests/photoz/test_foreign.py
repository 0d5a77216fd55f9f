"""Someone else's network, pickled whole: exported where its user trusts it, refused with the reason where not."""

import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from torch.utils.data import TensorDataset

import skyfan
from factories import BANDS, SIDE, make_rows, tiny_model, write_partition
from skyfan.cli import cli
from skyfan.errors import InputError, ModelError
from skyfan.photoz import target
from skyfan.photoz.foreign import exporting, writing
from skyfan.photoz.foreign.asked import MAX_ELEMENTS
from skyfan.photoz.foreign.exchange import read_result
from skyfan.photoz.foreign.parity import relative
from skyfan.photoz.foreign.pickles import is_pickled
from skyfan.photoz.foreign.process import translate_elsewhere
from skyfan.photoz.foreign.translation import translate as translate_here
from skyfan.photoz.onnx_file import open_session, quiet

NETWORKS = f'''
import os
import torch
from torch import nn


class Base(nn.Module):
    """Shaped like AstroMAE: patches of the image, a branch for magnitudes, a number a row."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d({BANDS}, 4, 4, 4)
        self.norm = nn.BatchNorm2d(4)
        self.magnitudes = nn.Linear({BANDS}, 6)
        self.head = nn.Linear(10, 1)
        self.eval()

    def z(self, image, magnitude):
        features = self.norm(self.patches(image)).flatten(2).mean(2)
        return self.head(torch.cat([features, torch.relu(self.magnitudes(magnitude.float()))], dim=1))


class Listed(Base):
    def forward(self, inputs):
        print("a line that belongs into nobody's output")
        image, magnitude = inputs
        return self.z(image, magnitude)


class Arguments(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude)


class Turned(Base):
    def forward(self, magnitude, image):
        return self.z(image, magnitude)


class Either(Base):
    def forward(self, first, second=None):
        if second is None:
            return self.z(*first)
        return 2 * self.z(first, second)


class ImageOnly(Base):
    def forward(self, x):
        return self.norm(self.patches(x)).flatten(1)


class Named(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return {{"z_phot": z, "pdf": torch.softmax(torch.cat([z, -z, 2 * z], dim=1), dim=1)}}


class Pair(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return z, z.abs()


class WithLoss(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude), None


class Nothing(Base):
    def forward(self, image, magnitude):
        return ()


class Fails(Base):
    def forward(self, image, magnitude):
        raise RuntimeError("the weights are of another size")


class OneInAll(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude).mean()


class Chancy(Base):
    def forward(self, image, magnitude):
        return nn.functional.dropout(self.z(image, magnitude), 0.5)


class Neighbours(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return z - z.mean()


class Branches(Base):
    def forward(self, image, magnitude):
        if image.abs().max() > 1e9:
            return self.z(image * 0, magnitude)
        return self.z(image, magnitude)


class RowByRow(Base):
    def forward(self, image, magnitude):
        return torch.cat([self.z(image[n : n + 1], magnitude[n : n + 1]) for n in range(len(image))])


class OutsideTorch(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude) + torch.tensor([[sum(row)] for row in magnitude.tolist()])


class NoOperator(Base):
    def forward(self, image, magnitude):
        return torch.linalg.svdvals(image[:, 0])


class NotANumber(Base):
    def forward(self, image, magnitude):
        return self.z(image, magnitude) * float("nan")


class NanWhereFaint(Base):
    def forward(self, image, magnitude):
        z = self.z(image, magnitude)
        return torch.where(magnitude[:, :1] > 17, torch.full_like(z, float("nan")), z)


class OldCode(Base):
    def __setstate__(self, state):
        torch.no_such_function()

    def forward(self, image, magnitude):
        return self.z(image, magnitude)


class Ends(Base):
    def forward(self, image, magnitude):
        os._exit(7)
'''

MAKE = """
import sys, torch
from torch import nn
from ownmae import net
folder = sys.argv[1]
kinds = [value for value in vars(net).values() if isinstance(value, type) and issubclass(value, net.Base)]
for kind in kinds:
    torch.manual_seed(3)
    torch.save(nn.DataParallel(kind()), f"{folder}/{kind.__name__}.pt")
torch.save({"epoch": 3, "model": net.Arguments(), "optimizer": {}}, f"{folder}/dict.pt")
torch.save({"first": net.Arguments(), "second": net.Listed()}, f"{folder}/two.pt")
torch.save({"ema": net.Listed(), "model": net.Arguments(), "other": net.Listed()}, f"{folder}/several.pt")
torch.save(net.Arguments().state_dict(), f"{folder}/weights.pt")
torch.save({"epoch": 3, "state_dict": net.Arguments().state_dict()}, f"{folder}/nested.pt")
torch.save({"epoch": 3}, f"{folder}/nothing.pt")
net.Gone = type("Gone", (net.Base,), {"__module__": "ownmae.net"})
torch.save(net.Gone(), f"{folder}/Gone.pt")
"""

SHAPES = {"image": (BANDS, SIDE, SIDE), "magnitude": (BANDS,)}
GIVEN = ["--input", f"image={BANDS}x{SIDE}x{SIDE}", "--input", f"magnitude={BANDS}"]


@pytest.fixture(scope="session")
def code(tmp_path_factory) -> Path:
    """The code folder of someone else."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "ownmae").mkdir()
    (folder / "ownmae" / "__init__.py").touch()
    (folder / "ownmae" / "net.py").write_text(NETWORKS)
    return folder


@pytest.fixture(scope="session")
def saved(code, tmp_path_factory) -> Path:
    """A folder with a checkpoint of each network, saved by another process."""
    folder = tmp_path_factory.mktemp("saved")
    subprocess.run([sys.executable, "-B", "-c", MAKE, str(folder)], cwd=code, check=True)
    return folder


def forget_code():
    for name in [name for name in sys.modules if name.startswith("ownmae")]:
        del sys.modules[name]


@pytest.fixture
def here(monkeypatch):
    """Translate in this process: as quick as tests of many networks should be."""

    def translate(folder, checkpoint):
        path = list(sys.path)
        try:
            translate_here(folder)
        finally:
            sys.path[:] = path
            forget_code()
        found = read_result(folder)
        if isinstance(found, ModelError):
            raise ModelError(f"{checkpoint}: {found}")
        return found

    monkeypatch.setattr(exporting, "translate_elsewhere", translate)


@pytest.fixture
def export(here, saved, code, tmp_path):
    """Export one of the networks."""

    def call(network, **options):
        options = {"code": code, "inputs": SHAPES} | options
        return skyfan.export(saved / f"{network}.pt", tmp_path / f"{network}.onnx", trust_pickle=True, **options)

    return call


def torch_says(code, path, monkeypatch, *inputs):
    """What the network gives without skyfan."""
    monkeypatch.syspath_prepend(code)
    with torch.no_grad():
        result = torch.load(path, weights_only=False).module(*inputs).numpy()
    forget_code()
    return result


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


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


def survey(folder, **changes):
    """A survey of 40 rows, of which some columns are others."""
    path = folder / "rows.safetensors"
    write_partition(path, arrays=make_rows(40) | changes)
    return path


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_rows_without_a_redshift_are_not_scored(export, tmp_path_factory):
    test = survey(tmp_path_factory.mktemp("test"))
    written = export("NanWhereFaint", test=test)
    predicted = make_rows(40)["magnitude"][:, 0] <= 17
    assert 0 < predicted.sum() < 40
    assert written.scores.count == predicted.sum()
    assert np.isfinite(written.scores.bias)
    found = strict(metadata(written.path)["metrics"])
    assert (found["count"], found["survey"]) == (predicted.sum(), "rows.safetensors")


@pytest.mark.parametrize("known", [1, 0])
def test_a_score_that_is_not_defined_is_null(export, tmp_path_factory, known):
    redshift = np.where(np.arange(40) < known, 0.1, -1).astype(np.float32)
    written = export("Arguments", test=survey(tmp_path_factory.mktemp("test"), redshift=redshift))
    assert (written.scores is not None) == bool(known)
    found = metadata(written.path).get("metrics")
    assert (strict(found)["count"], strict(found)["r2"]) == (1, None) if known else found is None


def test_a_survey_without_a_finite_row_is_refused(export, tmp_path_factory):
    test = survey(tmp_path_factory.mktemp("test"), magnitude=np.full((40, BANDS), np.nan))
    with pytest.raises(ModelError, match=r"none of its 40 rows is finite in image, magnitude; .* leave --test away"):
        export("Arguments", test=test)


def test_finite_rows_are_found_wherever_they_are(export, tmp_path_factory):
    test = tmp_path_factory.mktemp("test") / "rows.safetensors"
    rows = make_rows(4500)
    rows["magnitude"][:4480] = np.nan
    write_partition(test, arrays=rows)
    assert export("Arguments", test=test).compared_rows == 64 + 20


def test_no_input_is_written_over(here, saved, code, tmp_path):
    checkpoint, test = tmp_path / "model.pt", survey(tmp_path)
    checkpoint.write_bytes((saved / "Arguments.pt").read_bytes())
    (tmp_path / "link.onnx").symlink_to(test)
    (tmp_path / "hard.onnx").hardlink_to(checkpoint)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for out in before:
        with pytest.raises(
            ModelError, match=r"is the same file as .*, which is read: it would be lost; expected a new"
        ):
            skyfan.export(checkpoint, out, trust_pickle=True, code=code, inputs=SHAPES, test=test)
    with pytest.raises(ModelError, match=r"/dev/null cannot be written; expected the name of a file"):
        skyfan.export(checkpoint, "/dev/null", trust_pickle=True, code=code, inputs=SHAPES)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_leaves_the_model_that_was_there(export, tmp_path, monkeypatch):
    def half(file, beside):
        beside.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(target.shutil, "copyfile", half)
    (tmp_path / "Arguments.onnx").write_bytes(b"before")
    with pytest.raises(ModelError, match=r"No space left on device.* expected a place with room"):
        export("Arguments")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_what_the_exporter_wrote_may_not_fit(export, monkeypatch):
    def save(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.onnx, "save", save)
    with pytest.raises(ModelError, match=r"cannot be written .*No space left.*; expected room in .* set TMPDIR"):
        export("Arguments")


def as_other_process(folder, monkeypatch, script):
    """Have a shell script run in the place of the other process."""
    shell = folder / "python"
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(shell))
    with pytest.raises(ModelError) as refused:
        translate_elsewhere(folder, Path("model.pt"))
    return str(refused.value)


@pytest.mark.parametrize(("number", "said"), [(9, "signal 9, Killed"), (40, "signal 40, Real-time signal 6")])
def test_any_signal_is_named(tmp_path, monkeypatch, number, said):
    assert f"ended the process that exported it ({said})" in as_other_process(
        tmp_path, monkeypatch, f"kill -{number} $$"
    )


def test_their_code_is_not_handed_what_looks_secret(tmp_path, monkeypatch):
    names = ["AWS_PROFILE", "GITHUB_TOKEN", "api_key", "DB_PASSWORD", "CLIENT_SECRET", "PGPASSWORD"]
    for name in (*names, "HARMLESS"):
        monkeypatch.setenv(name, "told")
    script = f"head -c 100000 /dev/zero >&2; echo >&2; echo {' '.join(f'${name}' for name in names)} ${{HARMLESS}} >&2"
    assert "(exit code 5: told)" in as_other_process(tmp_path, monkeypatch, f"{script}; exit 5")


def test_int8_says_what_it_changes(export):
    plain, small = export("Arguments"), export("Arguments", int8=True)
    assert small.max_difference > plain.max_difference
    assert "MatMulInteger" in {node.op_type for node in onnx.load(small.path).graph.node}


class Witness:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_nothing_of_a_pickle_runs_unless_it_is_trusted(tmp_path, zipped):
    checkpoint, seen, out = tmp_path / "model.pt", tmp_path / "seen", tmp_path / "x.onnx"
    torch.save(Witness(seen), checkpoint, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelError, match=r"is a pickle, .* runs code that is in it; .* give --trust-pickle"):
        CliRunner().invoke(cli, ["export", str(checkpoint), str(out)], catch_exceptions=False)
    assert not seen.exists()
    with pytest.raises(ModelError, match=r"holds a NoneType; expected a torch\.nn\.Module"):
        skyfan.export(checkpoint, out, trust_pickle=True)
    assert seen.exists(), "it is that file that tells"
    assert not out.exists()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_is_known_as_one(tmp_path, protocol):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": list(range(300))}, protocol))
    assert is_pickled(path)


def test_a_safetensors_file_is_none_whatever_its_length_says(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes((0x0280).to_bytes(8, "little") + b"{" + b" " * 0x300)
    assert not is_pickled(path)


@pytest.mark.parametrize(
    "options", [{"code": "x"}, {"inputs": SHAPES}, {"inputs_as": "list"}, {"outputs": ["z"]}, {"metadata": {"a": "b"}}]
)
def test_what_is_for_pickles_is_refused_without_trust(tmp_path, options):
    with pytest.raises(InputError, match=f"'{next(iter(options))}' was given without trust_pickle") as refused:
        skyfan.export(tmp_path / "photoz.safetensors", tmp_path / "x.onnx", **options)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Listed", {"code": None}, "needs the module 'ownmae', which cannot be imported - give --code FOLDER"),
        ("Gone", {}, "the code has not what the checkpoint names .*Gone.* give that version with --code"),
        ("OldCode", {}, "has not what is asked of it .*no_such_function.* packages of the versions that it was saved"),
        ("weights", {}, r"holds weights alone \(a state_dict\), .* torch.save\(network, FILE\), and export FILE"),
        ("nested", {}, "holds weights alone"),
        ("nothing", {}, r"holds a dict with the keys epoch; expected a torch\.nn\.Module"),
        ("two", {}, "holds a dict with the keys first, second; expected"),
        ("Fails", {}, "image, magnitude as arguments: RuntimeError: the weights are of another size - name its inputs"),
        (
            "Arguments",
            {"inputs": {"image": (4, 8, 8), "magnitude": (5,)}},
            "forward fails on 3 rows .* name its inputs in order, and the shape",
        ),
        ("OneInAll", {}, r"output 0 has the shape \(\) for 3 rows; expected one number or list a row"),
        ("WithLoss", {}, "output 1 is NoneType; expected tensors"),
        ("Chancy", {}, "gives other results when it is called again on the same rows"),
        ("Neighbours", {}, "the result of a row changes with the rows beside it"),
        ("Either", {}, "as a list and as arguments, and gives different results; say which"),
        (
            "Pair",
            {"outputs": ["z"]},
            r"returns 2 output\(s\) of the shapes \[\[\], \[\]\] a row, named are z; expected",
        ),
        ("Pair", {"outputs": ["image", "z"]}, "an output is called 'image', as an input is"),
        ("Arguments", {"inputs_as": "lists"}, "inputs_as is 'lists'; expected one of list, arguments"),
        ("Arguments", {"outputs": "z_phot"}, "outputs is 'z_phot'; expected a list of names"),
        ("Arguments", {"outputs": [""]}, r"outputs is \[''\]; expected a list of names"),
        ("Arguments", {"inputs": {"image": (-5, 3)}}, r"input 'image' has the shape \(-5, 3\); expected .* 1 or more"),
        ("Arguments", {"inputs": {"image": (0,)}}, "expected a name, and the sizes of a row, each 1 or more"),
        ("Arguments", {"inputs": {"image": "5x8x8"}}, "input 'image' has the shape '5x8x8'; expected"),
        ("Arguments", {"inputs": {"image": (5, 8.5)}}, r"input 'image' has the shape \(5, 8.5\); expected"),
        ("Arguments", {"inputs": {"image": 5}}, "input 'image' has the shape 5; expected"),
        ("Arguments", {"inputs": {"": (5,)}}, r"input '' has the shape \(5,\); expected a name"),
        ("Arguments", {"inputs": {"image": (5, 10**6, 10**6)}}, f"expected at most {MAX_ELEMENTS:,} - give the shape"),
        ("Arguments", {"metadata": {"bands": ["u", "g"]}}, r"metadata 'bands' is \['u', 'g'\]; expected text"),
        ("Arguments", {"metadata": {"outputs": '{"nope'}}, "metadata 'outputs' is '{\"nope'; expected a JSON object"),
        (
            "Arguments",
            {"metadata": {"outputs": '{"z": "mag"}'}},
            "expected a JSON object, for each output one with its",
        ),
        ("Arguments", {"metadata": {"outputs": "[]"}}, "expected a JSON object"),
        (
            "Named",
            {"metadata": {"pdf_edges": "[0, 1, 2]"}},
            r"'pdf' has the shape \(any, 3\) .* 3 numbers; expected one",
        ),
        (
            "Named",
            {"metadata": {"valid_range": '{"magnitude": {"min": [1, 2], "max": 3}}'}},
            "'magnitude' in its metadata 'valid_range' .* expected one number, or a list of 5",
        ),
        ("Nothing", {}, "it returns nothing"),
        ("Arguments", {"outputs": ["flags"]}, "an output is called 'flags', which is a column of its own"),
        ("RowByRow", {}, "the exported file (differs from torch|fails on a batch)"),
        ("OutsideTorch", {}, "the exported file (differs from torch|fails on a batch)"),
        ("NoOperator", {}, r"torch cannot export the network, neither by following its code \(.*\) nor by tracing it"),
        ("NotANumber", {}, "gives no finite number on any row compared - give rows as it knows with --test"),
    ],
)
def test_a_network_that_cannot_be_used_says_why(export, tmp_path, name, options, message):
    with pytest.raises(ModelError, match=rf"(?s){message}"):
        export(name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_disagrees_is_refused(export, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "difference", lambda *_: 2e-4)
    with pytest.raises(ModelError, match=r"differs from torch by 2\.0e-04, expected at most 1e-04"):
        export("Arguments")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("want", "got", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0002], 1e-4),
        ([1e-9, 1.0], [2e-9, 1.0], 1e-9 / 0.5**0.5),
        ([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 1.0], [np.nan, 1.0], np.inf),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1e-30], np.inf),
        ([1.0, 1.0], [1.0], np.inf),
    ],
)
def test_differences_are_relative_to_the_value_or_what_is_usual(want, got, expected):
    assert relative(np.array(want), [np.array(got)]) == pytest.approx(expected, rel=1e-6)


def test_the_folder_of_the_code_is_told_from_those_beside_it(export, code, tmp_path_factory):
    with pytest.raises(ModelError, match=f"give the folder that 'ownmae' lies in: --code {code}"):
        export("Listed", code=code / "ownmae")
    other = tmp_path_factory.mktemp("other")
    (other / "tools.py").touch()
    with pytest.raises(ModelError, match=f"--code {other} has tools; give the right folder"):
        export("Listed", code=other)
    with pytest.raises(ModelError, match="there is no such folder"):
        export("Listed", code=other / "absent")


def test_code_that_ends_its_process_ends_no_other(saved, code, tmp_path):
    before = dict(os.environ), list(sys.path)
    with pytest.raises(ModelError, match=r"its code ended the process that exported it \(exit code 7"):
        skyfan.export(saved / "Ends.pt", tmp_path / "x.onnx", trust_pickle=True, code=code, inputs=SHAPES)
    assert (dict(os.environ), list(sys.path)) == before
    assert "ownmae" not in sys.modules


def test_torchscript_is_refused(here, tmp_path):
    with quiet():
        torch.jit.trace(torch.nn.Linear(2, 1), torch.ones(3, 2)).save(tmp_path / "model.pt")
    with pytest.raises(ModelError, match="is TorchScript, which torch cannot export"):
        skyfan.export(tmp_path / "model.pt", tmp_path / "x.onnx", trust_pickle=True)


def test_what_is_no_checkpoint_is_refused(here, tmp_path, saved):
    text = tmp_path / "text.pt"
    text.write_text("weights")
    tensors = tmp_path / "x.safetensors"
    write_partition(tensors, rows=2)
    broken = tmp_path / "broken.pt"
    broken.write_bytes((saved / "Listed.pt").read_bytes()[:500])
    for path, message in (
        (text, "is not a file of torch.save"),
        (tensors, "a checkpoint of 'skyfan train' .* need no --trust-pickle"),
        (tmp_path / "absent.pt", "there is no such file"),
        (broken, "cannot be loaded .* expected what torch.save"),
    ):
        with pytest.raises(ModelError, match=message):
            skyfan.export(path, tmp_path / "x.onnx", trust_pickle=True)
    with pytest.raises(ModelError, match="expected the name of a file in a folder that exists"):
        skyfan.export(saved / "Listed.pt", tmp_path / "absent" / "x.onnx", trust_pickle=True)


def test_a_test_survey_of_other_shapes_is_refused(export, tmp_path_factory):
    test = tmp_path_factory.mktemp("test") / "rows.safetensors"
    write_partition(test, arrays={"image": np.ones((4, BANDS, 6, 6), np.float32)})
    with pytest.raises(ModelError, match=r"has no image of the shape \(5, 8, 8\) a row, .*set --input"):
        export("Arguments", test=test)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--input=image=5xx", "expected numbers, as in image=5x32x32"),
        ("--input=image=a", "expected numbers, as in image=5x32x32"),
        ("--input=image", "expected a name, '=' and a value"),
        ("--metadata==5", "expected a name, '=' and a value"),
        ("--inputs-as=pair", "'pair' is not one of 'list', 'arguments'"),
    ],
)
def test_an_option_that_is_none_is_refused(option, message):
    done = CliRunner().invoke(cli, ["export", "a.pt", "b.onnx", "--trust-pickle", option])
    assert done.exit_code == 2
    assert message in done.output


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


@pytest.mark.parametrize("option", ["--input=image=5x8x8", "--metadata=bands=ugriz"])
def test_an_option_given_twice_is_refused(option):
    done = CliRunner().invoke(cli, ["export", "a.pt", "b.onnx", "--trust-pickle", option, option])
    assert (done.exit_code, "is given twice; expected each name once" in done.output) == (2, True)
