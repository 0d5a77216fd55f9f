"""skyfan import-results: what it prints and writes, and what it exits with."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.results import records, write
from skyfan.bench.tidy import read_tidy
from skyfan.cli.imports import import_results
from skyfan.errors import InputError
from skyfan.wording import with_extra

WHOLE, CUT = "result-partition-25MB/1GB/1", "result-partition-25MB/1GB/2"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A tree with one whole run."""
    write(tmp_path / "results", WHOLE, records(41))
    return tmp_path / "results"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(import_results, list(map(str, arguments)))


def test_whole_runs_end_with_0(results: Path) -> None:
    done = call(results)
    assert done.exit_code == 0, done.output
    assert f"{WHOLE}/combined_data.json  complete, 41 records" in done.output
    assert done.output.splitlines()[-1] == "1 complete"


def test_figures_without_their_extra_say_how_to_get_it(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "skyfan.bench.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    error = call(results, "--figures", tmp_path / "figures").exception
    assert isinstance(error, InputError)
    assert str(error) == f"matplotlib is not installed, and the figures need it; {with_extra('plots')}"


def test_runs_that_are_not_whole_end_with_3_and_say_why(results: Path, tmp_path: Path) -> None:
    write(results, CUT, records(1000))
    write(results, "bad", "[")
    done = call(results, "--out", tmp_path / "runs.parquet")
    assert done.exit_code == 3
    assert "truncated, 1,000 records; exactly 1,000 records, expected 41" in done.output
    assert "unreadable, 0 records; not JSON" in done.output
    assert done.output.splitlines()[-1] == "1 complete, 1 truncated, 1 unreadable"
    assert [run.complete for run in read_tidy(tmp_path / "runs.parquet")] == [False, True, False]


@pytest.mark.parametrize("name", ["runs.parquet", "runs.csv"])
def test_out_has_a_row_a_run(name: str, results: Path, tmp_path: Path) -> None:
    call(results, "--out", tmp_path / name)
    (run,) = read_tidy(tmp_path / name)
    assert (run.origin, run.complete, run.tasks) == ("imported", True, 41)


def test_table_is_markdown(results: Path) -> None:
    lines = call(results, "--table").output.splitlines()
    assert any(line.startswith("| partition, MB | files |") for line in lines)
    assert any(line.startswith("| 25 | 41 |") for line in lines)


def test_json_is_an_object_a_line(results: Path) -> None:
    write(results, CUT, records(8))
    done = call(results, "--json", "--table")
    found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(run["verdict"], run["records"]) for run in found] == [("complete", 41), ("partial", 8)]
    assert found[0]["measurement"]["rows"] is None
    assert "| 25 | 41 |" in done.stderr
    assert done.exit_code == 3


def test_figures_are_drawn_and_those_that_are_not_are_named(results: Path, tmp_path: Path) -> None:
    write(results, "result-partition-25MB/8GB/1", records(327, result_path="result-partition-25MB/8GB/1"))
    done = call(results, "--figures", tmp_path / "figures")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "figures" / "data-time.png").stat().st_size > 10_000
    assert "no figure batch: all complete runs have the same batch size" in done.output


def test_expect_is_believed(results: Path) -> None:
    assert call(results, "--expect", 42).exit_code == 3


def test_nothing_found_is_bad_input(tmp_path: Path) -> None:
    error = call(tmp_path).exception
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert "no combined_data.json in it" in str(error)


def test_help_has_an_example() -> None:
    assert "Example:  skyfan import-results results" in call("--help").output
