"""Payloads, options, names and paths that cannot be, and paths that are somebody else's."""

from pathlib import Path

import pytest

from bad_input.commands import Payload, Refused
from skyfan.keys import RunKeys
from skyfan.lease import hold
from skyfan.storage import Store


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
