"""skyfan report: what it writes, prints and exits with."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skyfan
from running import SKYFAN
from skyfan.bench.measurement import Measurement
from skyfan.bench.tidy import write_tidy

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(root: Path, tmp_path: Path) -> Command:
    """Run the command in a folder of its own, as the shell does."""

    def run(*arguments: object, store: bool = True) -> "subprocess.CompletedProcess[str]":
        given = [*map(str, arguments), *(["--store", str(root)] if store else [])]
        return subprocess.run([*SKYFAN, "report", *given], capture_output=True, text=True, check=False, cwd=tmp_path)

    return run


def test_a_complete_run_gives_a_file_and_exit_code_0(finished: skyfan.Run, command: Command, tmp_path: Path) -> None:
    done = command(finished.id)
    assert (done.returncode, done.stdout) == (0, "report.html: complete\n"), done.stderr
    assert 'content="skyfan report"' in (tmp_path / "report.html").read_text()


def test_an_incomplete_run_gives_a_file_and_exit_code_3(
    finished: skyfan.Run, command: Command, tmp_path: Path, root: Path
) -> None:
    (root / "sky" / "results" / "one" / "reports" / "00000.json").unlink()
    done = command(finished.id, "--format", "md", "--out", "all.md")
    assert done.returncode == 3
    assert done.stdout == "all.md: NOT COMPLETE: the report says what to do\n"
    assert (tmp_path / "all_files" / "run1-gantt.svg").is_file()


def test_measurements_of_other_runs_come_into_the_table(finished: skyfan.Run, command: Command, tmp_path: Path) -> None:
    other = Measurement(
        origin="imported", run="elsewhere.json", complete=True, model="astromae", partitions=41, tasks=41, rows=1000,
        partition_mb=25.0, task_s_p50=6.4, workers=41, map_wall_s=28.0, data="their data",
    )  # fmt: skip
    write_tidy([other], tmp_path / "theirs.csv")
    done = command(finished.id, "--measurements", tmp_path / "theirs.csv")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report.html").read_text()
    assert "their data" in text
    assert "2 different models" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sky/results/none"], "there is no run"),
        (["sky/results/one", "--measurements", "none.csv"], "cannot be read"),
        (["sky/results/one", "--measurements", "none.xlsx"], "expected .parquet or .csv"),
        (["sky/results/one", "--out", "none/r.html"], "there is no folder"),
        (["sky/results/one", "--format", "pdf"], "'pdf' is not one of"),
        (["sky/results/one", "--gallery", "-1"], "--gallery"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_exits_2_and_writes_nothing(
    finished: skyfan.Run, command: Command, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "report.html").exists()


def test_a_file_that_is_there_is_not_written_over(finished: skyfan.Run, command: Command, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    done = command(finished.id)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert command(finished.id, "--overwrite").returncode == 0


def test_a_folder_store_with_an_option_of_aws_is_refused(finished: skyfan.Run, command: Command) -> None:
    done = command(finished.id, "--stack", "mine")
    assert done.returncode == 2
    assert "expected s3://" in done.stderr


def test_the_command_can_be_asked_without_matplotlib() -> None:
    script = "import sys; import skyfan.cli.reports; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "jinja2", "boto3"} & {name.partition(".")[0] for name in done.stdout.splitlines()}


def test_payload_files_name_runs_too(
    finished: skyfan.Run, command: Command, tmp_path: Path, asked: dict[str, Any]
) -> None:
    (tmp_path / "payload.json").write_text(json.dumps(asked))
    assert command(tmp_path / "payload.json", "--gallery", 0).returncode == 0


def test_a_run_that_is_named_twice_is_reported_once(finished: skyfan.Run, command: Command, tmp_path: Path) -> None:
    assert command(finished.id, finished.id, "--gallery", 0).returncode == 0
    assert "Report of 2 runs" not in (tmp_path / "report.html").read_text()


def test_a_folder_of_figures_that_is_not_ours_is_refused(
    finished: skyfan.Run, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "report_files").mkdir()
    done = command(finished.id, "--format", "md")
    assert done.returncode == 2
    assert "without a report of skyfan's beside it" in done.stderr
