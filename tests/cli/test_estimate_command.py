"""skyfan estimate: what it prints, and what it leaves alone."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec import structs

import skyfan
from factories import make_rows, write_partition
from skyfan.cli.estimates import cost_rows, estimate, outlook_rows
from skyfan.errors import InputError
from skyfan.estimating.estimate import Asked
from skyfan.estimating.estimate import estimate as estimated
from speeds import profile

REPOSITORY = Path(__file__).parents[2]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(estimate, [str(argument) for argument in arguments])


def printed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exception is None, result.exception
    return result.output


@pytest.fixture
def payload(tmp_path: Path, asked: dict[str, Any]) -> Path:
    path = tmp_path / "payload.json"
    path.write_text(json.dumps(asked))
    return path


def test_a_survey_that_is_made_up() -> None:
    text = printed(
        "--data", "1TB", "--partition-size", "25MB", "--concurrency", 10_240, "--account-concurrency", 10_240
    )
    for expected in (
        "warning           10,240 tasks at a time are asked for; a Distributed Map starts 10,000",
        "tasks             41,960",
        "partitions        41,960, 1024.0 GiB",
        "wall clock",
        "Lambda infer: compute, arm64",
        "total",
        "reckoned from",
        "may be off by a factor of 2 either way",
        "10,240 Lambdas at a time for the account",
    ):
        assert expected in text


def test_an_account_has_a_thousand_lambdas_unless_told_otherwise() -> None:
    text = printed("--rows", "20e6")
    assert "1,000 Lambdas at a time for the account" in text
    assert "1,000 tasks at a time, 1,000 workers started" in text


def test_a_payload_here(payload: Path, root: Path) -> None:
    text = printed(payload, "--store", root, "--workers", 1)
    assert text.startswith("sky/results/one\n")
    assert "core-hours" in text
    assert "cost, if rented" in text
    assert "EC2: 1 x c7i.xlarge on demand" in text
    assert "tiny.onnx is another model, and was never measured" in text


def test_a_payload_on_aws_needs_no_account(payload: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partitions are those of the store that is named; AWS is not asked, and could not be."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    text = printed(payload, "--store", root, "--engine", "aws", "--memory", 885, "--children", "STANDARD")
    assert "885 MB are 1/2.0 of the cores that it could use" in text
    assert "transitions of STANDARD children" in text


def test_the_original_system_s_payload_with_a_model_in_place_of_its_script(tmp_path: Path) -> None:
    """The command's first example, in a store that has the bucket."""
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):
        arrays = make_rows(4, number) | {"image": rng.normal(size=(4, 5, 32, 32)).astype(np.float32)}
        write_partition(tmp_path / "cosmicai-data" / "25MB" / f"{number}.safetensors", arrays=arrays)
    example = next(line for line in str(estimate.help).splitlines() if "Example:" in line)
    command = shlex.split(example.partition("Example:")[2])
    assert command[:2] == ["skyfan", "estimate"]
    text = printed(REPOSITORY / command[2], *command[3:], "--store", tmp_path)
    assert text.startswith("cosmicai-data/scaling/result-partition-25MB/8GB/2\n")
    assert "tasks             3," in text
    assert "speed of photoz-sim-2" in text
    assert "partitions        2," in printed(
        REPOSITORY / command[2], *command[3:], "--store", tmp_path, "--file-limit", 2
    )


def test_a_script_without_a_model_is_refused() -> None:
    error = run(REPOSITORY / "examples" / "payloads" / "25MB-8GB.json").exception
    assert isinstance(error, InputError)
    assert "its tasks run the script" in str(error)


def test_the_speed_of_a_run_and_of_a_file(payload: Path, root: Path, finished: skyfan.Run, tmp_path: Path) -> None:
    from_run = printed("--rows", 1e4, "--engine", "local", "--from-run", finished.id, "--store", root)
    assert "speed of models/tiny.onnx" in from_run
    assert "as a run's reports have it" in from_run
    path = tmp_path / "profile.json"
    path.write_bytes(profile().encode())
    assert "500 rows/s per worker" in printed("--rows", 1e6, "--speed", path, "--engine", "local", "--workers", 1)


def test_json_says_all_of_it_on_one_line() -> None:
    text = printed("--rows", 1e6, "--json", "--seed", 7)
    assert text.count("\n") == 1
    found = json.loads(text)
    assert found["seed"] == 7
    assert found["map_wall_s"]["p10"] < found["map_wall_s"]["p50"] < found["map_wall_s"]["p90"]
    assert float(found["cost"]["typical"]["total_usd"]) > 0
    assert text == printed("--rows", 1e6, "--json", "--seed", 7)


def test_what_is_not_known_is_not_zero() -> None:
    _, found = estimated(None, Asked(rows=1e6))

    unknown = structs.replace(found, worker_peak_memory_mb=None)
    assert dict(outlook_rows(unknown))["worker memory"] == "never measured of 1,769 MB"
    assert dict(cost_rows(found))["total"].startswith(f"{found.cost.typical.total_usd:,.4f} USD, likely ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected a payload, or one of --data and --rows"),
        (("--data", "huge"), "not a size"),
        (("--rows", "5", "--workers", "2"), "workers: got 2"),
        (("--rows", "5", "--model", "m.onnx"), "model: got 'm.onnx'; expected it only with a payload"),
        (("--rows", "5", "--file-limit", "2"), "file_limit: got 2; expected it only with a payload"),
        (("--rows", "5", "--engine", "local", "--architecture", "arm64"), "architecture: got 'arm64'"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: tuple[str, ...], said: str) -> None:
    error = run(*arguments).exception
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert said in str(error)


@pytest.mark.parametrize("arguments", [("--rows", "many"), ("--engine", "abacus"), ("--memory", "1.5")])
def test_what_is_no_number_is_click_s_to_refuse(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_neither_matplotlib_nor_boto3_is_imported() -> None:
    code = (
        "import sys; from skyfan.cli.estimates import estimate\n"
        "estimate(['--rows', '1e6', '--json'], standalone_mode=False)\n"
        "assert not {'matplotlib', 'boto3', 'botocore', 'torch', 'pyarrow'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
