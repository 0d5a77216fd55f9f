"""What a sweep runs, in which order, and how long that takes."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfan.bench.asked import asked_sweep
from skyfan.bench.folder import Folder
from skyfan.bench.remaining import Remaining
from skyfan.bench.sweep import Configuration, Cut, Sweep, expected_s, label_of, plan_sweep
from skyfan.errors import InputError, SurveyError
from skyfan.keys import check_key
from skyfan.profiling.profile import Point, Profile
from skyfan.task import ModelRef

MB = 1024**2
CUTS = [Cut("25MB", 25 * MB, 1275, 41), Cut("100MB", 100 * MB, 5103, 11)]


def sweep(**axes: Any) -> Sweep:
    base = {
        "name": "try",
        "source": "survey.safetensors",
        "bucket": "sky",
        "data_bucket": "sky",
        "result_path": "bench/try",
        "data_prefix": "bench/try/data",
    }
    return Sweep(**(base | axes))


def profile(*points: Point) -> Profile:
    return Profile(
        model=ModelRef("m", "0"),
        machine="here",
        cores=2,
        origin="measured",
        measured_at="",
        row_bytes=20_000,
        s_per_mb=0.01,
        s_per_task=0.5,
        s_per_cold_start=2.0,
        spread=0.1,
        points=points,
    )


def point(batch_size: int, threads: int, workers: int, rows_per_s: float) -> Point:
    return Point(
        batch_size=batch_size,
        threads=threads,
        workers=workers,
        rows_per_s=rows_per_s,
        peak_memory_mb=100,
        rows=1000,
        **({"rounds": 3} if "rounds" in Point.__struct_fields__ else {}),
    )


def test_every_combination_is_a_configuration() -> None:
    plan = plan_sweep(sweep(files=(2, 4), batch_sizes=(16, 32), threads=(1, 2), workers=(1, 2)), CUTS, 2)
    assert len(plan.configurations) == len(set(plan.configurations)) == 2 * 2 * 2 * 2 * 2
    assert plan.impossible == ()


def test_data_sizes_are_the_numbers_of_partitions_of_the_original() -> None:
    plan = plan_sweep(sweep(data_sizes=("12.6GB", "1GB"), workers=(1,)), CUTS, 2)
    assert [(item.data, item.files) for item in plan.configurations] == [
        ("25MB", 516),
        ("25MB", 41),
        ("100MB", 129),
        ("100MB", 10),
    ]


def test_without_sizes_all_there_is_is_read_once() -> None:
    plan = plan_sweep(sweep(workers=(1,)), CUTS, 2)
    assert [item.files for item in plan.configurations] == [41, 11]
    assert plan.most_files("25MB") == 41
    assert plan.most_files("50MB") == 0


def test_rounds_follow_one_another_each_in_an_order_of_its_own() -> None:
    asked = sweep(files=(2, 4, 6, 8), batch_sizes=(16, 32, 64), workers=(1,), repeats=3)
    plan = plan_sweep(asked, CUTS, 2)
    size = len(plan.configurations)
    rounds = [plan.trials[start : start + size] for start in range(0, len(plan.trials), size)]
    orders = [tuple(trial.configuration for trial in each) for each in rounds]
    assert [{trial.repeat for trial in each} for each in rounds] == [{1}, {2}, {3}]
    assert all(set(order) == set(plan.configurations) for order in orders)
    assert len(set(orders)) == 3
    assert plan_sweep(asked, CUTS, 2).trials == plan.trials, "the same seed, the same order"
    assert plan_sweep(sweep(files=(2, 4, 6, 8), batch_sizes=(16, 32, 64), workers=(1,), seed=2), CUTS, 2) != plan


def test_what_would_be_run_as_something_else_is_said_and_not_run() -> None:
    plan = plan_sweep(sweep(files=(2,), batch_sizes=(32, 4096), workers=(1, 3)), CUTS[:1], 8)
    assert [item.name for item in plan.configurations] == ["25MB-2files-batch32-threads1-workers1"]
    reasons = {item.configuration: item.reason for item in plan.impossible}
    assert len(reasons) == 3
    assert "3 workers for 2 tasks" in reasons["25MB-2files-batch32-threads1-workers3"]
    assert "4096 rows, and a partition has 1275" in reasons["25MB-2files-batch4096-threads1-workers1"]


def test_workers_are_held_against_tasks_not_partitions() -> None:
    with pytest.raises(InputError, match="4 workers for 3 tasks"):
        plan_sweep(sweep(files=(8,), workers=(4,), keys={"world_size": 3}), CUTS[:1], 8)


def test_a_data_size_below_half_a_partition_is_said() -> None:
    plan = plan_sweep(sweep(data_sizes=("60MB",), workers=(1,)), CUTS, 2)
    assert [item.files for item in plan.configurations] == [2, 1]
    plan = plan_sweep(sweep(data_sizes=("40MB",), workers=(1,)), CUTS, 2)
    assert "less than half a partition of 100.0 MiB" in plan.impossible[0].reason


def test_a_partition_size_that_cannot_be_is_said() -> None:
    cuts = [Cut("1GB", 1024 * MB, 52_000, 1, "the survey is smaller"), CUTS[0]]
    plan = plan_sweep(sweep(files=(2,), workers=(1,)), cuts, 2)
    assert [item.data for item in plan.configurations] == ["25MB"]
    assert [(item.configuration, item.reason) for item in plan.impossible] == [("1GB", "the survey is smaller")]


def test_two_sizes_that_are_the_same_number_of_partitions_are_run_once() -> None:
    plan = plan_sweep(sweep(data_sizes=("1GB", "1.001GB"), files=(41,), workers=(1,)), CUTS[:1], 2)
    assert len(plan.configurations) == 1
    assert plan.notes == (
        "25MB: 41 files and 1GB are both 41 partitions: they are run once",
        "25MB: 41 files and 1.001GB are both 41 partitions: they are run once",
    )


def test_workers_by_default_fill_the_cores_but_not_more_than_there_are_tasks() -> None:
    plan = plan_sweep(sweep(files=(2, 9), threads=(1, 4)), CUTS[:1], 8)
    assert [(item.files, item.threads, item.workers) for item in plan.configurations] == [
        (2, 1, 2),
        (2, 4, 2),
        (9, 1, 8),
        (9, 4, 2),
    ]
    assert plan_sweep(sweep(files=(2,), engine="aws"), CUTS[:1], 8).configurations[0].workers is None


def test_more_threads_than_cores_are_run_and_said() -> None:
    plan = plan_sweep(sweep(files=(2,), threads=(2,), workers=(2,)), CUTS[:1], 2)
    assert "2 x 2 threads" in plan.notes[0]
    assert plan_sweep(sweep(files=(2,), threads=(2,), workers=(2,), engine="aws"), CUTS[:1], 2).notes == ()


@pytest.mark.parametrize(
    "axes", [{"files": (0,)}, {"batch_sizes": (0,)}, {"threads": (-1,)}, {"workers": (0,)}, {"repeats": 0}]
)
def test_numbers_below_1_are_refused(axes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected numbers of 1 or more"):
        plan_sweep(sweep(**axes), CUTS, 2)


def test_no_size_and_nothing_to_run_are_refused() -> None:
    with pytest.raises(SurveyError, match="not a size"):
        plan_sweep(sweep(data_sizes=("big",)), CUTS, 2)
    with pytest.raises(InputError, match=r"no combination can be run .*50 workers for 2 tasks"):
        plan_sweep(sweep(files=(2,), workers=(50,)), CUTS, 2)


axis = st.lists(st.integers(1, 60), min_size=1, max_size=4).map(tuple)


@given(axis, axis, axis, axis, st.integers(1, 4), st.integers(0, 99))
def test_each_combination_is_either_run_in_every_round_or_named(
    files: tuple[int, ...],
    batch_sizes: tuple[int, ...],
    threads: tuple[int, ...],
    workers: tuple[int, ...],
    repeats: int,
    seed: int,
) -> None:
    cut = Cut("x", MB, 30, 40)
    asked = sweep(files=files, batch_sizes=batch_sizes, threads=threads, workers=workers, repeats=repeats, seed=seed)
    wanted = {Configuration("x", f, b, t, w) for f in files for b in batch_sizes for t in threads for w in workers}
    possible = {item for item in wanted if item.workers <= item.files and item.batch_size <= 30}  # type: ignore[operator]
    if not possible:
        with pytest.raises(InputError):
            plan_sweep(asked, [cut], 2)
        return
    plan = plan_sweep(asked, [cut], 2)
    assert set(plan.configurations) == possible
    assert {item.configuration for item in plan.impossible} == {item.name for item in wanted - possible}
    assert Counter(trial.configuration for trial in plan.trials) == dict.fromkeys(possible, repeats)
    assert len({trial.path for trial in plan.trials}) == len(plan.trials)


@given(st.text(max_size=60))
def test_a_label_can_stand_in_any_path(text: str) -> None:
    assert check_key(f"bench/{label_of(text)}-2files/1", "label")


def test_what_was_measured_tells_how_long_it_takes_by_its_median() -> None:
    wanted = Configuration("25MB", 4, 32, 1, 2)
    assert expected_s(wanted, CUTS[0], {wanted.name: [9.0, 1.0, 2.0]}, None) == 2.0
    assert expected_s(wanted, CUTS[0], {"another": [9.0]}, None) is None


def test_a_profile_tells_how_long_it_takes_before_that() -> None:
    wanted = Configuration("25MB", 4, 32, 1, 2)
    found = expected_s(wanted, CUTS[0], {}, profile(point(32, 1, 2, 100.0), point(32, 4, 2, 900.0)))
    assert found == pytest.approx(2.0 + 4 * (1275 / 100 + 25 * 0.01 + 0.5) / 2)
    assert expected_s(wanted, Cut("25MB", 25 * MB, None, 4), {}, profile(point(32, 1, 2, 100.0))) is None


def test_files_that_share_a_task_share_its_fixed_time_and_its_worker() -> None:
    """Eight files in two tasks keep two workers busy, however many there are."""
    wanted = Configuration("25MB", 8, 32, 1, 4)
    found = expected_s(wanted, CUTS[0], {}, profile(point(32, 1, 2, 100.0)), tasks=2)
    assert found == pytest.approx(2.0 + (8 * (1275 / 100 + 25 * 0.01) + 2 * 0.5) / 2)
    assert [sweep(keys={"world_size": 2}).tasks(files) for files in (1, 8)] == [1, 2]
    assert sweep().tasks(8) == 8


def test_the_time_that_is_told_knows_of_tasks_of_several_files(tmp_path: Path) -> None:
    asked = sweep(files=(8,), workers=(2,), keys={"world_size": 2}, repeats=1)
    plan = plan_sweep(asked, CUTS[:1], 2)
    left = Remaining(asked, Folder(tmp_path), plan, profile(point(32, 1, 2, 100.0)))
    assert left.time(plan.trials) == (pytest.approx(2.0 + (8 * (1275 / 100 + 25 * 0.01) + 2 * 0.5) / 2), 0)


def test_what_is_not_asked_for_is_taken_from_the_payload(tmp_path: Path) -> None:
    payload = tmp_path / "night.json"
    payload.write_text(
        '{"bucket": "b", "data_bucket": "d", "data_prefix": "25MB", "result_path": "r", "file_limit": "7",'
        '"batch_size": 64, "max_attempts": 1, "model": "m.onnx", "max_concurrency": 2}'
    )
    asked = asked_sweep(payload=payload, threads=(2,), model="n.onnx")
    assert (asked.name, asked.source, asked.bucket, asked.data_bucket) == ("night", "d/25MB", "b", "d")
    assert (asked.files, asked.batch_sizes, asked.threads, asked.workers) == ((7,), (64,), (2,), (2,))
    assert asked.keys == {"max_attempts": 1, "model": "n.onnx"}
    assert (asked.result_path, asked.data_prefix) == ("bench/night", "bench/night/data")
    assert asked_sweep(payload=payload, data_sizes=("1GB",)).files == ()


def test_without_a_payload_the_source_says_where() -> None:
    survey = asked_sweep("some/survey.safetensors", partition_sizes=("25MB",))
    assert (survey.name, survey.bucket, survey.data_bucket) == ("survey", "bench", "bench")
    folder = asked_sweep("sky/surveys/25MB", engine="aws")
    assert (folder.name, folder.bucket, folder.data_bucket) == ("25MB", "sky", "sky")
    assert folder.result_path.startswith("results/"), "where a stack may write"
    assert folder.data_prefix.startswith("surveys/")


def test_nothing_to_run_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to run over"):
        asked_sweep()
    payload = tmp_path / "p.json"
    payload.write_text('{"bucket": "b", "data_bucket": "d", "data_prefix": "25MB", "result_path": "r"}')
    with pytest.raises(InputError, match="no survey to cut"):
        asked_sweep(payload=payload, partition_sizes=("25MB",))
