"""Surveys, partitions and models that cannot be read or do not fit; rows that are bad."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_input.commands import Payload, Refused, run_for_real
from factories import make_rows, parsed_model, tiny_model, write_partition

torch = pytest.importorskip("torch")
from torch.utils.data import TensorDataset  # noqa: E402


def test_no_partition(root: Path, payload: Payload, refused: Refused) -> None:
    said = refused("run", payload(data_prefix="25"), "--store", root)
    assert "no partition below sky/25/: found 0 other objects; expected files ending in .safetensors or .pt" in said


class Hostile:
    """Pickles into a call of a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this ran",)


def pt(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def good_pt(rows: int = 9) -> bytes:
    content = make_rows(rows)
    return pt(TensorDataset(*(torch.from_numpy(content[name]) for name in ("image", "magnitude", "redshift"))))


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x")
    return file.getvalue()


SPOILT = {
    "an empty .safetensors": (".safetensors", lambda good: b""),
    "a truncated .safetensors": (".safetensors", lambda good: good[:-1]),
    "a corrupt .safetensors": (".safetensors", lambda good: b"\xff" * len(good)),
    "a .safetensors with a huge header": (".safetensors", lambda good: (2**62).to_bytes(8, "little") + good[8:]),
    "an empty .pt": (".pt", lambda good: b""),
    "a truncated .pt": (".pt", lambda good: good_pt()[:-30]),
    "a corrupt .pt": (".pt", lambda good: bytes(1000)),
    "a hostile .pt": (".pt", lambda good: pt(Hostile())),
    "a .pt that climbs": (".pt", lambda good: zipped("../../x")),
    "a .pt of something else": (".pt", lambda good: pt({"a": 1})),
}


@pytest.mark.parametrize(("suffix", "spoil"), SPOILT.values(), ids=SPOILT)
def test_a_survey_that_cannot_be_read(root: Path, refused: Refused, suffix: str, spoil: Any) -> None:
    good = (root / "sky" / "25MB" / "3.safetensors").read_bytes()
    survey = root.parent / f"survey{suffix}"
    survey.write_bytes(spoil(good))
    said = refused("partition", survey, "new/25MB", "--rows", "3", "--store", root)
    assert f"survey{suffix}" in said
    assert not (root / "new").exists()


def test_a_survey_whose_name_says_nothing(root: Path, refused: Refused) -> None:
    survey = root.parent / "survey.csv"
    survey.write_text("ra,dec")
    said = refused("partition", survey, "sky/new", "--rows", "3", "--store", root)
    assert "ends in '.csv'; expected one of .safetensors, .pt, .npz" in said


@pytest.mark.parametrize(("suffix", "spoil"), SPOILT.values(), ids=SPOILT)
def test_a_partition_that_cannot_be_read_fails_its_task_and_no_other(
    root: Path, payload: Payload, suffix: str, spoil: Any
) -> None:
    old = root / "sky" / "25MB" / "3.safetensors"
    bad = old.with_suffix(suffix)
    bad.write_bytes(spoil(old.read_bytes()))
    if bad != old:
        old.unlink()
    done = run_for_real(root, payload(tolerated_failure_count=1), "--quiet")
    assert done.returncode == 3
    assert done.stderr == ""
    assert "this ran" not in done.stdout
    summary = json.loads((root / "sky" / "results" / "one" / "summary.json").read_text())
    assert (summary["complete"], summary["tasks_ok"], summary["tasks_failed"]) == (False, 3, 1)
    (failure,) = summary["failures"]
    assert failure["error"]["kind"] == "PartitionError"
    assert bad.name in failure["error"]["message"]


def test_a_bad_partition_that_is_not_tolerated_ends_the_run_with_its_reason(root: Path, payload: Payload) -> None:
    (root / "sky" / "25MB" / "2.safetensors").write_bytes(b"")
    done = run_for_real(root, payload(), "--quiet")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("skyfan: error: sky/results/one: ")
    assert "2.safetensors" in line
    assert "run the same payload again" in line


MISFITS = {
    "no magnitudes": ({"magnitude": None}, "no tensor 'magnitude', which the model models/tiny.onnx needs"),
    "another shape": ({"image": np.zeros((7, 5, 9, 9), np.float32)}, "image has the shape (7, 5, 9, 9); expected"),
    "four bands": ({"image": np.zeros((7, 4, 8, 8), np.float32)}, "image has the shape (7, 4, 8, 8); expected"),
}


@pytest.mark.parametrize(("changes", "said"), MISFITS.values(), ids=MISFITS)
def test_a_first_partition_that_does_not_fit_the_model(
    root: Path, payload: Payload, refused: Refused, changes: dict[str, Any], said: str
) -> None:
    rows = {name: values for name, values in (make_rows(7) | changes).items() if values is not None}
    write_partition(root / "sky" / "25MB" / "1.safetensors", arrays=rows)
    assert said in refused("run", payload(), "--store", root)
    assert said in refused("run", payload(), "--store", root, "--dry-run")


def test_a_later_partition_of_another_type_fails_its_task(root: Path, payload: Payload) -> None:
    rows = make_rows(9)
    write_partition(root / "sky" / "25MB" / "3.safetensors", arrays=rows | {"magnitude": np.zeros((9, 5), np.int32)})
    done = run_for_real(root, payload(), "--quiet")
    assert done.returncode == 2
    assert "magnitude is int32; expected float16, float32 or float64" in done.stderr
    assert "Traceback" not in done.stderr


FLATTENED = (
    "(float[n,5,h,w] image) => (float[m] z_phot) <int64[2] s = {-1, 320}, int64[1] one = {1}>"
    "{ flat = Reshape(image, s) z_phot = ReduceMean<keepdims=0>(flat, one) }"
)
UNDEEP = parsed_model(
    "(float[n,b] depth) => (float[n,b] z) { z = Abs(depth) }",
    valid_range='{"depth": {"min": [1, 1, 1, 1, 1], "max": 30}}',
)
FAILING: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "a batch": (parsed_model(FLATTENED), {"image": np.ones((9, 5, 5, 5), np.float32)}, "failed on a batch of 4 rows"),
    "an output": (
        parsed_model(FLATTENED),
        {"image": make_rows(9)["image"][:, :, :4, :4]},
        "is float32 (1,) for 4 rows",
    ),
    "a range": (UNDEEP, {"depth": np.ones((9, 3), np.float32)}, "its depth has 3 bands"),
}


@pytest.mark.parametrize(("model", "odd", "said"), FAILING.values(), ids=FAILING)
def test_a_partition_that_the_model_fails_on_fails_its_task_and_no_other(
    root: Path, payload: Payload, model: bytes, odd: dict[str, Any], said: str
) -> None:
    (root / "sky" / "models" / "any.onnx").write_bytes(model)
    for number in range(1, 5):
        rows = make_rows(9, number) | {"depth": np.ones((9, 5), np.float32)} | (odd if number == 2 else {})
        rows["image"] = np.ascontiguousarray(rows["image"]) + np.arange(rows["image"].shape[-1], dtype=np.float32)
        write_partition(root / "sky" / "25MB" / f"{number}.safetensors", arrays=rows)
    done = run_for_real(root, payload(model="models/any.onnx", tolerated_failure_count=1), "--quiet")
    assert (done.returncode, done.stderr) == (3, "")
    summary = json.loads((root / "sky" / "results" / "one" / "summary.json").read_text())
    assert (summary["tasks_ok"], summary["tasks_failed"]) == (3, 1)
    (failure,) = summary["failures"]
    assert failure["error"]["kind"] == "PartitionError"
    assert "25MB/2.safetensors: " in failure["error"]["message"]
    assert said in failure["error"]["message"]


def test_bad_rows_are_flagged_and_no_error(root: Path, payload: Payload) -> None:
    rows = make_rows(9, 3)
    rows["image"][1, 2] = 0
    rows["image"][4, 0, 0, 0] = np.inf
    rows["magnitude"][7, 1] = np.nan
    write_partition(root / "sky" / "25MB" / "3.safetensors", arrays=rows)
    done = run_for_real(root, payload(), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout.splitlines()[-1])["summary"]
    assert (summary["complete"], summary["rows_out"], summary["rows_flagged"]) == (True, 34, 3)
    assert summary["flags"] == {"dead_band": 1, "non_finite_image": 1, "non_finite_magnitude": 1}


def test_a_model_that_is_not_onnx(root: Path, payload: Payload, refused: Refused) -> None:
    (root / "sky" / "models" / "bad.onnx").write_text("not a model")
    said = refused("run", payload(model="models/bad.onnx"), "--store", root)
    assert "model models/bad.onnx: cannot be loaded as ONNX" in said


@pytest.mark.parametrize("name", ["models/none.onnx", "no-such-model", "models/tiny.pt"])
def test_a_model_that_is_not_there(root: Path, payload: Payload, refused: Refused, name: str) -> None:
    assert name in refused("run", payload(), "--store", root, "--model", name)


def test_a_model_with_inputs_that_the_partitions_do_not_have(root: Path, payload: Payload, refused: Refused) -> None:
    tiny_model(root / "sky" / "models" / "other.onnx", image="cutout")
    said = refused("run", payload(model="models/other.onnx"), "--store", root)
    assert "no tensor 'cutout', which the model models/other.onnx needs; it has dec, image, magnitude" in said
