"""A sweep as it runs: every run real and in a process of its own, and none of them taken for more than it is."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import skyfan
from skyfan import api
from skyfan.bench import folder as folder_module
from skyfan.bench import sweeping
from skyfan.bench.events import CostKnown, Noted, Planned, SweepEvent, TrialEnded, TrialStarted
from skyfan.bench.folder import is_whole, locked
from skyfan.bench.groups import groups
from skyfan.bench.measurement import Measurement
from skyfan.bench.sweep import Configuration, Sweep, Trial
from skyfan.bench.sweeping import look_ahead, run_sweep
from skyfan.bench.tidy import read_tidy
from skyfan.bench.trial import command_of, evidence, measure_trial, payload_of
from skyfan.cli.benchmarks import plan_rows
from skyfan.cost import Cost
from skyfan.errors import BudgetError, ClaimedError, InputError, ModelError, RunStoppedError, StoreRefusedError
from skyfan.estimating.bill import Estimate
from skyfan.storage import Store
from skyfan.watching import Priced

Seen = list[SweepEvent]


def sweep(**more: Any) -> Sweep:
    base: dict[str, Any] = {
        "name": "try",
        "source": "sky/25MB",
        "bucket": "sky",
        "data_bucket": "sky",
        "result_path": "bench/try",
        "data_prefix": "bench/try/data",
        "keys": {"model": "models/tiny.onnx"},
        "files": (2,),
        "batch_sizes": (4,),
        "workers": (1,),
        "repeats": 1,
    }
    return Sweep(**(base | more))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def runs_in(root: Path) -> list[str]:
    """What the store holds of runs."""
    return sorted(
        str(path.parent.relative_to(root / "sky" / "bench" / "try"))
        for path in (root / "sky" / "bench" / "try").rglob("payload.json")
    )


def started(seen: Seen) -> list[str]:
    return [event.trial.path for event in seen if isinstance(event, TrialStarted)]


def stopping_at(number: int, seen: Seen) -> Callable[[SweepEvent], None]:
    """Interrupt where the run of that number would start."""

    def watch(event: SweepEvent) -> None:
        if isinstance(event, TrialStarted) and event.number == number:
            raise KeyboardInterrupt
        seen.append(event)

    return watch


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


def test_a_run_of_somebody_else_is_not_overwritten(root: Path, store: Store, out: Path, asked: dict[str, Any]) -> None:
    place = "bench/try/25MB-2files-batch4-threads1-workers1/1"
    skyfan.run(asked | {"result_path": place, "file_limit": 2}, store=root, workers=1)
    before = (root / "sky" / place / "summary.json").read_bytes()
    with pytest.raises(ClaimedError, match="a run that this sweep did not start"):
        run_sweep(sweep(), out, store)
    assert (root / "sky" / place / "summary.json").read_bytes() == before
    assert not (out / "sweep.json").exists()


def test_what_must_stay_the_same_is_held_to(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sweep(sweep(), out, store)
    with pytest.raises(ClaimedError, match=r"keys .*expected the same"):
        run_sweep(sweep(keys={"model": "models/tiny.onnx", "max_attempts": 1}), out, store)
    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "describe_host", lambda: "Another, 64 cores")
        with pytest.raises(ClaimedError, match=r"machine '.*' \(now: 'Another, 64 cores'\)"):
            look_ahead(sweep(), out, store)
    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "__version__", "99")
        with pytest.raises(ClaimedError, match="skyfan version"):
            run_sweep(sweep(), out, store)
    model = root / "sky" / "models" / "tiny.onnx"
    model.write_bytes(model.read_bytes() + b"\x00")
    with pytest.raises(ClaimedError, match=r"model .models/tiny.onnx, sha256"):
        run_sweep(sweep(), out, store)


def test_new_data_are_another_sweep_unless_it_begins_anew(root: Path, store: Store, out: Path) -> None:
    before = run_sweep(sweep(repeats=2), out, store)
    (root / "sky" / "25MB" / "4.safetensors").unlink()
    with pytest.raises(ClaimedError, match="data '"):
        run_sweep(sweep(), out, store)
    after = run_sweep(sweep(), out, store, overwrite=True)
    assert len(after) == 1, "what was measured of other data is forgotten"
    assert after[0].started_at > before[-1].started_at
    assert not list((out / "runs").glob("*/2/summary.json"))


def test_a_sweep_can_be_looked_at_before(root: Path, store: Store, out: Path) -> None:
    planned = look_ahead(sweep(files=(2, 400), workers=(1, 3), repeats=5), out, store)
    assert len(planned.plan.trials) == 15
    assert planned.unknown == 15
    assert "3 workers for 2 tasks" in planned.plan.impossible[0].reason
    assert not out.exists()
    assert not (root / "sky" / "bench").exists()


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


def test_two_sweeps_at_once_on_one_folder_are_refused(store: Store, out: Path) -> None:
    with locked(out), pytest.raises(ClaimedError, match="another 'skyfan bench' is at work there"):
        run_sweep(sweep(), out, store)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"schema": 1, "sweep": 3}'])
def test_a_damaged_record_is_refused(store: Store, out: Path, content: bytes) -> None:
    out.mkdir()
    (out / "sweep.json").write_bytes(content)
    with pytest.raises(InputError, match="not the record of a sweep"):
        run_sweep(sweep(), out, store)
    assert (out / "sweep.json").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_said(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        run_sweep(sweep(), tmp_path / "file" / "out", store)


TRIAL = Trial(Configuration("25MB", 2, 4, 1, 1), 1)


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


def test_a_sweep_that_may_cost_too_much_is_not_started(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each configuration costs is asked of the driver; here it is answered in its place."""
    seen: Seen = []
    asked: list[dict[str, Any]] = []

    def plan(payload: dict[str, Any], *, watch: Callable[[Any], None], **options: Any) -> None:
        asked.append(options)
        bills = [Cost("us-east-1", "2026-11", (), Decimal(usd) * payload["file_limit"]) for usd in ("1", "2", "3")]
        watch(Priced("run", Estimate(*bills, spread=1.5), ()))

    monkeypatch.setattr(api, "plan", plan)
    wanted = sweep(engine="aws", files=(2, 4), repeats=2, place={"stack": "one"})
    with pytest.raises(
        BudgetError, match=r"may cost 36\.0000 USD \(about 24\.0000\); expected at most 20\.0000"
    ) as error:
        run_sweep(wanted, out, store, seen.append, max_cost=20)
    assert error.value.exit_code == 2
    assert CostKnown(24.0, 36.0) in seen
    assert asked == [{"engine": "aws", "overwrite": True, "stack": "one"}] * 2
    assert started(seen) == []


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


def test_runs_that_may_not_be_deleted_are_kept_and_said(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreRefusedError("no permission")

    monkeypatch.setattr(sweeping, "delete_run", refuse)
    seen: Seen = []
    measured = run_sweep(sweep(repeats=2), out, store, seen.append)
    assert len([item for item in measured if is_whole(item)]) == 2
    assert len(runs_in(root)) == 2
    assert len([event for event in seen if isinstance(event, Noted) and "may not be deleted" in event.text]) == 1


PLACE = "bench/try/25MB-2files-batch4-threads1-workers1/1"


def test_another_store_is_another_sweep(root: Path, store: Store, out: Path, tmp_path: Path) -> None:
    run_sweep(sweep(), out, store)
    other = tmp_path / "other"
    shutil.copytree(root, other)
    with pytest.raises(ClaimedError, match=r"store '.*' \(now: '.*other'\)"):
        run_sweep(sweep(repeats=2), out, Store(str(other)))


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


def test_a_run_that_was_found_finished_is_not_this_one(root: Path, store: Store, asked: dict[str, Any]) -> None:
    skyfan.run(asked | {"result_path": PLACE, "file_limit": 2}, store=root, workers=1)
    began_at = skyfan.open_run(f"sky/{PLACE}", store=store.url).summary.drive.started_at  # type: ignore[union-attr]
    assert is_whole(measure_trial(sweep(), TRIAL, store, 0, "", began_at=began_at))
    found = measure_trial(sweep(), TRIAL, store, 0, "", began_at="2999-01-01T00:00:00.000+00:00")
    assert not is_whole(found)
    assert "found finished" in found.problem
    assert found.run_wall_s is None


def priced(monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> None:
    """Answer for AWS: a run may cost 3 USD a file, and ends with the next of these codes; -1 is interrupted."""

    def plan(payload: dict[str, Any], *, watch: Callable[[Any], None], **options: Any) -> None:
        bills = [Cost("us-east-1", "2026-11", (), Decimal(usd) * payload["file_limit"]) for usd in ("1", "2", "3")]
        watch(Priced("run", Estimate(*bills, spread=1.5), ()))

    def run_command(command: list[str], log: Path) -> tuple[int, str]:
        code = codes.pop(0)
        if code < 0:
            raise KeyboardInterrupt
        return code, "it failed"

    monkeypatch.setattr(api, "plan", plan)
    monkeypatch.setattr(sweeping, "run_command", run_command)


def test_money_that_was_spent_stays_spent(store: Store, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an interrupted run nor one that is done anew gives its money back."""
    priced(monkeypatch, [1, -1])
    wanted = sweep(engine="aws", place={"stack": "one"})

    def spent() -> float:
        return float(json.loads((out / "sweep.json").read_text())["spent_usd"])

    run_sweep(wanted, out, store, max_cost=20)
    assert spent() == 6.0, "no bill: at its forecast's high"
    with pytest.raises(RunStoppedError):
        run_sweep(wanted, out, store, max_cost=20)
    assert spent() == 12.0
    with pytest.raises(BudgetError, match=r"may cost 6\.0000 USD .*at most 5\.0000, what is left of --max-cost"):
        run_sweep(wanted, out, store, max_cost=17)
    assert spent() == 12.0


@pytest.mark.parametrize(("kind", "expected"), [("billed", 0.5), ("at least", 6.0)])
def test_a_bill_takes_the_place_of_a_forecast_if_it_is_whole(
    store: Store, out: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, expected: float
) -> None:
    priced(monkeypatch, [0])

    def measure(*_: Any, **__: Any) -> Measurement:
        return Measurement(origin="skyfan", run=f"sky/{PLACE}", complete=True, cost_usd=0.5, cost_kind=kind)

    monkeypatch.setattr(sweeping, "measure_trial", measure)
    run_sweep(sweep(engine="aws"), out, store, max_cost=20)
    assert json.loads((out / "sweep.json").read_text())["spent_usd"] == expected


def test_a_price_is_refused_before_anything_is_copied(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    priced(monkeypatch, [])
    with pytest.raises(BudgetError, match="no partition cut or copied"):
        run_sweep(sweep(engine="aws"), out, store, max_cost=1)
    with pytest.raises(BudgetError, match="partitions that were cut or copied for it stay"):
        run_sweep(sweep(engine="aws", files=(6,)), tmp_out := out.with_name("more"), store, max_cost=1)
    assert tmp_out.exists()
    assert (root / "sky" / "bench" / "try" / "data" / "repeated" / "25MB" / "6.safetensors").exists()


def test_a_run_left_over_by_an_interrupt_is_deleted(
    root: Path, store: Store, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sweeping, "delete_run", interrupt)
        with pytest.raises(RunStoppedError):
            run_sweep(sweep(), out, store)
    assert len(runs_in(root)) == 1
    run_sweep(sweep(), out, store)
    assert runs_in(root) == []


def test_runs_that_were_to_be_kept_are_not_taken_for_left_over(root: Path, store: Store, out: Path) -> None:
    run_sweep(sweep(), out, store, keep_runs=True)
    run_sweep(sweep(repeats=2), out, store)
    assert runs_in(root) == ["25MB-2files-batch4-threads1-workers1/1"]


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


def test_a_bill_is_among_the_evidence(store: Store) -> None:
    bucket = store.bucket("sky")
    bucket.put(f"{PLACE}/bill.json", b"{}")
    assert evidence(bucket, PLACE) == {"bill.json": b"{}"}


def test_a_plan_says_whether_repeated_partitions_are_links_or_copies(store: Store, out: Path) -> None:
    planned = look_ahead(sweep(files=(6,)), out, store)
    assert str(dict(plan_rows(planned))["partitions 25MB"]).endswith("they are repeated, as links")
    on_server = replace(planned, free_bytes=None)
    assert "copies on the server" in str(dict(plan_rows(on_server))["partitions 25MB"])
