"""A sweep as it runs: every run real and in a process of its own, and none of them taken for more than it is."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import skyfan
from bench.small import Seen, runs_in, started, stopping_at, sweep
from skyfan.bench.events import Noted, Planned, TrialEnded
from skyfan.bench.folder import is_whole
from skyfan.bench.measurement import Measurement
from skyfan.bench.sweeping import look_ahead, run_sweep
from skyfan.bench.tidy import read_tidy
from skyfan.cli.benchmarks import plan_rows
from skyfan.errors import InputError, ModelError, RunStoppedError
from skyfan.storage import Store


def test_a_sweep_measures_every_run_and_leaves_its_record(root: Path, store: Store, out: Path) -> None:
    seen: Seen = []
    measured = run_sweep(sweep(files=(2, 4), repeats=2), out, store, seen.append)
    assert len(measured) == 4
    assert all(is_whole(item) for item in measured)
    assert [item.repeat for item in measured] == [1, 1, 2, 2], "round after round"
    assert {(item.partitions, item.rows, item.batch_size, item.workers) for item in measured} == {
        (2, 15, 4, 1),
        (4, 34, 4, 1),
    }
    assert all(item.cold_tasks == 1 for item in measured), "one new worker each"
    assert started(seen) == [item.run.removeprefix("sky/bench/try/") for item in measured]
    assert read_tidy(out / "measurements.parquet") == read_tidy(out / "measurements.csv") == measured
    assert "| partition, MB |" in (out / "table.md").read_text()
    assert (out / "figures" / "figures.md").exists()
    assert json.loads((out / "sweep.json").read_text())["sweep"]["files"] == [2, 4]
    kept = out / "runs" / started(seen)[0]
    assert json.loads((kept / "summary.json").read_text())["complete"]
    assert len(json.loads((kept / "combined_data.json").read_text())) == measured[0].tasks
    assert runs_in(root) == []
    assert not (root / "sky" / "bench").exists() or not any((root / "sky" / "bench" / "try").iterdir())


def test_what_is_measured_is_not_run_again_and_more_can_be_asked_for(store: Store, out: Path) -> None:
    first = run_sweep(sweep(), out, store)
    seen: Seen = []
    assert run_sweep(sweep(), out, store, seen.append) == first
    assert started(seen) == []
    more = run_sweep(sweep(repeats=2), out, store, seen.append)
    assert more[:1] == first
    assert started(seen) == ["25MB-2files-batch4-threads1-workers1/2"]
    planned = [event for event in seen if isinstance(event, Planned)]
    assert [event.measured for event in planned] == [1, 1]
    assert planned[1].left_s == first[0].run_wall_s, "the first round tells"


def test_an_interrupted_sweep_goes_on(root: Path, store: Store, out: Path) -> None:
    seen: Seen = []
    with pytest.raises(RunStoppedError, match="stopped with 1 of 2 runs measured; the same command goes on"):
        run_sweep(sweep(repeats=2), out, store, stopping_at(2, seen))
    measured = run_sweep(sweep(repeats=2), out, store, seen.append)
    assert [item.repeat for item in measured] == [1, 2]
    assert len(started(seen)) == 2


def test_a_run_that_was_not_measured_is_run_anew_never_found_finished(root: Path, store: Store, out: Path) -> None:
    """Its time would be that of another day, or of a part of it."""
    before = run_sweep(sweep(), out, store, keep_runs=True)[0]
    assert runs_in(root) == ["25MB-2files-batch4-threads1-workers1/1"]
    for path in out.glob("measurements.*"):
        path.unlink()
    after = run_sweep(sweep(), out, store, keep_runs=True)[0]
    assert is_whole(after)
    assert after.started_at > before.started_at
    assert skyfan.open_run(after.run, store=store.url).verify().complete


def test_a_half_run_is_done_from_its_beginning(root: Path, store: Store, out: Path) -> None:
    wanted = sweep(files=(4,))
    run_sweep(wanted, out, store, keep_runs=True)
    for path in out.glob("measurements.*"):
        path.unlink()
    path = root / "sky" / "bench" / "try" / "25MB-4files-batch4-threads1-workers1" / "1"
    (path / "reports" / "00002.json").unlink()
    (path / "summary.json").unlink()
    measured = run_sweep(wanted, out, store)[0]
    assert is_whole(measured)
    assert measured.tasks == 4


def test_a_run_that_fails_is_kept_with_its_problem_and_the_others_go_on(root: Path, store: Store, out: Path) -> None:
    third = root / "sky" / "25MB" / "3.safetensors"
    good = third.read_bytes()
    third.write_bytes(b"x" * len(good))
    wanted = sweep(files=(4, 2), repeats=2)
    measured = run_sweep(wanted, out, store)
    assert [(item.partitions, is_whole(item)) for item in measured if item.repeat == 1] in (
        [(2, True), (4, False)],
        [(4, False), (2, True)],
    )
    failed = [item for item in measured if not is_whole(item)]
    assert len(failed) == 2
    for item in failed:
        assert not item.complete
        assert "failed" in item.problem
        assert "exit code 2" in item.problem
        assert (item.batch_size, item.workers, item.engine) == (4, 1, "local")
    assert runs_in(root) == [f"25MB-4files-batch4-threads1-workers1/{repeat}" for repeat in (1, 2)], "to be looked at"
    assert read_tidy(out / "measurements.parquet") == measured

    third.write_bytes(good)
    seen: Seen = []
    mended = run_sweep(wanted, out, store, seen.append)
    assert len(started(seen)) == 2
    assert len(mended) == 4
    assert all(is_whole(item) for item in mended)


def test_repeated_partitions_are_said(store: Store, out: Path) -> None:
    measured = run_sweep(sweep(files=(6,)), out, store)[0]
    assert (measured.partitions, measured.distinct_partitions, measured.rows) == (6, 4, 7 + 8 + 9 + 10 + 7 + 8)
    assert is_whole(measured)


def test_a_sweep_can_be_looked_at_before(root: Path, store: Store, out: Path) -> None:
    planned = look_ahead(sweep(files=(2, 400), workers=(1, 3), repeats=5), out, store)
    assert len(planned.plan.trials) == 15
    assert planned.unknown == 15
    assert "3 workers for 2 tasks" in planned.plan.impossible[0].reason
    assert not out.exists()
    assert not (root / "sky" / "bench").exists()


def test_a_plan_says_whether_repeated_partitions_are_links_or_copies(store: Store, out: Path) -> None:
    planned = look_ahead(sweep(files=(6,)), out, store)
    assert str(dict(plan_rows(planned))["partitions 25MB"]).endswith("they are repeated, as links")
    on_server = replace(planned, free_bytes=None)
    assert "copies on the server" in str(dict(plan_rows(on_server))["partitions 25MB"])


def test_what_cannot_work_is_said_before_any_run(root: Path, store: Store, out: Path) -> None:
    (root / "sky" / "models" / "bad.onnx").write_bytes(b"no model")
    seen: Seen = []
    with pytest.raises(ModelError):
        run_sweep(sweep(keys={"model": "models/bad.onnx"}), out, store, seen.append)
    with pytest.raises(InputError, match=r"models/none.onnx"):
        run_sweep(sweep(keys={"model": "models/none.onnx"}), out, store, seen.append)
    with pytest.raises(InputError, match="this process's alone"):
        run_sweep(sweep(), out, Store("memory://x"), seen.append)
    assert started(seen) == []


def test_a_damaged_price_list_is_refused_before_anything_is_run(
    store: Store, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "us-east-1.json").write_text("{}")
    monkeypatch.setenv("SKYFAN_PRICES", str(tmp_path))
    seen: Seen = []
    with pytest.raises(InputError, match=r"prices us-east-1\.json: .*expected a list"):
        look_ahead(sweep(), out, store)
    with pytest.raises(InputError, match=r"prices us-east-1\.json: .*expected a list"):
        run_sweep(sweep(), out, store, seen.append)
    assert started(seen) == []
    assert not out.exists()


def test_every_event_has_the_measurement_that_is_kept(store: Store, out: Path) -> None:
    seen: Seen = []
    measured: list[Measurement] = run_sweep(sweep(), out, store, seen.append)
    assert [event.measurement for event in seen if isinstance(event, TrialEnded)] == measured


def test_without_a_library_to_draw_with_there_are_the_numbers(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "skyfan.bench.figures", None)
    seen: Seen = []
    assert len(run_sweep(sweep(), out, store, seen.append)) == 1
    assert (out / "table.md").exists()
    assert next(event.text for event in seen if isinstance(event, Noted)).startswith("no figures: ")
