"""What a run costs: AWS's arithmetic by hand, the original table's formula, and that no digit is lost."""

import csv
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bills import quantity, usd
from skyfan.cost import (
    AwsUse,
    Cost,
    LambdaUse,
    Requests,
    S3Use,
    StatesUse,
    billed_ms,
    billed_run,
    express_billed_ms,
    local_run,
    seed_cost_usd,
    seed_throughput_all_data_by_one_worker_gb_s,
)
from skyfan.errors import InputError
from skyfan.prices import load_prices

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cost.md").read_text()
US = load_prices()
NO_STATES = StatesUse(children="EXPRESS", child_executions=0, parent_transitions=0)
NO_S3 = S3Use(requests=Requests())

with (Path(__file__).parent / "data" / "seed-performance.csv").open(newline="") as _file:
    SEED = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(_file)]
SEED_MEMORY_MB = 10_240
SEED_BILLED_S = 12.8
"""Median of the first row's run."""
SEED_START_UP_S = SEED_BILLED_S - SEED[0]["avg_runtime_s"]


def calls(memory_mb: int, invocations: int, milliseconds: int, **more: Any) -> LambdaUse:
    """Invocations of one length."""
    return LambdaUse(
        name="infer", memory_mb=memory_mb, invocations=invocations, billed_ms=invocations * milliseconds, **more
    )


def bill(*functions: LambdaUse, states: StatesUse = NO_STATES, s3: S3Use = NO_S3, logged_bytes: int = 0) -> Cost:
    return billed_run(AwsUse(functions=functions, states=states, s3=s3, logged_bytes=logged_bytes), US)


def test_lambda_as_on_awss_page() -> None:
    """Its example of 3 million calls of 120 ms with 1,536 MB, which takes 400,000 GB-s and a million calls off."""
    cost = bill(calls(1536, 3_000_000, 120))
    assert quantity(cost, "compute") == 540_000
    assert usd(cost, "compute") == Decimal("9.000018")
    assert usd(cost, "requests") == Decimal("0.6")
    free = 400_000 * US.lambda_x86_64.unit_usd + 1_000_000 * US.lambda_request.unit_usd
    assert round(usd(cost, "compute") + usd(cost, "requests") - free, 2) == Decimal("2.73")


def test_lambda_by_the_second_as_on_an_older_page() -> None:
    """3 million calls of 1 s with 512 MB are 1.5 million GB-s: a GB is 1,024 MB."""
    assert quantity(bill(calls(512, 3_000_000, 1000)), "compute") == 1_500_000


def test_arm_is_a_fifth_cheaper() -> None:
    x86, arm = (bill(calls(1769, 100, 2200, architecture=name)) for name in ("x86_64", "arm64"))
    assert float(usd(arm, "compute") / usd(x86, "compute")) == pytest.approx(0.8, abs=1e-5)
    assert usd(arm, "requests") == usd(x86, "requests")


def test_only_storage_above_512_mb_is_billed() -> None:
    """A million calls of 1 s with 10,240 MB of /tmp: 9.5 GB x 1,000,000 s x 0.0000000309 USD = 0.29355 USD."""
    assert usd(bill(calls(128, 1_000_000, 1000, ephemeral_mb=10_240)), "above 512 MB") == Decimal("0.29355")
    assert usd(bill(calls(128, 1_000_000, 1000, ephemeral_mb=512)), "above 512 MB") == 0


def test_init_is_billed_and_milliseconds_are_rounded_up_once() -> None:
    assert billed_ms(1049.63, 1293.83) == 2344  # a REPORT line that was published
    assert billed_ms(0.057 * 1000) == 57  # a float's 57.00000000000001 would be 58
    assert billed_ms(10) == 10
    assert billed_ms(10.001) == 11
    assert billed_ms(0) == 0


def test_express_children_as_on_awss_page() -> None:
    """100 million executions of 10 s and 62.85 MB, billed as 64: 62.5 million GB-s, 100 USD of requests."""
    use = StatesUse(
        children="EXPRESS",
        child_executions=100_000_000,
        parent_transitions=0,
        child_billed_ms=100_000_000 * express_billed_ms(10_000),
        child_memory_mb=63,
    )
    cost = bill(states=use)
    assert quantity(cost, "time of EXPRESS children") == 62_500_000
    assert usd(cost, "Functions: EXPRESS children") == 100


@pytest.mark.parametrize(("milliseconds", "billed"), [(0, 0), (1, 100), (100, 100), (100.1, 200), (2345, 2400)])
def test_express_children_are_billed_by_100_ms(milliseconds: float, billed: int) -> None:
    assert express_billed_ms(milliseconds) == billed


@pytest.mark.parametrize(("used", "billed"), [(1, 64), (64, 64), (65, 128)])
def test_express_children_are_billed_by_64_mb(used: int, billed: int) -> None:
    use = StatesUse(
        children="EXPRESS", child_executions=1, parent_transitions=0, child_billed_ms=1_024_000, child_memory_mb=used
    )
    assert quantity(bill(states=use), "time of EXPRESS") == billed


def test_transitions() -> None:
    """516 children: the parent pays 3 + 516 transitions; STANDARD children one each, EXPRESS ones none."""
    standard = StatesUse(children="STANDARD", child_executions=516, parent_transitions=3, child_transitions=516)
    express = StatesUse(children="EXPRESS", child_executions=516, parent_transitions=3, child_transitions=516)
    assert bill(states=standard).total_usd == Decimal("0.025875")  # 1,035 x 0.000025
    assert bill(states=express).total_usd == Decimal("0.013491")  # 519 x 0.000025 + 516 x 0.000001


def test_store_and_logs() -> None:
    s3 = S3Use(requests=Requests(get=1_000_000, put=10_000, list=1000), stored_bytes=100 * 1024**3, stored_days=15.0)
    cost = bill(s3=s3, logged_bytes=2 * 1024**3)
    assert usd(cost, "GET") == Decimal("0.4")
    assert usd(cost, "PUT") == Decimal("0.05")
    assert usd(cost, "LIST") == Decimal("0.005")
    assert usd(cost, "storage") == Decimal("1.15")  # 50 GB-months
    assert usd(cost, "logs") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: calls(127, 1, 1), "memory_mb: got 127; expected a number from 128 to 10240"),
        (lambda: calls(10_241, 1, 1), "memory_mb: got 10241"),
        (lambda: calls(128, 1, 1, ephemeral_mb=511), "ephemeral_mb: got 511"),
        (lambda: calls(128, -1, 1), "invocations: got -1"),
        (lambda: Requests(get=-1), "get: got -1"),
        (lambda: S3Use(requests=Requests(), stored_days=float("nan")), "stored_days: got nan"),
        (lambda: billed_ms(float("inf")), "duration_ms: got inf"),
        (lambda: billed_ms(1, -1), "init_ms: got -1"),
        (lambda: local_run(0, 1, US), "workers: got 0"),
        (lambda: seed_throughput_all_data_by_one_worker_gb_s(1, 0), "worker_s: got 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()


counts = st.integers(0, 10**9)


@st.composite
def uses(draw: st.DrawFn) -> AwsUse:
    function = LambdaUse(
        name="infer",
        memory_mb=draw(st.integers(128, 10_239)),
        invocations=draw(counts),
        billed_ms=draw(counts),
        ephemeral_mb=draw(st.integers(512, 10_239)),
        architecture=draw(st.sampled_from(["x86_64", "arm64"])),
    )
    states = StatesUse(
        children=draw(st.sampled_from(["EXPRESS", "STANDARD"])),
        child_executions=draw(counts),
        parent_transitions=draw(counts),
        child_transitions=draw(counts),
        child_billed_ms=draw(counts),
        child_memory_mb=draw(st.integers(0, 1000)),
    )
    requests = Requests(get=draw(counts), put=draw(counts), list=draw(counts))
    s3 = S3Use(requests=requests, stored_bytes=draw(counts), stored_days=draw(st.floats(0, 10_000)))
    return AwsUse(functions=(function,), states=states, s3=s3, logged_bytes=draw(counts))


@given(uses())
def test_lines_add_up_to_the_last_digit(use: AwsUse) -> None:
    cost = billed_run(use, US)
    assert cost.total_usd == sum(line.usd for line in cost.lines)
    assert all(line.usd >= 0 for line in cost.lines)
    assert all(abs(line.quantity * line.unit_usd - line.usd) <= Decimal("1e-12") for line in cost.lines)
    assert msgspec.json.decode(msgspec.json.encode(cost), type=Cost) == cost


@given(uses(), st.data())
def test_more_of_anything_is_never_cheaper(use: AwsUse, data: st.DataObject) -> None:
    (function,) = use.functions
    more = st.integers(1, 10**6)
    place, name = data.draw(
        st.sampled_from(
            [(function, "memory_mb"), (function, "ephemeral_mb"), (function, "billed_ms"), (function, "invocations")]
            + [(use.states, f"child_{name}") for name in ("executions", "transitions", "billed_ms", "memory_mb")]
            + [(use.states, "parent_transitions"), (use.s3, "stored_bytes"), (use, "logged_bytes")]
            + [(use.s3.requests, name) for name in ("get", "put", "list")]
        )
    )
    step = 1 if name in {"memory_mb", "ephemeral_mb"} else data.draw(more)
    larger = structs.replace(place, **{name: getattr(place, name) + step})
    match larger:
        case LambdaUse():
            dearer = structs.replace(use, functions=(larger,))
        case StatesUse():
            dearer = structs.replace(use, states=larger)
        case S3Use():
            dearer = structs.replace(use, s3=larger)
        case Requests():
            dearer = structs.replace(use, s3=structs.replace(use.s3, requests=larger))
        case AwsUse():
            dearer = larger
    assert billed_run(dearer, US).total_usd >= billed_run(use, US).total_usd


@given(st.integers(128, 10_239), st.floats(0, 9e5), st.floats(0, 1e5))
def test_more_memory_or_time_never_costs_less_than_before(memory_mb: int, duration_ms: float, more_ms: float) -> None:
    first = bill(calls(memory_mb, 1, billed_ms(duration_ms))).total_usd
    assert bill(calls(memory_mb + 1, 1, billed_ms(duration_ms))).total_usd >= first
    assert bill(calls(memory_mb, 1, billed_ms(duration_ms + more_ms))).total_usd >= first
    assert bill(calls(memory_mb, 1, billed_ms(duration_ms, more_ms))).total_usd >= first


def test_cores_of_ones_own() -> None:
    """8 workers for 30 minutes are 4 core-hours; rented, two machines of 4 vCPUs for half an hour."""
    found = local_run(8, 1800, US)
    assert found.core_hours == 4
    assert found.rented.total_usd == Decimal("0.1785")
    assert found.rented.lines[0].what == "EC2: 2 x c7i.xlarge on demand"


def test_rented_machines_are_whole_and_billed_for_a_minute_at_least() -> None:
    found = local_run(5, 17.9, US)
    assert found.rented.lines[0].quantity == Decimal(2 * 60) / 3600
    assert float(found.core_hours) == pytest.approx(5 * 17.9 / 3600)


@pytest.mark.parametrize("row", SEED, ids=lambda row: f"{row['partition_mb']:.0f}MB-{row['file_limit']:.0f}")
def test_the_seeds_table(row: dict[str, float]) -> None:
    cost = seed_cost_usd(int(row["file_limit"]), row["avg_runtime_s"], row["memory_mb"])
    assert float(cost) == pytest.approx(row["cost_usd"], abs=2e-4)
    # relative: the sizes are printed to 0.01 GB, which is 7e-4 GB/s of the second row
    throughput = seed_throughput_all_data_by_one_worker_gb_s(row["data_size_gb"], row["avg_runtime_s"])
    assert throughput == pytest.approx(row["throughput_printed"], rel=5e-4)


def test_the_seeds_table_has_eight_rows() -> None:
    assert len(SEED) == 8


def test_what_the_first_row_was_billed() -> None:
    cost = bill(calls(SEED_MEMORY_MB, 516, billed_ms(SEED_BILLED_S * 1000)))
    assert float(cost.total_usd) == pytest.approx(1.10, abs=0.005)
    assert float(cost.total_usd) / SEED[0]["cost_usd"] == pytest.approx(11.5, abs=0.05)


def _seed_line(row: dict[str, float]) -> str:
    workers, seconds = int(row["file_limit"]), row["avg_runtime_s"]
    configured = bill(calls(SEED_MEMORY_MB, workers, billed_ms(seconds * 1000))).total_usd
    billed = bill(calls(SEED_MEMORY_MB, workers, billed_ms((seconds + SEED_START_UP_S) * 1000))).total_usd
    formula = seed_cost_usd(workers, seconds, row["memory_mb"])
    return (
        f"| {row['partition_mb']:.0f} | {workers} | {row['cost_usd']:.4f} | {formula:.4f} | {configured:.2f} | "
        f"{billed:.2f} | {float(billed) / row['cost_usd']:.1f} |"
    )


def test_the_pages_table_is_computed() -> None:
    missing = [line for line in map(_seed_line, SEED) if line not in PAGE]
    assert missing == []
