"""Commands that cannot work with a payload of a script say so, and what to do; and report works with its run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from scripted import SCRIPT, put_code, script_payload, script_run
from skyfan.cli.benchmarks import bench
from skyfan.cli.catalogs import catalog
from skyfan.cli.estimates import estimate
from skyfan.cli.evaluations import evaluate
from skyfan.cli.profiles import profile
from skyfan.cli.reports import report
from skyfan.cli.runs import status, verify
from skyfan.cli.tuning import tune
from skyfan.errors import InputError
from skyfan.storage import Store

REFUSED = (
    rf"its tasks run the script '{SCRIPT}', whose rows and speed skyfan does not know; expected a payload with a model"
)
ADVICE = "run it with a small file_limit .* and look at 'skyfan report'"


@pytest.fixture
def night(store: Store, asked: Mapping[str, Any], tmp_path: Path) -> Path:
    """The file of a payload with a script, whose code is there."""
    put_code(store)
    path = tmp_path / "night.json"
    path.write_text(json.dumps(script_payload(asked)))
    return path


def typed(command: click.Command, *arguments: object) -> str:
    found = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (tune, []),
        (tune, ["--engine", "aws"]),
        (tune, ["--engine", "aws", "--no-pilot"]),
        (estimate, []),
        (estimate, ["--engine", "aws"]),
        (profile, []),
        (bench, ["--dry-run"]),
    ],
)
def test_what_reckons_with_rows_refuses_a_script(
    command: click.Command, options: list[str], night: Path, root: Path
) -> None:
    named = ["--payload", night] if command is bench else [night]
    named += [] if options == ["--engine", "aws"] and command is tune else ["--store", root]  # a pilot's store is S3
    with pytest.raises(InputError, match=f"{command.name}: {REFUSED}.*{ADVICE}"):
        typed(command, *named, *options)


@pytest.mark.parametrize("command", [tune, estimate, profile])
def test_a_script_is_refused_for_what_it_is_whatever_else_is_wrong(
    night: Path, root: Path, command: click.Command
) -> None:
    changes = {"data_prefix": "30MB", "S3_object_name": "nowhere"}
    night.write_text(json.dumps(json.loads(night.read_text()) | changes))
    with pytest.raises(InputError, match=f"{command.name}: {REFUSED}"):
        typed(command, night, "--store", root)


def test_an_estimate_of_a_path_that_another_payload_has_is_refused_too(
    store: Store, asked: Mapping[str, Any], night: Path, root: Path
) -> None:
    script_run(store, asked, batch_size=8)
    with pytest.raises(InputError, match=f"estimate: {REFUSED}"):
        typed(estimate, night, "--store", root)


def test_a_model_given_beside_the_script_is_estimated(night: Path, root: Path) -> None:
    night.write_text(json.dumps({**json.loads(night.read_text()), "model": "models/tiny.onnx"}))
    assert "wall clock" in typed(estimate, night, "--store", root)


@pytest.mark.parametrize("command", [profile, estimate])
def test_the_speed_of_a_script_run_cannot_be_taken(
    store: Store, asked: Mapping[str, Any], root: Path, tmp_path: Path, command: click.Command
) -> None:
    run = script_run(store, asked)
    payload = tmp_path / "model.json"
    payload.write_text(json.dumps({**asked, "result_path": "results/two"}))
    named = [payload] if command is estimate else []
    with pytest.raises(InputError, match=f"{run.id}: {REFUSED}"):
        typed(command, *named, "--from-run", run.id, "--store", root)


@pytest.mark.parametrize("command", [evaluate, catalog])
def test_there_is_no_catalogue_to_write_or_to_evaluate(
    store: Store, asked: Mapping[str, Any], root: Path, tmp_path: Path, command: click.Command
) -> None:
    run = script_run(store, asked)
    target = ["--out", tmp_path / "out"] if command is evaluate else [tmp_path / "out"]
    with pytest.raises(InputError, match=r"its tasks ran the script .* skyfan has no catalogue of it"):
        typed(command, run.id, *target, "--store", root)
    assert not (tmp_path / "out").exists()


def test_status_and_verify_name_the_script(store: Store, asked: Mapping[str, Any], root: Path) -> None:
    run = script_run(store, asked)
    for command in (status, verify):
        shown = typed(command, run.id, "--store", root)
        assert SCRIPT in shown
        assert "rows" not in shown
        said = json.loads(typed(command, run.id, "--store", root, "--json"))
        assert said["script"] == SCRIPT


def test_report_makes_a_page_of_a_script_run(
    store: Store, asked: Mapping[str, Any], root: Path, tmp_path: Path
) -> None:
    run, out = script_run(store, asked), tmp_path / "night.html"
    assert typed(report, run.id, "--store", root, "--out", out) == f"{out}: complete\n"
    assert "What it printed" in out.read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scheduler", "tcp://a:1"], "--scheduler is for --engine dask"),
        (["--cluster-options", "a.yaml"], "--cluster-options is for --engine dask"),
        (["--engine", "dask", "--region", "x"], "--region is for --engine aws"),
        (["--engine", "dask", "--max-cost", "1"], "--max-cost is for --engine aws"),
        (["--engine", "aws", "--scheduler", "slurm"], "--scheduler is for --engine dask"),
        (["--engine", "spark"], "'local', 'dask', 'aws'"),
    ],
)
def test_bench_takes_of_each_engine_what_is_its_own(options: list[str], said: str) -> None:
    found = CliRunner().invoke(bench, ["sky/25MB", *options])
    assert found.exit_code == 2
    assert said in found.output


def test_a_dry_run_of_bench_on_dask_says_where_it_runs(root: Path) -> None:
    options = ["--engine", "dask", "--workers", "1,2", "--files", "2", "--dry-run", "--store", root]
    shown = typed(bench, "sky/25MB", *options, "--model", "models/tiny.onnx", "--bucket", "sky", "--batch-sizes", "4")
    assert "dask; runs in sky/bench/25MB" in shown
    assert "2 configurations x 3 = 6" in shown
