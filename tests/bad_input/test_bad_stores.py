"""Stores that are not there, do not answer, may not be written or get full."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bad_input.commands import Ended, Payload, Refused, Run
from factories import write_partition
from running import SKYFAN


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
