"""Layouts, settings and what they come to, on profiles that are made up."""

import math
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from skyfan.errors import InputError, SurveyError
from skyfan.estimating.fleet import ACCOUNT_CONCURRENCY
from skyfan.prices import load_prices
from skyfan.survey import parse_size
from skyfan.tuning.asked import Asked, decimal
from skyfan.tuning.choosing import choose
from skyfan.tuning.found import Found
from skyfan.tuning.layout import layouts
from skyfan.tuning.outcome import MARGIN, Ground, core_hour_usd, outcome_of
from skyfan.tuning.recommendation import commands, keys, left_out, prefix_for
from skyfan.tuning.setting import aws_settings, disturbed, local_settings, worth_trying
from skyfan.tuning.tuner import reckon
from skyfan.tuning.wish import GOALS, Goal, Wish
from tuning.ways import ROW_BYTES, payload, plan, point, profile

PRICES = load_prices()
HERE = Ground(prices=PRICES, memory_mb=100_000)
THERE = Ground(prices=PRICES, remote=True, concurrency=100)
ANY = Wish(goal="cost")


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 5000), st.integers(1, 60), st.lists(st.integers(1, 8), max_size=3))
def test_every_layout_has_all_rows_once(partitions: int, rows: int, world_size: int, workers: list[int]) -> None:
    whole = plan(partitions, rows, world_size=world_size)
    ways = layouts(whole, ROW_BYTES, sizes=("10MB", "100MB"), workers=workers)
    assert ways[0].own
    assert ways[0].volume.tasks == len(whole.tasks)
    assert sum(way.own for way in ways) == 1
    for way in ways:
        volume = way.volume
        assert volume.rows == partitions * rows
        assert len(volume.shares) in {1, volume.tasks}
        if way.size:
            assert volume.largest_partition_bytes <= int(way.size[:-2]) * 1024**2
        else:
            assert volume.partitions == partitions
            assert (way.world_size is None) == (volume.tasks == partitions)


def test_a_size_that_is_there_is_not_cut_anew() -> None:
    sizes = [way.size for way in layouts(plan(8, 1300), ROW_BYTES, sizes=("25MB", "50MB")) if way.size]
    assert sizes == ["50MB"]


@pytest.mark.parametrize(("size", "error"), [("10KB", InputError), ("large", SurveyError)])
def test_sizes_that_cannot_be(size: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="size"):
        layouts(plan(), ROW_BYTES, sizes=(size,))


def test_a_batch_size_that_is_slower_and_larger_is_not_tried() -> None:
    points = (point(16, 500, 150), point(32, 510, 180), point(64, 505, 220), point(128, 400, 400))
    kept = [one.batch_size for one in worth_trying(local_settings(profile(*points)))]
    assert kept == [32, 16]


def test_more_workers_are_faster_and_cost_the_same_cores() -> None:
    points = (point(32, 500, workers=1), point(32, 500, workers=2))
    one, two = (
        outcome_of(layouts(plan(), ROW_BYTES)[0], setting, HERE, ANY) for setting in local_settings(profile(*points))
    )
    assert two.wall_s < 0.6 * one.wall_s
    assert two.cost_usd == pytest.approx(2 * two.wall_s / 3600 * core_hour_usd(PRICES), rel=1e-3)
    assert one.cost_usd == pytest.approx(one.wall_s / 3600 * core_hour_usd(PRICES), rel=1e-3)
    assert one.wall_p90_s > one.wall_s


def test_a_function_with_half_a_core_takes_twice_as_long_and_with_two_no_less() -> None:
    layout = layouts(plan(), ROW_BYTES)[0]
    found = aws_settings(profile(), {}, (885, 1769, 3538), ("arm64",))
    half, whole, two = (outcome_of(layout, setting, THERE, ANY) for setting in found)
    assert half.task_s == pytest.approx(2 * whole.task_s, rel=0.01)
    assert two.wall_s == whole.wall_s
    assert two.cost_usd > 1.5 * whole.cost_usd
    assert not any(setting.measured for setting in found)


def test_a_pilot_on_aws_is_surer_than_this_machine() -> None:
    piloted = profile(machine="AWS Lambda aarch64, 1769 MB", cores=0, origin="reports")
    there, other = aws_settings(None, {(1769, "arm64"): piloted}, (1769,), ("arm64", "x86_64"))
    (reckoned,) = aws_settings(profile(), {}, (1769,), ("arm64",))
    assert there.measured
    assert there.basis.factor < other.basis.factor == reckoned.basis.factor
    assert other.basis.said[-1] == "x86_64 is taken to be as fast as the processor that was measured"


def test_what_others_disturbed_is_less_sure() -> None:
    layout = layouts(plan(), ROW_BYTES)[0]
    quiet, busy = (disturbed(local_settings(profile()), load)[0] for load in (0.1, 1.5))
    assert quiet.basis.factor == local_settings(profile())[0].basis.factor
    assert busy.basis.factor == 2.5
    assert "others were at work here" in busy.basis.said[-1]
    assert outcome_of(layout, busy, HERE, ANY).wall_p90_s > 1.5 * outcome_of(layout, quiet, HERE, ANY).wall_p90_s


def test_arm_is_cheaper_where_nothing_else_is_known() -> None:
    found = Found(
        plan=plan(),
        profiles=(profile(),),
        settings=aws_settings(profile(), {}, (1769,), ("x86_64", "arm64")),
        ground=THERE,
    )
    assert reckon(found, ANY, Asked(engine="aws", no_pilot=True)).choice.pick.setting.architecture == "arm64"


def test_memory_has_a_margin() -> None:
    layout = layouts(plan(), ROW_BYTES)[0]
    (setting,) = aws_settings(profile(), {}, (256,), ("arm64",))
    small = outcome_of(layout, setting, THERE, ANY)
    assert [fault.kind for fault in small.faults] == ["memory"]
    assert small.memory_mb < 256 < small.memory_mb * MARGIN
    (crowd,) = local_settings(profile(point(workers=4)))
    fits = outcome_of(layout, crowd, structs.replace(HERE, memory_mb=4 * 200 * MARGIN + 1), ANY)
    lacks = outcome_of(layout, crowd, structs.replace(HERE, memory_mb=4 * 200 * MARGIN - 1), ANY)
    assert fits.feasible
    assert [fault.kind for fault in lacks.faults] == ["memory"]


@pytest.mark.parametrize(
    ("rows", "children", "said"),
    [
        (40_000, "EXPRESS", "and an EXPRESS child has 120 s for it"),
        (40_000, "STANDARD", ""),
        (400_000, "STANDARD", "and has 900 s (task_timeout_s)"),
    ],
)
def test_a_task_must_end_in_time(rows: int, children: str, said: str) -> None:
    layout = layouts(plan(4, rows), ROW_BYTES)[0]
    (setting,) = aws_settings(profile(), {}, (10_240,), ("arm64",))
    faults = outcome_of(layout, setting, structs.replace(THERE, children=children), ANY).faults
    assert any(fault.kind == "task time" and said in fault.says for fault in faults) == bool(said)


@pytest.mark.parametrize("goal", GOALS)
def test_the_best_of_a_made_up_profile_is_found(goal: Goal) -> None:
    """Batch 64 is the fastest; two workers share what they have, so that one is cheaper and two are faster."""
    points = [point(batch, 500 - abs(batch - 64), workers=1) for batch in (16, 32, 64, 128)]
    points += [point(batch, 0.8 * (500 - abs(batch - 64)), workers=2) for batch in (16, 32, 64, 128)]
    found = Found(
        plan=plan(batch_size=16), profiles=(profile(*points),), settings=local_settings(profile(*points)), ground=HERE
    )
    pick = reckon(found, Wish(goal=goal), Asked()).choice.pick
    assert pick.setting.batch_size == 64
    assert pick.setting.workers == (1 if goal == "cost" else 2)
    assert not pick.layout.size


def test_short_tasks_on_aws_are_grouped_to_save_money() -> None:
    """Where starting a worker takes as long as its work, fewer tasks cost less, and the partitions stay."""
    slow_start = profile(point(32, 5000), s_per_cold_start=3.0)
    found = Found(
        plan=plan(64, 500),
        profiles=(slow_start,),
        settings=aws_settings(slow_start, {}, (1769,), ("arm64",)),
        ground=THERE,
    )
    cheap = reckon(found, Wish(goal="cost"), Asked(engine="aws", no_pilot=True)).choice.pick
    fast = reckon(found, Wish(goal="time"), Asked(engine="aws", no_pilot=True)).choice.pick
    assert cheap.layout.world_size is not None
    assert cheap.layout.volume.tasks < fast.layout.volume.tasks
    assert not cheap.layout.size


def test_why_ways_are_left_out_is_counted() -> None:
    layout = layouts(plan(), ROW_BYTES)[0]
    wish = Wish(goal="cost", deadline_s=0.5)
    ways = [
        outcome_of(layout, setting, THERE, wish) for setting in aws_settings(profile(), {}, (256, 1769), ("arm64",))
    ]
    counted = {one.why: one.ways for one in left_out(ways)}
    assert counted == {"memory": 1, "deadline": 2}
    assert not choose(ways, wish).met


def test_commands_for_a_new_stack_and_new_partitions() -> None:
    given = payload(world_size=4)
    ways = layouts(plan(8, 1300, world_size=4), ROW_BYTES, sizes=("50MB",))
    (setting,) = aws_settings(profile(point(64)), {}, (3008,), ("arm64",))
    cut = next(way for way in ways if way.size)
    pick = structs.replace(outcome_of(cut, setting, THERE, ANY), task_s=100.2)
    assert keys(pick, given) == {"batch_size": 64, "threads": 1, "world_size": 4, "data_prefix": "surveys/50MB"}
    keys_said = "--batch-size 64 --threads 1 --world-size 4 --data-prefix surveys/50MB"
    assert list(commands(pick, given, named="my pay.json", place=["--stack", "two"])) == [
        "skyfan partition SURVEY sky/surveys/50MB --size 50MB --store ./skyfan-data",
        "skyfan aws upload ./skyfan-data/sky/surveys/50MB sky/surveys/50MB --stack two",
        "skyfan aws deploy --memory 3008 --architecture arm64 --set InferTimeout=101 --stack two",
        f"skyfan run 'my pay.json' --engine aws --stack two {keys_said}",
    ]


@pytest.mark.parametrize(
    ("variable", "store", "root"),
    [("", "/my data/", "/my data/"), ("/elsewhere", None, "/elsewhere"), ("s3://", None, "./skyfan-data")],
)
def test_partitions_are_uploaded_from_where_they_were_cut(
    variable: str, store: str | None, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKYFAN_STORE", variable)
    (setting,) = aws_settings(profile(), {}, (1769,), ("arm64",))
    cut = next(way for way in layouts(plan(8, 1300), ROW_BYTES, sizes=("50MB",)) if way.size)
    first, second, *_ = commands(outcome_of(cut, setting, THERE, ANY), payload(), named="p", place=[], store=store)
    assert shlex.split(first)[-2:] == ["--store", root]
    assert shlex.split(second)[3] == f"{root.rstrip('/')}/sky/surveys/50MB"


@pytest.mark.parametrize(("size", "limit"), [("10MB", 20), ("50MB", 4)])
def test_a_limit_of_files_counts_the_partitions_cut_anew(size: str, limit: int) -> None:
    given = payload(file_limit=8)
    (setting,) = local_settings(profile())
    ways = layouts(plan(8, 1300, file_limit=8), ROW_BYTES, sizes=(size,))
    pick = outcome_of(next(way for way in ways if way.size), setting, HERE, ANY)
    assert keys(pick, given)["file_limit"] == limit == math.ceil(8 * 1300 * ROW_BYTES / parse_size(size))
    assert list(commands(pick, given, named="p", place=[]))[-1].endswith(f"--file-limit {limit}")
    assert "file_limit" not in keys(pick, payload())
    assert "file_limit" not in keys(outcome_of(ways[0], setting, HERE, ANY), given)


@pytest.mark.parametrize(
    ("concurrency", "of_payload", "expected"), [(None, None, 20), (None, 5, 5), (None, 50, 20), (50, 5, 50)]
)
def test_tasks_at_a_time_are_what_can_be(concurrency: int | None, of_payload: int | None, expected: int) -> None:
    given = payload() if of_payload is None else payload(max_concurrency=of_payload)
    assert Asked(engine="aws", concurrency=concurrency).at_a_time(given, 20) == expected


def test_more_tasks_at_a_time_than_the_stack_starts_are_deployed() -> None:
    (setting,) = aws_settings(profile(), {}, (1769,), ("arm64",))
    pick = outcome_of(layouts(plan(), ROW_BYTES)[0], setting, THERE, ANY)
    stack = {"InferMemory": "1769", "Architecture": "arm64", "InferTimeout": "90", "MaxConcurrency": "20"}

    def typed(concurrency: int | None) -> list[str]:
        return list(commands(pick, payload(), named="p", place=[], stack=stack, concurrency=concurrency))

    assert typed(50)[0] == "skyfan aws deploy --max-concurrency 50"
    assert typed(50)[-1].endswith("--max-concurrency 50")
    assert typed(10) == [f"{typed(None)[0]} --max-concurrency 10"]
    assert keys(pick, payload(max_concurrency=50), 50) == keys(pick, payload())


def test_an_account_is_not_larger_for_what_is_asked() -> None:
    (setting,) = aws_settings(profile(), {}, (1769,), ("arm64",))
    layout = layouts(plan(1500, 10), ROW_BYTES)[0]
    most = outcome_of(layout, setting, structs.replace(THERE, concurrency=5000), ANY)
    assert most.workers <= ACCOUNT_CONCURRENCY < layout.volume.tasks


def test_commands_for_this_machine() -> None:
    given = payload()
    (setting,) = local_settings(profile(point(64, workers=2)))
    grouped = next(way for way in layouts(plan(), ROW_BYTES) if way.world_size == 4)
    pick = outcome_of(grouped, setting, HERE, ANY)
    assert list(commands(pick, given, named="p.json", place=[], store="/data; rm -rf")) == [
        "skyfan run p.json --store '/data; rm -rf' --workers 2 --batch-size 64 --threads 1 --world-size 4"
    ]


def test_a_folder_for_another_size() -> None:
    assert prefix_for("surveys/25MB", "50MB") == "surveys/50MB"
    assert prefix_for("25MB", "50MB") == "50MB"
    assert prefix_for("surveys/sdss", "50MB") == "surveys/sdss-50MB"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Asked(engine="aws", workers=(2,)), "workers: got .* with the engine 'aws'"),
        (Asked(memory=(1024,)), "memory: got .* with the engine 'local'"),
        (Asked(no_pilot=True), "no_pilot: .* expected it with 'aws'"),
        (Asked(engine="aws", memory=(64,)), "memory: got 64 MB; expected 128 to 10240"),
        (Asked(engine="aws", store="/data"), "store: got /data with a pilot on AWS; expected s3://.*--no-pilot"),
        (Asked(batch_sizes=(0,)), "batch_sizes: got .*; expected numbers of 1 or more"),
        (Asked(threads=()), "threads: got none"),
        (Asked(pilot_partitions=0), "pilot_partitions: got 0; expected 1"),
    ],
)
def test_what_does_not_go_together(given: Asked, said: str) -> None:
    with pytest.raises(InputError, match=said):
        given.check()


@pytest.mark.parametrize("text", ["0", "-1", "nan", "much"])
def test_a_limit_in_money_is_above_zero(text: str) -> None:
    with pytest.raises(InputError, match=r"max_cost: got .*; expected USD above 0"):
        decimal(text)
