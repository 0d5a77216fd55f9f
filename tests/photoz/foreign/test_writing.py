"""The exported file is written whole or not at all, and over nothing that is read."""

import pytest

import skyfan
from photoz.foreign.networks import SHAPES, survey
from skyfan.errors import ModelError
from skyfan.photoz import target
from skyfan.photoz.foreign import writing


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
