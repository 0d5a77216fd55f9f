"""skyfan profile: what it prints, what it writes, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import skyfan
from factories import tiny_model
from skyfan.cli.profiles import profile
from skyfan.errors import InputError, SkyfanError
from skyfan.profiling.profile import load_profile

Shell = Callable[..., Result]
QUICK = ("--batch-sizes", "4,8", "--workers", "1", "--seconds", "0.1", "--rounds", "1")


@pytest.fixture
def shell(root: Path) -> Shell:
    """Run the command on the store."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(profile, [*map(str, arguments), "--store", str(root)])

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny.onnx")


def test_it_prints_a_table_and_what_is_best(shell: Shell, model: Path) -> None:
    done = shell(model, *QUICK)
    assert done.exit_code == 0
    title, heads, *rest = done.stdout.splitlines()
    assert title.startswith("tiny.onnx on ")
    assert title.endswith(": measured, random rows")
    assert heads.split("  ") == ["batch size", "threads", "workers", "rows/s per worker", "rows/s of all", "peak MiB"]
    assert [line.split()[:3] for line in rest[:2]] == [["4", "1", "1"], ["8", "1", "1"]]
    text = "\n".join(rest)
    for said in (
        "for speed   batch size",
        "for memory  batch size",
        "within 5 % of the fastest",
        "new worker",
        "note ",
    ):
        assert said in text
    assert "round 1 of 1: batch size 4, 1 thread, 1 worker:" in done.stderr


def test_it_writes_a_profile_and_says_it_to_machines(shell: Shell, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    done = shell(model, *QUICK, "--out", out, "--json", "--quiet")
    (line,) = done.output.splitlines()
    assert json.loads(line) == json.loads(out.read_bytes())
    found = load_profile(out)
    assert [point.batch_size for point in found.points] == [4, 8]
    assert shell(model, *QUICK, "--out", out, "--quiet").stdout.endswith(f"{out}: written\n")


def test_a_payload_is_measured(shell: Shell, asked: dict[str, Any], tmp_path: Path) -> None:
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps(asked | {"model": "models/none.onnx"}))
    done = shell(payload, *QUICK, "--model", "models/tiny.onnx", "--quiet")
    assert "models/tiny.onnx on " in done.stdout
    assert "measured, sky/25MB\n" in done.stdout
    assert "batch sizes 8 are more than the 7 rows of a partition" in done.stdout


def test_a_run_is_read(shell: Shell, finished: skyfan.Run) -> None:
    done = shell("--from-run", finished.id)
    assert done.exit_code == 0
    assert "from reports, sky/25MB\n" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--threads", "two"), "Invalid value for '--threads': 'two'; expected whole numbers with commas"),
        (("--batch-sizes", "16,,32"), "expected whole numbers with commas between them, as in 16,32,64"),
        (("--from-run", "sky/x", "--rounds", "2", "--batch-sizes", "4"), "leave out --batch-sizes, --rounds"),
        (("x.onnx", "--from-run", "sky/x"), "--from-run measures nothing: leave out MODEL|PAYLOAD"),
    ],
)
def test_options_that_do_not_go_are_refused(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    done = shell(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "no model 'nothing' ships with skyfan"),
        (("--threads", "0"), "threads: got 0; expected 1 to 256"),
        (("--from-run", "sky/none"), "sky/none: there is no run"),
    ],
)
def test_bad_input_is_refused(shell: Shell, arguments: tuple[str, ...], message: str) -> None:
    error = shell(*arguments).exception
    assert isinstance(error, SkyfanError)
    assert error.exit_code == 2
    assert message in str(error)


def test_what_is_no_profile_is_refused_before_anything_is_measured(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "thesis.txt"
    out.write_text("years")
    done = shell("nothing", "--out", out)
    assert isinstance(done.exception, InputError)
    assert "is not written over" in str(done.exception)
    assert out.read_text() == "years"
