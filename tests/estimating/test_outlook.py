"""What a run will take: by hand, how sure, and what will not go well."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import skyfan
from bills import quantity, usd
from skyfan.aws.forecast import FULL_CORE_MB
from skyfan.estimating import cautions
from skyfan.estimating.basis import Basis
from skyfan.estimating.bill import CONTROL_MB, MB_BYTES, Setup, Speed
from skyfan.estimating.outlook import Outlook, Quantiles, outlook
from skyfan.estimating.place import Cloud, Machine
from skyfan.estimating.volume import Volume
from skyfan.host import usable_cores
from skyfan.prices import load_prices

US = load_prices()
SPEED = Speed(s_per_row=0.001, s_per_mb=0.02, s_per_task=0.1, s_per_cold_start=1.0)
SETUP = Setup(memory_mb=1769)
MB25 = 25 * MB_BYTES


def sure(**more: Any) -> Basis:
    """Return a basis that leaves nothing to chance."""
    given = {"speed": SPEED, "task_spread": 0.0, "factor": 1.0, "row_bytes": 20_000.0, "peak_memory_mb": 150.0}
    return Basis(**{**given, "said": ("by hand",), **more})


def alike(tasks: int, rows: int = 1_000, **more: Any) -> Volume:
    """Return a volume of tasks of one partition of 25 MiB each."""
    volume = Volume.imagined(row_bytes=MB25 / rows, partition_bytes=MB25, rows=tasks * rows)
    return structs.replace(volume, **more)


def aws(volume: Volume, basis: Basis | None = None, **place: Any) -> Outlook:
    return outlook(volume, basis or sure(), Cloud(**{"setup": SETUP, **place}), US)


def local(volume: Volume, basis: Basis | None = None, workers: int = 2, **place: Any) -> Outlook:
    return outlook(volume, basis or sure(), Machine(workers, **place), US)


TASK_S = 1_000 * 0.001 + 25 * 0.02 + 0.1


def test_a_run_on_aws_by_hand() -> None:
    """800 tasks at once, each in an environment of its own: all end together."""
    found = aws(alike(800))
    assert found.task_s == found.largest_task_s == pytest.approx(TASK_S)
    assert found.map_wall_s == Quantiles(*[pytest.approx(TASK_S + 1.0)] * 3)
    assert found.whole_run_s.p50 == pytest.approx(found.map_wall_s.p50 + found.initialize_s + found.summarize_s)
    assert (found.tasks, found.workers, found.started, found.partitions) == (800, 800, 800, 800)
    assert found.worker_peak_memory_mb == 150 + 25
    assert (found.memory_mb, found.core_hours) == (1769, None)
    billed_ms = 800 * round(1000 * (TASK_S + 1.0))
    assert quantity(found.cost.typical, "Lambda infer: compute") == Decimal(1769) * billed_ms / 1_024_000
    assert found.cost.low == found.cost.typical == found.cost.high


def test_a_run_here_by_hand() -> None:
    """Two workers, five tasks: one of them does three."""
    found = local(alike(5))
    map_s = 1.0 + 3 * TASK_S
    assert found.map_wall_s.p50 == pytest.approx(map_s, abs=0.01)
    assert (found.workers, found.started, found.memory_mb) == (2, 2, None)
    assert found.worker_peak_memory_mb == 150
    assert found.core_hours is not None
    assert found.core_hours.p50 == pytest.approx(2 * found.whole_run_s.p50 / 3600, rel=1e-3)
    assert usd(found.cost.typical, "EC2: 1 x c7i.xlarge") == found.cost.typical.total_usd > 0


def test_the_bill_is_for_the_seconds_that_were_simulated() -> None:
    """Some environments are used again, so that fewer starts are billed than there are tasks."""
    found = aws(alike(6_000), concurrency=5_000, account_concurrency=5_000)
    assert 1_000 < found.started < 6_000
    busy_s = 6_000 * TASK_S + found.started * 1.0
    assert float(quantity(found.cost.typical, "Lambda infer: compute")) == pytest.approx(
        busy_s * 1769 / 1024, rel=0.001
    )


def test_a_basis_that_may_be_off_gives_a_wider_range() -> None:
    ranges = [aws(alike(900), sure(factor=factor)) for factor in (1.0, 1.3, 2.0, 4.0)]
    for found, factor in zip(ranges, (1.0, 1.3, 2.0, 4.0), strict=True):
        middle = found.map_wall_s.p50
        assert found.map_wall_s.p90 / middle == pytest.approx(factor, rel=0.02)
        assert middle / found.map_wall_s.p10 == pytest.approx(factor, rel=0.02)
        assert found.factor == factor
        assert found.cost.low.total_usd <= found.cost.typical.total_usd <= found.cost.high.total_usd


def test_a_seed_says_the_same_and_another_something_else() -> None:
    volume, basis, place = alike(100), sure(task_spread=0.3, factor=1.5), Machine(2)
    one, same, other = (outlook(volume, basis, place, US, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.map_wall_s != other.map_wall_s
    assert one.map_wall_s.p50 == pytest.approx(other.map_wall_s.p50, rel=0.05)


def test_five_repeats_are_the_tenth_the_middle_and_the_ninetieth_percentile() -> None:
    assert Quantiles.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Quantiles(1.0, 3.0, 5.0)


def test_many_tasks_take_what_their_rows_take() -> None:
    """16 million tasks, as of 20 billion galaxies: the middle is reckoned, and the whole is still the sum."""
    found = aws(alike(16_000_000), concurrency=10_000, account_concurrency=10_000)
    assert found.played < found.tasks == 16_000_000
    assert found.map_wall_s.p50 == pytest.approx(16e6 * TASK_S / 10_000, rel=0.03)
    assert any("played through" in text for text in found.basis)


def test_fetched_partitions_are_held_in_memory_and_mapped_ones_are_not() -> None:
    one, several = alike(10), alike(10, partitions_of_a_task=3)
    assert [local(volume).worker_peak_memory_mb for volume in (one, several)] == [150, 150]
    assert [local(volume, remote=True).worker_peak_memory_mb for volume in (one, several)] == [175, 200]
    assert aws(several).worker_peak_memory_mb == 200
    assert aws(one, sure(peak_memory_mb=None)).worker_peak_memory_mb is None


def warned(found: Outlook) -> str:
    return " | ".join(found.warnings)


def slow(task_s: float, **more: Any) -> Basis:
    return sure(speed=structs.replace(SPEED, s_per_row=task_s / 1_000), **more)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda: aws(alike(10), slow(1_000)), "Lambda ends it after 900 s"),
        (lambda: aws(alike(10), slow(200, factor=2.0)), "its EXPRESS child is ended after 300 s"),
        (lambda: aws(alike(10), slow(100)), "--set InferTimeout=20"),
        (lambda: aws(alike(10, task_timeout_s=3.0)), "has 3 s (task_timeout_s)"),
        (lambda: local(alike(10, task_timeout_s=3.0)), "has 3 s (task_timeout_s)"),
        (lambda: aws(alike(10), setup=Setup(memory_mb=160)), "takes 175 MiB, and has 160 MB"),
        (lambda: aws(alike(10), sure(peak_memory_mb=None)), "memory of a worker was never measured"),
        (lambda: aws(alike(20_000), concurrency=10_240), "a Distributed Map starts 10,000"),
        (lambda: aws(alike(20_000), concurrency=2_000), "the account has 1,000 Lambdas"),
        (lambda: aws(alike(20_000)), "--max-concurrency 1000"),
        (lambda: aws(alike(600_000)), "Summarize would take about"),
        (lambda: aws(alike(40_000_000)), "Initialize would take about"),
        (lambda: aws(alike(1_000_000)), "Initialize would take about 1,840 MiB"),
        (lambda: aws(alike(100_000), slow(200), concurrency=100), "the state machine ends it after 86400 s"),
        (
            lambda: aws(alike(500_000), slow(0.5), concurrency=10_000, account_concurrency=10_000),
            "of S3 takes 3,500 PUT",
        ),
        (lambda: local(alike(400), workers=300), f"share {usable_cores()} cores"),
        (lambda: local(alike(10), sure(peak_memory_mb=1e7)), "give fewer workers"),
        (lambda: local(alike(10), sure(peak_memory_mb=None)), "memory of a worker was never measured"),
    ],
)
def test_what_will_not_go_well_is_said(found: Any, said: str) -> None:
    assert said in warned(found())


def test_memory_is_what_this_machine_or_its_container_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for left_mb, needs in (
        (299.0, "300 MiB are needed by 2 workers, and this machine has 299 left"),
        (301.0, ""),
        (None, ""),
    ):
        monkeypatch.setattr(cautions, "free_memory_mb", lambda left_mb=left_mb: left_mb)
        said = warned(local(alike(10), workers=2))
        assert needs in said
        assert ("MiB" in said) == bool(needs)


def test_of_what_goes_well_nothing_is_said() -> None:
    assert aws(alike(400)).warnings == ()
    assert local(alike(400), workers=1).warnings == ()
    standard = Setup(memory_mb=1769, children="STANDARD")
    assert "EXPRESS" not in warned(aws(alike(10), slow(400), setup=standard))


def test_limits_are_those_of_the_template_and_the_state_machine() -> None:
    folder = Path(skyfan.__file__).parent / "aws"
    template = (folder / "template.yaml").read_text()

    def default(name: str) -> int:
        found = re.search(rf"^  {name}:\n    Type: Number\n    Default: (\d+)$", template, re.MULTILINE)
        assert found is not None, name
        return int(found[1])

    assert default("InferTimeout") == cautions.STACK_INFER_S
    assert default("MaxConcurrency") == cautions.STACK_CONCURRENCY
    assert default("ControlMemory") == CONTROL_MB
    assert default("ControlTimeout") == cautions.LAMBDA_S
    assert default("InferMemory") == FULL_CORE_MB
    assert json.loads((folder / "statemachine.asl.json").read_text())["TimeoutSeconds"] == cautions.MACHINE_S
