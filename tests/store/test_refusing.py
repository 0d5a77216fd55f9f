"""Stores that do not comply: read-only, full, without permission. The disks are real, in mounts of our own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from s3 import request
from skyfan.errors import StoreRefusedError
from skyfan.storage import Store


def _private_mounts() -> bool:
    unshare = shutil.which("unshare")
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return unshare is not None and subprocess.run(probe, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not _private_mounts(), reason="this system permits no private mounts (unshare -rm)")

TRY = """
import json, sys
from pathlib import Path
from skyfan.errors import SkyfanError
from skyfan.storage import Store

root = Path(sys.argv[1])
bucket = Store(str(root)).bucket("sky")
uses = {
    "get": lambda: bucket.get("there"),
    "put": lambda: bucket.put("a/b", bytes(100_000)),
    "put pieces": lambda: bucket.put("c/d", [bytes(50_000), memoryview(bytes(50_000))]),
    "put large": lambda: bucket.put("c/e", [bytes(6_000_000)]),
    "create": lambda: bucket.create("e/f", bytes(100_000)),
    "delete": lambda: bucket.delete(["there"]),
    "sweep": lambda: bucket.sweep("left", lambda key: True),
    "new bucket": lambda: Store(str(root)).bucket("new", create="bucket"),
}
said = {}
for name, use in uses.items():
    try:
        use()
        said[name] = ["fine", "", 0]
    except SkyfanError as error:
        said[name] = [type(error).__name__, str(error), error.exit_code]
files = sorted(path.name for path in root.rglob("*") if path.is_file())
print(json.dumps([said, files]))
"""


def on_disk(folder: Path, setup: str) -> tuple[dict[str, tuple[str, str, int]], list[str]]:
    """Try everything on a disk of 64 KiB; return what each use came to, and the files that are there after."""
    prepare = "mkdir -p $0/sky/left && echo mine > $0/sky/there && echo x > $0/sky/left/x#1"
    shell = f"mount -t tmpfs -o size=64k tmpfs $0 && {prepare} && {setup} && exec {sys.executable} -c '{TRY}' $0"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", shell, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, files = json.loads(done.stdout)
    return said, files


@needs_mounts
def test_a_read_only_folder_refuses_every_change_and_gives_what_it_has(tmp_path: Path) -> None:
    said, files = on_disk(tmp_path, "mount -o remount,ro $0")
    assert said.pop("get")[0] == "fine"
    assert {kind for kind, _, _ in said.values()} == {"StoreRefusedError"}
    assert {code for _, _, code in said.values()} == {2}
    assert all("the store refused" in text and "Read-only" in text for _, text, _ in said.values())
    assert files == ["there", "x#1"]


@needs_mounts
def test_a_full_disk_takes_nothing_rather_than_a_part_of_it(tmp_path: Path) -> None:
    said, files = on_disk(tmp_path, "true")
    full = {name: said[name] for name in ("put", "put pieces", "put large", "create")}
    assert {kind for kind, _, _ in full.values()} == {"StoreFullError"}
    assert {code for _, _, code in full.values()} == {2}
    assert all("no space is left in the store; free some, then do" in text for _, text, _ in full.values())
    assert files == []


@pytest.fixture
def strict_s3(s3: str) -> Iterator[str]:
    """An S3 server that knows nobody, so that it denies every request."""
    request(s3, "POST", "/moto-api/reset-auth", b"0")
    yield s3
    request(s3, "POST", "/moto-api/reset-auth", b"inf")


@pytest.mark.parametrize("use", ["get", "put", "create", "list"])
def test_a_server_that_denies_is_said_in_its_own_words(strict_s3: str, use: str) -> None:
    bucket = Store(strict_s3).bucket("sky")
    uses = {
        "get": lambda: bucket.get("x"),
        "put": lambda: bucket.put("x", b""),
        "create": lambda: bucket.create("x", b""),
        "list": lambda: bucket.list("x"),
    }
    with pytest.raises(
        StoreRefusedError, match=r"s3://sky.*the store refused: .*403 Forbidden.*Access Key Id"
    ) as caught:
        uses[use]()
    assert "<?xml" not in str(caught.value)
    assert not caught.value.may_pass
