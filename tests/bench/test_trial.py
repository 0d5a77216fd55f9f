"""One run of a sweep: its command, and when it is a measurement of anything."""

import json
from pathlib import Path
from typing import Any

import pytest

import skyfan
from bench.small import PLACE, TRIAL, sweep
from factories import write_partition
from skyfan.bench import sweeping
from skyfan.bench.folder import is_whole
from skyfan.bench.groups import groups
from skyfan.bench.sweep import Trial
from skyfan.bench.sweeping import run_sweep
from skyfan.bench.trial import command_of, evidence, measure_trial, payload_of, summary_of
from skyfan.storage import Store


def test_an_earlier_run_is_not_taken_for_one_that_failed_before_it(finished: skyfan.Run, store: Store) -> None:
    wanted = sweep(result_path="results")
    path = finished.id.removeprefix("sky/results/")

    class Here(Trial, frozen=True):
        @property
        def path(self) -> str:
            return path

    here = Here(TRIAL.configuration, 1)
    assert is_whole(measure_trial(wanted, here, store, 0, ""))
    found = measure_trial(wanted, here, store, 1, "no space is left")
    assert not found.complete
    assert found.run_wall_s is None
    assert found.problem == "'skyfan run' ended with exit code 1: no space is left"


def test_a_resumed_run_is_no_measurement(root: Path, store: Store, asked: dict[str, Any]) -> None:
    place = "bench/try/25MB-2files-batch4-threads1-workers1/1"
    payload = asked | {"result_path": place, "file_limit": 2}
    skyfan.run(payload, store=root, workers=1)
    (root / "sky" / place / "reports" / "00001.json").unlink()
    skyfan.run(payload, store=root, workers=1)
    found = measure_trial(sweep(), TRIAL, store, 0, "")
    assert found.complete
    assert not is_whole(found)
    assert "resumed" in found.problem


def test_a_run_that_was_found_finished_is_not_this_one(root: Path, store: Store, asked: dict[str, Any]) -> None:
    skyfan.run(asked | {"result_path": PLACE, "file_limit": 2}, store=root, workers=1)
    before = summary_of(sweep(), TRIAL, store)
    assert before is not None
    assert is_whole(measure_trial(sweep(), TRIAL, store, 0, ""))
    assert is_whole(measure_trial(sweep(), TRIAL, store, 0, "", before="2999-01-01T00:00:00.000+00:00"))
    found = measure_trial(sweep(), TRIAL, store, 0, "", before=before.drive.started_at)
    assert not is_whole(found)
    assert "found finished" in found.problem
    assert found.run_wall_s is None


@pytest.mark.parametrize("hour", [1, 2998])
def test_a_clock_that_differs_from_that_of_the_runs_loses_none(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch, hour: int
) -> None:
    """On AWS the times of a run are by AWS's clock."""
    wait = sweeping.run_command

    def elsewhere(command: list[str], log: Path) -> tuple[int, str]:
        ended = wait(command, log)
        path = root / "sky" / PLACE / "summary.json"
        summary = json.loads(path.read_text())
        summary["drive"]["started_at"] = f"{hour:04}" + summary["drive"]["started_at"][4:]
        path.write_text(json.dumps(summary))
        return ended

    monkeypatch.setattr(sweeping, "run_command", elsewhere)
    (found,) = run_sweep(sweep(), out, store)
    assert is_whole(found), found.problem


def test_a_command_that_found_its_run_finished_measures_nothing(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(sweep(), out, store, keep_runs=True)
    for path in out.glob("measurements.*"):
        path.unlink()
    monkeypatch.setattr(sweeping, "run_command", lambda command, log: (0, ""))
    (found,) = run_sweep(sweep(), out, store, keep_runs=True)
    assert not is_whole(found)
    assert "found finished" in found.problem


def test_a_run_on_aws_has_its_place_and_no_workers(tmp_path: Path) -> None:
    wanted = sweep(engine="aws", place={"stack": "one", "region": "eu-west-1"})
    payload = payload_of(wanted, TRIAL, "surveys/25MB")
    assert payload["max_concurrency"] == 1
    assert payload["data_prefix"] == "surveys/25MB"
    command = command_of(wanted, TRIAL, tmp_path, Store("s3://"), overwrite=True, max_cost=0.5)
    text = " ".join(command)
    assert "--engine aws --region eu-west-1 --stack one --max-cost 0.500000 --overwrite" in text
    assert "--workers" not in text
    assert "--store" not in text
    local = " ".join(command_of(sweep(), TRIAL, tmp_path, Store("/x"), overwrite=False))
    assert local.endswith("--engine local --store /x --workers 1")


@pytest.mark.parametrize("files", [2, 6])
def test_a_run_that_crashed_is_counted_in_its_configurations_row(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    wait, calls = sweeping.run_command, iter(range(9))

    def crash(command: list[str], log: Path) -> tuple[int, str]:
        return (137, "killed") if next(calls) == 1 else wait(command, log)

    monkeypatch.setattr(sweeping, "run_command", crash)
    measured = run_sweep(sweep(files=(files,), repeats=3), out, store)
    assert [is_whole(item) for item in measured] == [True, False, True]
    (group,) = groups(measured[::2])
    (lost,) = groups(measured[1:2])
    assert lost.configuration == group.configuration


def test_a_run_that_crashed_is_counted_so_where_others_read_repeated_data(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth partition is a rest, which the folder of repeated ones does not have."""
    for number, rows in enumerate((8, 8, 8, 2), 1):
        write_partition(root / "sky" / "25MB" / f"{number}.safetensors", rows=rows, seed=number)
    wait, calls = sweeping.run_command, iter(range(9))

    def crash(command: list[str], log: Path) -> tuple[int, str]:
        return (137, "killed") if next(calls) == 0 else wait(command, log)

    monkeypatch.setattr(sweeping, "run_command", crash)
    measured = run_sweep(sweep(files=(4, 6), repeats=2, seed=0), out, store)
    assert [(item.partitions, is_whole(item)) for item in measured][:2] == [(4, False), (6, True)]
    found = groups(measured)
    assert [(len(group.used), len(group.left_out)) for group in found] == [(2, 0), (1, 1)]
    assert [group.distinct for group in found] == [3, 3]


def test_a_bill_is_among_the_evidence(store: Store) -> None:
    bucket = store.bucket("sky")
    bucket.put(f"{PLACE}/bill.json", b"{}")
    assert evidence(bucket, PLACE) == {"bill.json": b"{}"}
