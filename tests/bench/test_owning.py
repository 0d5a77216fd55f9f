"""Whose a run is: a sweep overwrites and deletes what it started, and nothing else."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import skyfan
from bench.small import PLACE, Seen, runs_in, sweep
from skyfan.bench import owning
from skyfan.bench.events import Noted, SweepEvent, TrialStarted
from skyfan.bench.folder import is_whole
from skyfan.bench.sweeping import run_sweep
from skyfan.errors import ClaimedError, RunStoppedError, StoreRefusedError
from skyfan.storage import Store


def test_a_run_of_somebody_else_is_not_overwritten(root: Path, store: Store, out: Path, asked: dict[str, Any]) -> None:
    place = "bench/try/25MB-2files-batch4-threads1-workers1/1"
    skyfan.run(asked | {"result_path": place, "file_limit": 2}, store=root, workers=1)
    before = (root / "sky" / place / "summary.json").read_bytes()
    with pytest.raises(ClaimedError, match="a run that this sweep did not start"):
        run_sweep(sweep(), out, store)
    assert (root / "sky" / place / "summary.json").read_bytes() == before
    assert not (out / "sweep.json").exists()


def test_a_run_at_the_same_names_in_another_store_is_not_this_sweeps(
    root: Path, store: Store, out: Path, tmp_path: Path
) -> None:
    """Begun anew elsewhere, where another sweep keeps its runs."""
    other = tmp_path / "other"
    shutil.copytree(root, other)
    run_sweep(sweep(), tmp_path / "theirs", Store(str(other)), keep_runs=True)
    summary = other / "sky" / PLACE / "summary.json"
    before = summary.read_bytes()
    run_sweep(sweep(), out, store)
    with pytest.raises(ClaimedError, match="a run that this sweep did not start"):
        run_sweep(sweep(), out, Store(str(other)), overwrite=True)
    assert summary.read_bytes() == before


def test_a_run_that_somebody_starts_meanwhile_is_left_alone(
    root: Path, store: Store, out: Path, asked: dict[str, Any]
) -> None:
    def watch(event: SweepEvent) -> None:
        if isinstance(event, TrialStarted):
            skyfan.run(asked | {"result_path": PLACE, "file_limit": 2}, store=root, workers=1)

    measured = run_sweep(sweep(), out, store, watch)[0]
    assert "did not start" in measured.problem
    assert not (out / "runs").exists() or not list((out / "runs").glob("*/*/started.json"))
    assert skyfan.open_run(f"sky/{PLACE}", store=store.url).verify().complete
    with pytest.raises(ClaimedError, match="did not start"):
        run_sweep(sweep(), out, store)


def test_runs_that_may_not_be_deleted_are_kept_and_said(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreRefusedError("no permission")

    monkeypatch.setattr(owning, "delete_run", refuse)
    seen: Seen = []
    measured = run_sweep(sweep(repeats=2), out, store, seen.append)
    assert len([item for item in measured if is_whole(item)]) == 2
    assert len(runs_in(root)) == 2
    assert len([event for event in seen if isinstance(event, Noted) and "may not be deleted" in event.text]) == 1


def test_a_run_left_over_by_an_interrupt_is_deleted(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owning, "delete_run", interrupt)
        with pytest.raises(RunStoppedError):
            run_sweep(sweep(), out, store)
    assert len(runs_in(root)) == 1
    run_sweep(sweep(), out, store)
    assert runs_in(root) == []


def test_runs_that_were_to_be_kept_are_not_taken_for_left_over(root: Path, store: Store, out: Path) -> None:
    run_sweep(sweep(), out, store, keep_runs=True)
    run_sweep(sweep(repeats=2), out, store)
    assert runs_in(root) == ["25MB-2files-batch4-threads1-workers1/1"]
