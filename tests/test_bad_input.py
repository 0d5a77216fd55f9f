"""Bad input: one clear line, exit code 2, no traceback, and nothing lost, claimed or left half made."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factories import make_rows, tiny_model, write_partition
from running import SKYFAN
from skyfan.cli.group import main
from skyfan.keys import RunKeys
from skyfan.lease import hold
from skyfan.storage import Store

torch = pytest.importorskip("torch")
from torch.utils.data import TensorDataset  # noqa: E402

Run = Callable[..., "Ended"]


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def skyfan(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command through the program's own entry point."""
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["skyfan", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def refused(skyfan: Run, root: Path) -> Callable[..., str]:
    """Run a command that must be refused with code 2 and change no file; return the one line that it says."""

    def run(*arguments: object) -> str:
        before = files(root)
        ended = skyfan(*arguments)
        assert ended.code == 2
        assert ended.out == ""
        (line,) = ended.err.splitlines()
        assert line.startswith("skyfan: error: ")
        assert files(root) == before
        return line.removeprefix("skyfan: error: ")

    return run


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def payload(tmp_path: Path, asked: dict[str, Any]) -> Callable[..., Path]:
    """Write a payload file with some keys changed, or left out where None."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "payload.json"
        path.write_text(json.dumps({key: value for key, value in (asked | changes).items() if value is not None}))
        return path

    return write


Payload = Callable[..., Path]
Refused = Callable[..., str]


# Payload keys


def test_an_unknown_key(root: Path, payload: Payload, refused: Refused) -> None:
    said = refused("run", payload(batchsize=3), "--store", root)
    assert "unknown key 'batchsize'; did you mean 'batch_size'?" in said


def test_a_missing_key(root: Path, payload: Payload, refused: Refused) -> None:
    said = refused("run", payload(data_bucket=None), "--store", root)
    assert "missing 'data_bucket'; required are bucket, data_bucket, data_prefix, result_path" in said


def test_a_wrong_type(root: Path, payload: Payload, refused: Refused) -> None:
    assert "key 'batch_size' 'many': expected int, got str" in refused(
        "run", payload(batch_size="many"), "--store", root
    )


def test_a_payload_that_is_not_there(root: Path, tmp_path: Path, refused: Refused) -> None:
    said = refused("run", tmp_path / "none.json", "--store", root)
    assert "none.json: cannot be read (No such file or directory); expected a JSON file" in said


def test_a_payload_that_is_not_json(root: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "payload.json").write_text("{'bucket': 'sky'}")
    assert "not JSON" in refused("run", tmp_path / "payload.json", "--store", root)


@pytest.mark.parametrize("value", ["0", "-1"])
def test_an_option_that_a_payload_may_not_have(root: Path, payload: Payload, refused: Refused, value: str) -> None:
    said = refused("run", payload(), "--store", root, "--file-limit", value)
    assert f"key 'file_limit' {value}: expected int >= 1" in said


def test_no_workers(root: Path, payload: Payload, refused: Refused) -> None:
    assert "workers: got 0; expected 1 or more" in refused("run", payload(), "--store", root, "--workers", "0")


# Paths and keys

PATHS = ["../x", "/x", "a//b", "a/../b", "a\tb", ""]


@pytest.mark.parametrize("value", PATHS)
@pytest.mark.parametrize("key", ["data_prefix", "result_path", "model"])
def test_a_path_of_a_payload_that_could_leave_its_folder(
    root: Path, payload: Payload, refused: Refused, key: str, value: str
) -> None:
    assert f"payload key '{key}': {value!r} " in refused("run", payload(**{key: value}), "--store", root)


@pytest.mark.parametrize("value", PATHS)
@pytest.mark.parametrize("option", ["--data-prefix", "--result-path", "--model"])
def test_a_path_of_an_option_that_could_leave_its_folder(
    root: Path, payload: Payload, refused: Refused, option: str, value: str
) -> None:
    key = option.removeprefix("--").replace("-", "_")
    assert f"payload key '{key}': {value!r} " in refused("run", payload(), "--store", root, option, value)


@pytest.mark.parametrize("value", PATHS)
@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_path_of_a_run_that_could_leave_its_folder(root: Path, refused: Refused, command: str, value: str) -> None:
    assert "expected names joined by single slashes" in refused(command, f"sky/{value}", "--store", root)


@pytest.mark.parametrize("value", PATHS)
def test_a_path_of_a_destination_that_could_leave_its_folder(root: Path, refused: Refused, value: str) -> None:
    source = root / "sky" / "25MB" / "1.safetensors"
    said = refused("partition", source, f"sky/{value}", "--rows", "3", "--store", root)
    assert "destination: the prefix after the bucket: " in said


@pytest.mark.parametrize("name", ["sky/none", "nobucket/x"])
@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_run_that_is_not_there(root: Path, refused: Refused, command: str, name: str) -> None:
    assert "there is no " in refused(command, name, "--store", root)


# Partitions


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


def run_for_real(root: Path, path: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [*SKYFAN, "run", str(path), "--store", str(root), "--workers", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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


# Models


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


# Stores


@pytest.mark.parametrize("command", ["run", "status", "verify"])
def test_a_store_that_is_not_there(tmp_path: Path, payload: Payload, refused: Refused, command: str) -> None:
    said = refused(command, payload(), "--store", tmp_path / "none")
    assert f"there is no folder {tmp_path / 'none'}; expected one; name another with --store" in said
    assert not (tmp_path / "none").exists()


def test_a_bucket_that_is_not_there(root: Path, payload: Payload, refused: Refused) -> None:
    assert "there is no folder" in refused("run", payload(data_bucket="none"), "--store", root)
    assert not (root / "none").exists()


@pytest.mark.parametrize("store", ["s4://x", "s3://sky", "http://", "http://127.0.0.1:99999", "memory://x"])
def test_a_store_that_cannot_be_one(payload: Payload, refused: Refused, store: str) -> None:
    assert "store" in refused("run", payload(), "--store", store)


def test_a_file_as_a_store(tmp_path: Path, root: Path, payload: Payload, refused: Refused) -> None:
    (tmp_path / "file").write_text("mine")
    source = root / "sky" / "25MB" / "1.safetensors"
    assert "there is no folder" in refused("run", payload(), "--store", tmp_path / "file")
    assert "there is no folder" in refused("partition", source, "sky/x", "--rows", "3", "--store", tmp_path / "file")


def test_a_server_that_does_not_answer(payload: Payload, skyfan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    ended = skyfan("run", payload(), "--store", "http://127.0.0.1:9")
    assert ended.code == 1, "it may pass"
    (line,) = ended.err.splitlines()
    assert "the store failed" in line
    assert "127.0.0.1:9" in line


def _private_mounts() -> bool:
    unshare = shutil.which("unshare")
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return unshare is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not _private_mounts(), reason="this system permits no private mounts (unshare -rm)")


def on_disk_of_ours(root: Path, setup: str, *arguments: object) -> tuple[Ended, list[str]]:
    """Run a command with the store on a disk of 100 KiB that holds what the store does; list the files after."""
    command = " ".join(map(str, [*SKYFAN, *arguments, "--store", root]))
    shell = (
        f"cp -r {root} {root}.copy && mount -t tmpfs -o size=100k tmpfs {root} && cp -r {root}.copy/. {root} && {setup}"
        "; "
        f"{command}; code=$?; cd {root} && find . -type f | sort; exit $code"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", shell], capture_output=True, text=True, check=False)
    return Ended(done.returncode, "", done.stderr), done.stdout.splitlines()


STORED = [f"./sky/25MB/{number}.safetensors" for number in range(1, 5)] + ["./sky/models/tiny.onnx"]


@needs_mounts
@pytest.mark.parametrize("command", ["run", "partition"])
def test_no_permission_to_write(root: Path, payload: Payload, command: str) -> None:
    source = root.parent / "survey.safetensors"
    write_partition(source, rows=30)
    arguments = ["run", payload()] if command == "run" else ["partition", source, "sky/new", "--rows", "10"]
    ended, left = on_disk_of_ours(root, f"mount -o remount,ro {root}", *arguments)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "the store refused" in line
    assert "Read-only file system" in line
    assert left == STORED


@needs_mounts
def test_a_disk_that_is_full_before_a_run_starts(root: Path, payload: Payload) -> None:
    fill = f"dd if=/dev/zero of={root}/filler bs=1k count=200 2>/dev/null"
    ended, left = on_disk_of_ours(root, fill, "run", payload())
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "no space is left in the store; free some, then do the same again" in line
    assert left == ["./filler", *STORED]


@needs_mounts
def test_a_disk_that_gets_full_while_a_survey_is_split(root: Path) -> None:
    source = root.parent / "survey.safetensors"
    write_partition(source, rows=60)
    ended, left = on_disk_of_ours(root, "true", "partition", source, "sky/new", "--rows", "10")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "no space is left" in line
    assert "./sky/new/index.json" in left, "which says that it is not complete"
    assert not [name for name in left if "#" in name], "nothing half written"


# Claims


def test_a_path_that_another_payload_holds(root: Path, payload: Payload, refused: Refused, finished: object) -> None:
    said = refused("run", payload(batch_size=5), "--store", root)
    assert "belongs to another payload, with batch_size 4 (asked now: 5); expected the same: choose another" in said
    assert "belongs to another payload" in refused("run", payload(batch_size=5), "--store", root, "--dry-run")


def test_overwriting_with_a_payload_that_cannot_run_loses_nothing(
    root: Path, payload: Payload, refused: Refused, finished: object
) -> None:
    assert "no partition below" in refused("run", payload(data_prefix="none"), "--store", root, "--overwrite")


def test_a_path_that_another_driver_is_at_work_on(root: Path, payload: Payload, refused: Refused) -> None:
    with hold(Store(str(root)).bucket("sky"), RunKeys("results/one")):
        said = refused("run", payload(), "--store", root)
        assert "drives this run; expected no other driver: wait for it" in said
        assert "drives this run" in refused("run", payload(), "--store", root, "--overwrite")
