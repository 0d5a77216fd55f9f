"""Code of someone else runs only where it is trusted, in a process of its own."""

import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import skyfan
from photoz.foreign.networks import SHAPES
from skyfan.cli import cli
from skyfan.errors import InputError, ModelError
from skyfan.photoz.foreign.pickles import is_pickled
from skyfan.photoz.foreign.process import translate_elsewhere


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


def test_code_that_ends_its_process_ends_no_other(saved, code, tmp_path):
    before = dict(os.environ), list(sys.path)
    with pytest.raises(ModelError, match=r"its code ended the process that exported it \(exit code 7"):
        skyfan.export(saved / "Ends.pt", tmp_path / "x.onnx", trust_pickle=True, code=code, inputs=SHAPES)
    assert (dict(os.environ), list(sys.path)) == before
    assert "ownmae" not in sys.modules
