"""A checkpoint, network, folder or option that cannot be used is refused with the reason."""

import pytest
import torch
from click.testing import CliRunner

import skyfan
from factories import write_partition
from skyfan.cli import cli
from skyfan.errors import ModelError
from skyfan.photoz.foreign.asked import MAX_ELEMENTS
from skyfan.photoz.onnx_file import quiet


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
        ("OneInAll", {}, r"output 0 has the shape \(\) for 3 rows; expected one number or list per row"),
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


def test_the_folder_of_the_code_is_told_from_those_beside_it(export, code, tmp_path_factory):
    with pytest.raises(ModelError, match=f"give the folder that 'ownmae' lies in: --code {code}"):
        export("Listed", code=code / "ownmae")
    other = tmp_path_factory.mktemp("other")
    (other / "tools.py").touch()
    with pytest.raises(ModelError, match=f"--code {other} has tools; give the right folder"):
        export("Listed", code=other)
    with pytest.raises(ModelError, match="there is no such folder"):
        export("Listed", code=other / "absent")


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


@pytest.mark.parametrize("option", ["--input=image=5x8x8", "--metadata=bands=ugriz"])
def test_an_option_given_twice_is_refused(option):
    done = CliRunner().invoke(cli, ["export", "a.pt", "b.onnx", "--trust-pickle", option, option])
    assert (done.exit_code, "is given twice; expected each name once" in done.output) == (2, True)
