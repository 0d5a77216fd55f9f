"""skyfan tune, from a payload to a recommendation that a run then follows."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import skyfan
from factories import write_partition
from skyfan.cli.tuning import NOT_MET, tune
from skyfan.errors import InputError, SkyfanError

SHORT = ("--seconds", "0.1", "--batch-sizes", "4,8", "--threads", "1", "--workers", "1,2", "--pilot-partitions", "2")


@pytest.fixture
def job(root: Path, asked: dict[str, Any], tmp_path: Path) -> Path:
    """A payload's file, of partitions that are long enough to be measured."""
    for number in range(1, 5):
        write_partition(root / "sky" / "25MB" / f"{number}.safetensors", rows=400, seed=number)
    path = tmp_path / "job.json"
    path.write_text(json.dumps(asked))
    return path


def typed(*arguments: object) -> Result:
    result = CliRunner().invoke(tune, list(map(str, arguments)))
    if isinstance(result.exception, SkyfanError):
        raise result.exception
    return result


def test_from_a_payload_to_a_run(job: Path, root: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "found.json", tmp_path / "frontier.svg"
    options = ("--goal", "time", "--store", root, "--out", out, "--plot", plot, "--no-cutting")
    result = typed(job, *options, *SHORT)
    assert result.exit_code == 0, result.output
    assert "reckoning" in result.stderr
    found = json.loads(out.read_text())
    for text in ("the fastest", "frontier: none of these is both faster and cheaper", "<--", "measured:", "reckoned:"):
        assert text in result.stdout
    assert found["commands"][-1] in result.stdout
    assert found["payload"]["batch_size"] in {4, 8}
    assert found["pick"]["workers"] in {1, 2}
    assert found["pick"]["measured"]
    assert found["own"]["batch_size"] == 4
    assert found["tried"] >= len(found["frontier"]) + len(found["others"])
    assert {point["batch_size"] for point in found["profiles"][0]["points"]} == {4, 8}
    assert plot.read_text().startswith("<?xml")
    assert not (root / "sky" / "results").exists()

    command = shlex.split(found["commands"][-1])
    assert command[:3] == ["skyfan", "run", str(job)]
    done = skyfan.run(job, store=root, workers=found["pick"]["workers"], **found["payload"])
    assert done.summary is not None
    assert done.summary.complete
    assert done.summary.tasks == found["pick"]["tasks"]
    assert done.payload.batch_size == found["payload"]["batch_size"]


def test_a_model_in_place_of_a_script_is_in_what_to_type(
    job: Path, root: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    scripted = asked | {"script": "/tmp/code/inference.py", "S3_object_name": "code"}
    job.write_text(json.dumps({key: value for key, value in scripted.items() if key != "model"}))
    with pytest.raises(InputError, match="its tasks run the script"):
        typed(job, "--store", root, *SHORT)
    result = typed(job, "--store", root, "--model", asked["model"], "--json", "--quiet", "--no-cutting", *SHORT)
    found = json.loads(result.stdout)
    assert found["payload"]["model"] == asked["model"]
    command = found["commands"][-1]
    assert f"--model {asked['model']}" in command
    planned = skyfan.plan(job, store=root, **found["payload"])
    assert planned.tasks[0].model is not None


def test_what_cannot_be_met_ends_with_the_nearest_and_exit_code_3(job: Path, root: Path, tmp_path: Path) -> None:
    plot = tmp_path / "frontier.png"
    wish = ("--deadline", "0.01", "--budget", "1e-12", "--json", "--quiet")
    result = typed(job, "--store", root, "--plot", plot, *wish, *SHORT)
    assert result.exit_code == NOT_MET, result.output
    found = json.loads(result.stdout)
    assert not found["met"]
    assert {one["why"] for one in found["left_out"]} == {"deadline", "budget"}
    assert {fault["kind"] for fault in found["pick"]["faults"]} == {"deadline", "budget"}
    with Image.open(plot) as image:
        assert min(image.size) > 500
    shown = typed(job, "--store", root, "--quiet", "--deadline", "0.01", *SHORT)
    assert shown.exit_code == NOT_MET
    assert "NOT MET" in shown.stdout
    assert "this is the nearest: may take" in shown.stdout


def test_aws_without_a_pilot_is_reckoned_and_says_so(job: Path, root: Path) -> None:
    options = ("--engine", "aws", "--no-pilot", "--memory", "1024,1769", "--batch-sizes", "4", "--seconds", "0.1")
    result = typed(job, "--store", root, *options)
    assert result.exit_code == 0, result.output
    assert "nothing was measured on AWS with" in result.stdout
    assert "skyfan aws deploy --memory" in result.stdout
    assert re.search(r"tasks  partition MiB  batch  threads  function MB  processor  worker MiB\n", result.stdout)
    assert "--engine aws" in result.stdout


def test_a_run_that_is_there_is_told(job: Path, root: Path) -> None:
    skyfan.run(job, store=root, workers=1)
    result = typed(job, "--store", root, "--quiet", *SHORT)
    assert "sky/results/one holds a run already: give --result-path another" in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--plot", "frontier.pdf"), "expected a name that ends in .svg or .png"),
        (("--plot", "nowhere/frontier.svg"), "there is no folder nowhere"),
        (("--out", "nowhere/found.json"), "no file can be written there"),
        (("--deadline", "soon"), "deadline 'soon': is no duration"),
        (("--budget", "-1"), "budget: got -1; expected more than 0"),
        (("--max-cost", "much"), "max_cost: got much; expected USD above 0"),
        (("--memory", "1024"), "memory: got .* with the engine 'local'"),
        (("--partition-sizes", "25 fathoms"), "size '25 fathoms': not a size"),
    ],
)
def test_bad_options_are_refused_before_anything_is_measured(
    job: Path, root: Path, options: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        typed(job, "--store", root, *options)


@pytest.mark.parametrize(
    "options", [("--batch-sizes", "many"), ("--architectures", "mips"), ("--goal", "fame"), ("--memory", "")]
)
def test_bad_numbers_are_usage_errors(job: Path, options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(tune, [str(job), *options])
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr
