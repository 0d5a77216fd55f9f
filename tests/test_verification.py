"""Whatever is done to a finished run's files, verify finds it."""

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skyfan
from running import SKYFAN
from skyfan.errors import PartitionError, StoreError


@pytest.fixture
def folder(root: Path, finished: skyfan.Run) -> Path:
    """Where the finished run lies."""
    return root / "sky" / "results" / "one"


def part(folder: Path, rank: int) -> Path:
    return folder / "predictions" / f"part-{rank:05d}.parquet"


def report(folder: Path, rank: int) -> Path:
    return folder / "reports" / f"{rank:05d}.json"


def change_a_byte(folder: Path) -> None:
    data = bytearray(part(folder, 1).read_bytes())
    data[len(data) // 2] ^= 1
    part(folder, 1).write_bytes(data)


def truncate(folder: Path) -> None:
    part(folder, 1).write_bytes(part(folder, 1).read_bytes()[:-1])


def swap(folder: Path) -> None:
    one, two = part(folder, 0).read_bytes(), part(folder, 1).read_bytes()
    part(folder, 0).write_bytes(two)
    part(folder, 1).write_bytes(one)


def swap_with_their_reports(folder: Path) -> None:
    swap(folder)
    one, two = (json.loads(report(folder, rank).read_text()) for rank in (0, 1))
    for name in ("bytes", "rows", "sha256"):
        one["part"][name], two["part"][name] = two["part"][name], one["part"][name]
    for rank, content in enumerate((one, two)):
        report(folder, rank).write_text(json.dumps(content))


def name_other_rows(folder: Path) -> None:
    """Write a report that vouches for a part of other rows of the same number."""
    content = json.loads(report(folder, 1).read_text())
    other = part(folder, 1).read_bytes().replace(b"25MB/2.safetensors", b"25MB/9.safetensors")
    part(folder, 1).write_bytes(other)
    content["part"]["sha256"] = hashlib.sha256(other).hexdigest()
    report(folder, 1).write_text(json.dumps(content))


def delete_part(folder: Path) -> None:
    part(folder, 1).unlink()


def delete_report(folder: Path) -> None:
    report(folder, 1).unlink()


def delete_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def add_a_part(folder: Path) -> None:
    part(folder, 9).write_bytes(part(folder, 1).read_bytes())


def add_a_report(folder: Path) -> None:
    report(folder, 9).write_bytes(report(folder, 1).read_bytes())


def cut_the_manifest(folder: Path) -> None:
    """Take the last task out of everything but the summary."""
    tasks = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(tasks[:-1]))
    part(folder, 3).unlink()
    report(folder, 3).unlink()


def delete_summary(folder: Path) -> None:
    (folder / "summary.json").unlink()


def keep_an_old_summary(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "complete": False}))


HARM: dict[Callable[[Path], None], str] = {
    change_a_byte: r"results/one/predictions/part-00001\.parquet: its hash is .*, the report says",
    truncate: r"1 of 4 tasks without a valid report or part \(task 1\)",
    swap: r"part-00001|of 4 tasks without a valid report or part \(tasks 0, 1\)",
    swap_with_their_reports: r"2 of 4 tasks without a valid report or part \(tasks 0, 1\)",
    name_other_rows: r"part-00001\.parquet: its 8 rows are not its partitions' 8, each once, in order",
    delete_part: r"1 of 4 tasks without a valid report or part \(task 1\)",
    delete_report: r"1 of 4 tasks without a valid report or part \(task 1\)",
    delete_manifest: "the run has no task",
    cut_the_manifest: r"results/one/manifest\.json: has 3 tasks, its summary counts 4: it was changed by hand",
    delete_summary: "it has no summary; run the payload again: it does nothing but sum up",
    keep_an_old_summary: "its summary was written before this was mended; run the payload again",
    add_a_part: r"predictions/part-00009\.parquet: belongs to no task of the run; delete it and run the payload again",
    add_a_report: r"reports/00009\.json: belongs to no task of the run; delete it and run the payload again",
}


def test_a_finished_run_is_proven(finished: skyfan.Run) -> None:
    verification = finished.verify()
    assert verification.complete
    assert verification.problems == []
    assert (verification.tasks, verification.tasks_proven, verification.rows) == (4, 4, 7 + 8 + 9 + 10)


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_harm_is_found(finished: skyfan.Run, folder: Path, harm: Callable[[Path], None]) -> None:
    harm(folder)
    verification = finished.verify()
    assert not verification.complete
    assert any(re.search(HARM[harm], problem) for problem in verification.problems), verification.problems


@pytest.mark.parametrize("harm", [change_a_byte, delete_report, add_a_part])
def test_the_command_exits_3_and_says_what_was_found(
    root: Path, finished: skyfan.Run, folder: Path, harm: Callable[[Path], None]
) -> None:
    harm(folder)
    command = [*SKYFAN, "verify", finished.id, "--store", str(root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    found = json.loads(done.stdout)
    assert not found["complete"]
    assert found["problems"]


def test_the_command_exits_0_where_nothing_is_wrong(root: Path, finished: skyfan.Run) -> None:
    command = [*SKYFAN, "verify", finished.id, "--store", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "yes, proven" in done.stdout


def test_a_changed_part_is_not_read_as_a_catalogue(finished: skyfan.Run, folder: Path) -> None:
    change_a_byte(folder)
    with pytest.raises(Exception, match=r"part-00001\.parquet: is not what its task wrote; delete it and run"):
        finished.predictions().read_all()


@pytest.mark.parametrize("harm", [change_a_byte, truncate, delete_part, delete_report], ids=lambda harm: harm.__name__)
def test_a_harmed_run_is_mended_as_the_message_says(
    root: Path, asked: dict[str, Any], finished: skyfan.Run, folder: Path, harm: Callable[[Path], None]
) -> None:
    before = part(folder, 1).read_bytes()
    harm(folder)
    part(folder, 1).unlink(missing_ok=True)
    assert skyfan.run(asked, store=root, workers=1).verify().complete
    assert part(folder, 1).read_bytes() == before


@pytest.mark.parametrize("harm", [delete_summary, keep_an_old_summary], ids=lambda harm: harm.__name__)
def test_what_has_only_to_be_summed_up_is_so_by_running_again(
    root: Path, asked: dict[str, Any], finished: skyfan.Run, folder: Path, harm: Callable[[Path], None]
) -> None:
    harm(folder)
    run = skyfan.run(asked, store=root, workers=1)
    assert run.verify().complete
    assert run.status().state == "complete"


def test_a_manifest_without_its_last_task_is_no_finished_run(
    root: Path, asked: dict[str, Any], finished: skyfan.Run, folder: Path
) -> None:
    cut_the_manifest(folder)
    with pytest.raises(StoreError, match=r"manifest\.json: has 3 tasks, its summary counts 4"):
        skyfan.run(asked, store=root, workers=1)


def test_a_run_of_which_nothing_is_done_has_no_catalogue(
    root: Path, asked: dict[str, Any], finished: skyfan.Run
) -> None:
    for path in (root / "sky" / "results" / "one" / "reports").iterdir():
        path.unlink()
    with pytest.raises(PartitionError, match="no part to read: the run has not finished a task"):
        finished.predictions()
