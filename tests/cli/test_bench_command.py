"""skyfan bench: what it prints, and what it exits with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from factories import write_partition
from running import SKYFAN
from skyfan.bench.tidy import read_tidy

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench(root: Path, tmp_path: Path) -> Bench:
    """Run `skyfan bench` in a folder of its own on the store."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [*SKYFAN, "bench", *map(str, arguments), "--store", str(root)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    return run


@pytest.fixture
def payload(tmp_path: Path, asked: dict[str, Any]) -> Path:
    path = tmp_path / "night.json"
    path.write_text(json.dumps(asked))
    return path


def test_help_has_an_example() -> None:
    done = subprocess.run([*SKYFAN, "bench", "--help"], capture_output=True, text=True, check=True)
    assert "Example:  skyfan bench" in done.stdout


def test_a_dry_run_says_the_plan_and_writes_nothing(bench: Bench, payload: Path, root: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = bench("--payload", payload, "--files", "2,4,6", "--workers", "1,3", "--repeats", 5, "--dry-run")
    assert done.returncode == 0
    assert "5 configurations x 5 = 25" in done.stdout
    assert "25MB-2files-batch4-threads1-workers3: 3 workers for 2 tasks" in done.stdout
    assert "they are repeated" in done.stdout
    assert "free" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


def test_a_profile_says_how_long_it_takes(bench: Bench, tmp_path: Path) -> None:
    write_partition(tmp_path / "survey.safetensors", rows=40)
    speed = tmp_path / "speed.json"
    command = [sys.executable, "-c", _PROFILE.format(path=str(speed))]
    subprocess.run(command, check=True)
    arguments = ("survey.safetensors", "--partition-sizes", "13280B", "--batch-sizes", 8, "--workers", 1, "--dry-run")
    done = bench(*arguments, "--repeats", 3, "--speed", speed)
    assert "about 2:06 for 3 runs" in done.stdout, "3 x (2 s to start + 4 partitions of 10 rows at 1 a second)"
    assert "not known before" in bench(*arguments).stdout
    (tmp_path / "no.json").write_text("{}")
    assert bench(*arguments, "--speed", tmp_path / "no.json").returncode == 2


_PROFILE = """
from pathlib import Path
from skyfan.profiling.profile import Point, Profile
from skyfan.task import ModelRef
point = Point(batch_size=8, threads=1, workers=1, rows_per_s=1.0, peak_memory_mb=1, rows=9)
profile = Profile(model=ModelRef("m", "0" * 64), machine="here", cores=2, origin="measured",
    measured_at="2026-11-24T00:00:00+00:00", row_bytes=1328, s_per_mb=0, s_per_task=0, s_per_cold_start=2, spread=0.1,
    points=(point,))
Path({path!r}).write_bytes(profile.encode())
"""


def test_a_survey_is_cut_measured_and_shown(bench: Bench, root: Path, tmp_path: Path) -> None:
    write_partition(tmp_path / "survey.safetensors", rows=40)
    sizes = ("--partition-sizes", "13280B,26560B", "--batch-sizes", 8, "--workers", 1, "--repeats", 1)
    done = bench("survey.safetensors", *sizes, "--bucket", "sky", "--model", "models/tiny.onnx")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "bench-survey"
    measured = read_tidy(out / "measurements.parquet")
    assert sorted((item.partitions, item.rows) for item in measured) == [(2, 40), (4, 40)]
    assert (out / "table.md").read_text() in done.stdout
    assert "run 2 of 2" in done.stderr
    assert (root / "sky" / "bench" / "survey" / "data" / "13280B" / "index.json").exists()


def test_a_run_that_fails_ends_in_3_and_is_said(bench: Bench, payload: Path, root: Path) -> None:
    (root / "sky" / "25MB" / "3.safetensors").write_bytes(b"no partition")
    done = bench("--payload", payload, "--workers", 1, "--repeats", 1, "--files", "2,3")
    assert done.returncode == 3
    assert "NOT averaged: sky/bench/night/25MB-3files-batch4-threads1-workers1/1: " in done.stdout
    assert "NOT measured" in done.stderr


def test_json_lines_are_the_events(bench: Bench, payload: Path) -> None:
    done = bench("--payload", payload, "--workers", 1, "--repeats", 1, "--files", 1, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["event"] for event in events if event["event"] != "Noted"] == [
        "Planned",
        "TrialStarted",
        "TrialEnded",
    ]
    assert events[2]["measurement"]["complete"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to run over"),
        (["nothing/there"], "there is no folder"),
        (["sky/25MB", "--files", "two"], "whole numbers with commas"),
        (["sky/25MB", "--files", "0"], "1 or more"),
        (["sky/25MB", "--data-sizes", "much"], "not a size"),
        (["sky/25MB", "--max-cost", "1"], "--max-cost is for --engine aws"),
        (["sky/25MB", "--stack", "x"], "--stack is for --engine aws"),
        (["sky/25MB", "--engine", "aws"], "its buckets lie on S3"),
        (["sky/25MB", "--name", "..", "--result-path", "../out"], "'..' segment"),
        (["none.safetensors", "--partition-sizes", "1MB"], "there is no such file"),
        (["--payload", "none.json"], "cannot be read"),
        (["sky/25MB", "--column", "x"], "--column takes NAME=COLUMN"),
    ],
)
def test_bad_input_ends_in_2_and_says_what_is_expected(bench: Bench, arguments: list[str], said: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("skyfan: error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_ends_its_run_and_goes_on(
    bench: Bench, payload: Path, root: Path, tmp_path: Path, number: signal.Signals
) -> None:
    asked = ("--payload", str(payload), "--workers", "1", "--files", "1,4", "--repeats", "1")
    command = [*SKYFAN, "bench", *asked, "--store", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    children = _children_at_work(process, root)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    measured = bench(*asked)
    assert measured.returncode == 0, measured.stderr
    found = read_tidy(tmp_path / "bench-night" / "measurements.parquet")
    assert sorted((item.partitions, item.repeat) for item in found) == [(1, 1), (4, 1)]
    assert all(item.complete and not item.problem for item in found)


def _children_at_work(process: "subprocess.Popen[str]", root: Path) -> list[psutil.Process]:
    """Wait until a run has claimed its place; return the sweep's processes below its own."""
    until = time.monotonic() + 60
    while not list((root / "sky").glob("bench/night/*/*/payload.json")):
        assert time.monotonic() < until, "no run was started"
        assert process.poll() is None
        time.sleep(0.005)
    return psutil.Process(process.pid).children(recursive=True)


def test_importing_the_command_imports_nothing_heavy() -> None:
    script = "import sys, skyfan.cli.benchmarks; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert not {"matplotlib", "numpy", "boto3", "onnxruntime"} & set(done.stdout.split())
