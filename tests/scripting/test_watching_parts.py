"""What a box is watched with: its processes, their memory, its directory, its output."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripting.boxes import wait_until
from skyfan.scripting import family
from skyfan.scripting.family import proportional_mb
from skyfan.scripting.guard import Guard, used_bytes
from skyfan.scripting.limits import Limits
from skyfan.scripting.output import MAX_OUTPUT_BYTES, Output

TREE = """
import os, threading, time
def forked():
    if os.fork() == 0:
        time.sleep(60)
thread = threading.Thread(target=forked)
thread.start()
if os.fork() == 0:
    if os.fork() == 0:
        hog = bytearray(50 << 20)
        print("ready", flush=True)
    time.sleep(60)
time.sleep(60)
"""


@pytest.fixture
def tree() -> Iterator[psutil.Process]:
    """A process with a child, a grandchild that takes 50 MiB, and a child of another thread."""
    process = subprocess.Popen([sys.executable, "-S", "-W", "ignore", "-c", TREE], stdout=subprocess.PIPE)
    root = psutil.Process(process.pid)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    wait_until(lambda: len(root.children(recursive=True)) == 3, "all are there")
    yield root
    for child in [*root.children(recursive=True), root]:
        child.kill()
    process.communicate()


@pytest.mark.parametrize("children", [family._CHILDREN, "/proc/no such list"])
def test_all_descendants_are_found_with_their_memory(
    tree: psutil.Process, children: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "_CHILDREN", children)
    found = family.members(tree.pid, 100)
    expected = {child.pid: child.memory_info().rss / (1 << 20) for child in tree.children(recursive=True)}
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, abs=3)


def test_it_is_not_counted_beyond_what_is_enough(tree: psutil.Process) -> None:
    assert len(family.members(tree.pid, 2)) == 2


def test_a_process_that_is_gone_has_no_family_and_no_memory() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert family.members(process.pid, 100) == {}
    assert family.proportional_mb(process.pid) is None


def test_shared_pages_count_by_share(tree: psutil.Process) -> None:
    largest = max(tree.children(recursive=True), key=lambda child: child.memory_info().rss)
    share = family.proportional_mb(largest.pid)
    assert share is not None
    assert 50 < share < largest.memory_info().rss / (1 << 20)


def test_a_family_is_not_measured_while_one_of_it_ends(tree: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard(Limits(), Path(), tree.pid)

    def slowly(pid: int) -> float | None:
        for child in tree.children(recursive=True):
            child.kill()
        return proportional_mb(pid)

    monkeypatch.setattr("skyfan.scripting.guard.proportional_mb", slowly)
    assert guard.look() is None
    assert guard.peak_mb == 0
    monkeypatch.undo()


def test_a_family_is_measured(tree: psutil.Process) -> None:
    guard = Guard(Limits(), Path(), tree.pid)
    assert guard.look() is None
    assert 50 < guard.peak_mb < 80


def test_a_directory_takes_what_its_files_take_and_no_more(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "big").write_bytes(b"x" * (8 << 20))
    directory = tmp_path / "directory"
    (directory / "deep" / "deeper").mkdir(parents=True)
    (directory / "deep" / "deeper" / "file").write_bytes(b"x" * (1 << 20))
    os.link(directory / "deep" / "deeper" / "file", directory / "same")
    (directory / "link").symlink_to(elsewhere)
    (directory / "loop").symlink_to(directory)
    with (directory / "sparse").open("wb") as file:
        file.truncate(8 << 20)
    assert 1 << 20 <= used_bytes(directory) < (1 << 20) + 20_000


def test_a_directory_that_is_gone_takes_nothing(tmp_path: Path) -> None:
    assert used_bytes(tmp_path / "gone") == 0


@pytest.mark.parametrize("chunk", [1, 100, 65_536, 3 << 20])
def test_output_keeps_both_ends_and_says_how_much_is_between(chunk: int) -> None:
    output = Output()
    total = 3 << 20 if chunk > 1 else 1000
    text = bytes(number % 251 for number in range(total))
    for start in range(0, total, chunk):
        output.add(text[start : start + chunk])
    value = output.value()
    if chunk == 1:
        assert value == text
        return
    head, words, tail = value.split(b"\n... ")[0], *value.split(b"\n... ")[1].split(b" ...\n")
    assert (text.startswith(head), text.endswith(tail)) == (True, True)
    assert words == f"{total - len(head) - len(tail):,} bytes are left out here".encode()
    assert MAX_OUTPUT_BYTES - 200 < len(value) <= MAX_OUTPUT_BYTES


def test_output_that_just_fits_is_whole() -> None:
    output = Output()
    text = os.urandom(MAX_OUTPUT_BYTES - 128)
    output.add(text)
    assert output.value() == text
