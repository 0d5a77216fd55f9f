"""The command line: what it prints, where, and what it exits with."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skyfan
from factories import make_rows, write_partition
from running import SKYFAN

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def payload(tmp_path: Path, asked: dict[str, Any]) -> Path:
    path = tmp_path / "payload.json"
    path.write_text(json.dumps(asked))
    return path


@pytest.fixture
def shell(root: Path) -> Shell:
    """Run a command on the store."""

    def run(*arguments: object, store: Path | None = root, **options: Any) -> "subprocess.CompletedProcess[str]":
        command = [*SKYFAN, *map(str, arguments), *(["--store", str(store)] if store else [])]
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return run


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def imported_by(code: str) -> set[str]:
    """Return the top-level modules that a program imports."""
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit: pass\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()}


HEAVY = {
    "torch",
    "boto3",
    "botocore",
    "dask",
    "distributed",
    "matplotlib",
    "pandas",
    "pyarrow",
    "onnx",
    "galsim",
    "astropy",
}
RUNTIME = {"numpy", "onnxruntime", "arro3", "obstore"}


def test_help_imports_neither_the_runtime_nor_anything_heavy() -> None:
    code = "sys.argv = ['skyfan', '--help']; from skyfan.cli import main; main()"
    assert not imported_by(code) & (HEAVY | RUNTIME)


def test_importing_skyfan_imports_nothing_heavy() -> None:
    assert not imported_by("import skyfan") & (HEAVY | RUNTIME)


def test_using_the_api_imports_nothing_heavy() -> None:
    found = imported_by("import skyfan; skyfan.run; skyfan.partition; skyfan.Payload")
    assert not found & HEAVY
    assert "onnxruntime" in found


def test_a_public_name_is_what_it_says_whatever_was_imported_before() -> None:
    script = (
        "import skyfan.partitions, skyfan.api; from skyfan import partition, run; print(callable(skyfan.partition))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_help_names_every_command() -> None:
    done = subprocess.run([*SKYFAN, "--help"], capture_output=True, text=True, check=True)
    assert all(f"\n  {name} " in done.stdout for name in ("demo", "simulate", "partition", "run", "status", "verify"))


@pytest.mark.parametrize("command", ["demo", "simulate", "partition", "run", "status", "verify", "train", "export"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = subprocess.run([*SKYFAN, command, "--help"], capture_output=True, text=True, check=True)
    assert f"Example:  skyfan {command}" in done.stdout


def test_the_version_is_the_packages() -> None:
    done = subprocess.run([*SKYFAN, "--version"], capture_output=True, text=True, check=True)
    assert skyfan.__version__ in done.stdout


@pytest.mark.parametrize(
    "arguments", [["runn"], ["run"], ["run", "x", "--nonsense"], ["run", "x", "--workers", "many"], ["partition", "x"]]
)
def test_a_command_that_is_none_exits_2_and_says_how_it_is_used(arguments: list[str]) -> None:
    done = subprocess.run([*SKYFAN, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("skyfan: error: ")
    assert "Traceback" not in done.stderr


def test_a_run_says_plain_lines_where_there_is_no_terminal(shell: Shell, payload: Path) -> None:
    done = shell("run", payload)
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.startswith("skyfan: ") and line.isprintable() for line in lines), "no escape codes"
    assert "34 of 34 rows" in lines[-1]
    assert "4/4 tasks" in lines[-1]
    assert "complete" in done.stdout
    assert "\x1b" not in done.stdout


def test_a_quiet_run_says_nothing_but_its_summary(shell: Shell, payload: Path) -> None:
    done = shell("run", payload, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert "34 in the catalogue" in done.stdout


def test_a_run_for_machines_is_one_object_a_line(shell: Shell, payload: Path) -> None:
    done = shell("run", payload, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    events = json_lines(done.stdout)
    assert [event["event"] for event in events] == ["Planned"] + ["TaskDone"] * 4 + ["Ended"]
    assert sorted(event["report"]["rank"] for event in events[1:5]) == [0, 1, 2, 3]
    assert events[-1]["summary"]["complete"] is True
    assert events[-1]["summary"]["rows_out"] == 34


def test_a_run_leaves_no_stray_output_of_its_workers(shell: Shell, payload: Path) -> None:
    done = shell("run", payload, "--json", env=os.environ | {"PYTHONWARNINGS": "default"})
    assert len(json_lines(done.stdout)) == 6


def test_a_finished_run_run_again_does_nothing_and_says_so(
    shell: Shell, payload: Path, root: Path, finished: skyfan.Run
) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    done = shell("run", payload)
    assert done.returncode == 0
    assert "nothing was done" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before
    (event,) = json_lines(shell("run", payload, "--json").stdout)
    assert (event["event"], event["found_finished"]) == ("Ended", True)


@pytest.mark.parametrize("option", [[], ["--json"], ["--overwrite"]])
@pytest.mark.parametrize("state", ["finished", "asked"], ids=["finished", "fresh"])
def test_a_dry_run_writes_nothing_at_all(
    request: pytest.FixtureRequest, shell: Shell, payload: Path, root: Path, option: list[str], state: str
) -> None:
    request.getfixturevalue(state)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    beside = sorted(Path.cwd().iterdir())
    done = shell("run", payload, "--dry-run", *option)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert sorted(Path.cwd().iterdir()) == beside


def test_a_dry_run_shows_the_plan(shell: Shell, payload: Path) -> None:
    plan = json.loads(shell("run", payload, "--dry-run", "--json", "--file-limit", "3", "--world-size", "2").stdout)
    assert plan["run"] == "sky/results/one"
    assert [len(task["partitions"]) for task in plan["tasks"]] == [1, 2]
    assert "models/tiny.onnx" in shell("run", payload, "--dry-run").stdout


def test_options_replace_keys_of_the_payload(shell: Shell, payload: Path, root: Path) -> None:
    options = ["--result-path", "results/two", "--file-limit", "1", "--batch-size", "3", "--max-attempts", "1"]
    assert shell("run", payload, *options).returncode == 0
    stored = json.loads((root / "sky" / "results" / "two" / "payload.json").read_text())
    assert (stored["file_limit"], stored["batch_size"], stored["max_attempts"]) == (1, 3, 1)


def test_the_store_may_come_from_the_environment(shell: Shell, payload: Path, root: Path) -> None:
    done = shell("run", payload, "--quiet", store=None, env=os.environ | {"SKYFAN_STORE": str(root)})
    assert done.returncode == 0


def test_the_store_is_else_a_folder_beside_the_user(shell: Shell, payload: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "skyfan-data").symlink_to(root)
    environment = {name: value for name, value in os.environ.items() if name != "SKYFAN_STORE"}
    assert shell("run", payload, "--quiet", store=None, cwd=tmp_path, env=environment).returncode == 0


@pytest.fixture
def spoilt(root: Path) -> None:
    (root / "sky" / "25MB" / "2.safetensors").write_bytes(b"not a partition")


def test_a_run_with_tolerated_failures_ends_incomplete_with_3(shell: Shell, payload: Path, spoilt: None) -> None:
    done = shell("run", payload, "--tolerated-failure-count", "1")
    assert done.returncode == 3
    assert "NO" in done.stdout
    assert "1 of 4 tasks failed (task 1); mend what its message says" in done.stdout
    assert shell("status", payload).returncode == 3
    assert shell("verify", payload).returncode == 3


def test_a_run_with_a_failure_that_is_not_tolerated_exits_with_its_kind(
    shell: Shell, payload: Path, spoilt: None
) -> None:
    done = shell("run", payload, "--json")
    assert done.returncode == 2
    assert "2.safetensors" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "TaskGivenUp" in [event["event"] for event in json_lines(done.stdout)]


def test_a_task_that_takes_too_long_is_tried_again_and_then_exits_1(shell: Shell, payload: Path) -> None:
    done = shell("run", payload, "--task-timeout-s", "1e-6", "--max-attempts", "2", "--json", "--workers", "1")
    assert done.returncode == 1
    assert "task_timeout_s 1e-06" in done.stderr
    assert "TaskRetried" in [event["event"] for event in json_lines(done.stdout)]


@pytest.mark.parametrize("name", ["payload.json", "sky/results/one", "sky/results/one/"])
@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_run_is_named_by_its_payload_or_by_its_path(
    shell: Shell, payload: Path, tmp_path: Path, finished: skyfan.Run, command: str, name: str
) -> None:
    done = shell(command, name, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["run"] == "sky/results/one"


def test_status_says_where_a_run_stands(shell: Shell, payload: Path, root: Path, finished: skyfan.Run) -> None:
    assert "complete" in shell("status", payload).stdout
    (root / "sky" / "results" / "one" / "summary.json").unlink()
    (root / "sky" / "results" / "one" / "reports" / "00001.json").unlink()
    done = shell("status", payload, "--json")
    assert done.returncode == 3
    standing = json.loads(done.stdout)
    assert (standing["state"], standing["tasks_ok"], standing["rows_done"]) == ("interrupted", 3, 7 + 9 + 10)


def test_a_survey_is_split_and_run_and_proven(shell: Shell, payload: Path, root: Path, tmp_path: Path) -> None:
    survey = tmp_path / "survey.safetensors"
    write_partition(survey, rows=50)
    done = shell("partition", survey, "sky/parts", "--rows", "20")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "sky/parts: 3 partitions, 50 rows, 66.1 KiB, with an index\n"
    done = shell("run", payload, "--data-prefix", "parts", "--result-path", "results/two", "--json")
    assert json_lines(done.stdout)[-1]["summary"]["rows_expected"] == 50
    assert shell("verify", "sky/results/two").returncode == 0


def test_splitting_for_machines_prints_the_index(shell: Shell, root: Path, tmp_path: Path) -> None:
    survey = tmp_path / "survey.safetensors"
    write_partition(survey, rows=5)
    done = shell("partition", survey, "sky/parts", "--size", "1MB", "--json")
    assert json.loads(done.stdout) == json.loads((root / "sky" / "parts" / "index.json").read_text())


def in_a_terminal(*arguments: object) -> tuple[int, str]:
    """Run a command whose stderr is a terminal; return its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(
        [*SKYFAN, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(), shown.decode()


def test_a_terminal_gets_a_live_line(payload: Path, root: Path) -> None:
    code, shown = in_a_terminal("run", payload, "--store", root)
    assert code == 0
    assert "4/4 tasks" in shown
    assert "\x1b[" in shown


def test_what_a_failure_says_is_shown_as_it_is(payload: Path, root: Path) -> None:
    bad = root / "sky" / "25MB" / "[b]x[" / "red].safetensors"  # which reads like markup
    bad.parent.mkdir()
    bad.write_bytes(b"")
    code, shown = in_a_terminal("run", payload, "--store", root, "--tolerated-failure-count", "1")
    assert code == 3
    assert "[b]x[/red].safetensors" in shown


def test_a_partition_with_odd_characters_in_its_name_is_read(shell: Shell, payload: Path, root: Path) -> None:
    write_partition(root / "sky" / "50 MB é#%" / "1 #2.safetensors", arrays=make_rows(5))
    done = shell("run", payload, "--data-prefix", "50 MB é#%", "--result-path", "r é#%/x y")
    assert done.returncode == 0, done.stderr
    assert shell("verify", "sky/r é#%/x y").returncode == 0


def test_a_reader_that_goes_away_is_no_traceback(payload: Path, root: Path) -> None:
    command = f"{' '.join(SKYFAN)} run {payload} --store {root} --dry-run | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
