"""What a run will cost: by hand, and with the requests that the stages really make."""

import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import obstore
import pytest
from msgspec import structs

from bills import quantity, usd
from factories import make_rows, tiny_model, write_partition
from skyfan import stages, staging
from skyfan.cost import Requests
from skyfan.errors import InputError
from skyfan.estimating.bill import Job, Setup, Speed, estimated_run, stage_requests
from skyfan.estimating.estimate import Asked, estimate
from skyfan.partitions import Index, PartitionRef
from skyfan.payload import parse_payload
from skyfan.prices import load_prices
from skyfan.storage import Store
from skyfan.summary import Drive

PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
US = load_prices()
JOB = Job(tasks=516, partitions=516, rows=516 * 1278, bytes_in=516 * 1278 * 20_520)
SPEED = Speed(s_per_row=1.9 / 1278, s_per_task=0.02, s_per_cold_start=0.3)
SETUP = Setup(memory_mb=1769)


@pytest.mark.parametrize("children", ["EXPRESS", "STANDARD"])
def test_an_estimate_has_the_same_lines_three_times(children: Any) -> None:
    found = estimated_run(JOB, SPEED, structs.replace(SETUP, children=children), US)
    assert found.low.total_usd < found.typical.total_usd < found.high.total_usd
    assert len({tuple(line.what for line in cost.lines) for cost in (found.low, found.typical, found.high)}) == 1
    steady = [line for line in found.low.lines if line.unit != "GB-s"]
    assert steady == [line for line in found.high.lines if line.unit != "GB-s"]


def test_an_estimate_by_hand() -> None:
    """516 tasks of 1.9 + 0.02 s, all cold with 0.3 s more: 2,220 ms each, 1,769 MB."""
    hand = 516 * Decimal("2.22") * 1769 / 1024 * Decimal("0.0000166667")
    cost = estimated_run(JOB, SPEED, SETUP, US).typical
    assert usd(cost, "Lambda infer: compute") == round(hand, 12)
    assert quantity(cost, "Lambda infer: requests") == 516
    assert quantity(cost, "transitions of the parent") == 516 + 6
    assert quantity(cost, "time of EXPRESS") == Decimal(516) * 2300 * 64 / 1_024_000
    assert usd(cost, "Lambda initialize, summarize: requests") == Decimal("0.0000004")


def test_warm_workers_are_cheaper_and_surplus_ones_are_none() -> None:
    cold, warm, few = (estimated_run(JOB, SPEED, SETUP, US, cold_workers=n).typical.total_usd for n in (9999, 0, 16))
    assert warm < few < cold
    assert cold == estimated_run(JOB, SPEED, SETUP, US).typical.total_usd


def test_large_parts_take_more_requests_and_long_listings_more_pages() -> None:
    small = stage_requests(JOB, 516)
    large = stage_requests(structs.replace(JOB, bytes_out=516 * 11 * 1024**2), 516)
    assert large.put - small.put == 516 * 4  # begin, three pieces, end for one
    many = stage_requests(structs.replace(JOB, tasks=2001, partitions=2001), 0)
    assert many.list == 3 + 2 * 3 + 1


@pytest.mark.parametrize("in_bucket", [True, False])
def test_the_requests_of_an_estimate_are_those_of_the_stages(
    in_bucket: bool, tmp_path: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_LOADED", {})
    store = Store(f"memory://cost-{in_bucket}")
    bucket = store.bucket("sky")
    model = tiny_model(tmp_path / "tiny.onnx")
    bucket.put("models/tiny.onnx", model.read_bytes())
    for number in range(1, 5):
        write_partition(tmp_path / "p.safetensors", arrays=make_rows(8, number))
        bucket.put(f"25MB/{number}.safetensors", (tmp_path / "p.safetensors").read_bytes())
    refs = [PartitionRef(entry.key.removeprefix("25MB/"), entry.bytes, 8) for entry in bucket.list("25MB")]
    bucket.put("25MB/index.json", Index(1, 32, True, tuple(refs)).encode())
    if not in_bucket:
        monkeypatch.setattr("skyfan.models.path", lambda name: model)
    chosen = "models/tiny.onnx" if in_bucket else "shipped"
    payload = parse_payload(asked | {"model": chosen, "world_size": 2, "file_limit": 4})[0]
    seen = _count_requests(monkeypatch)
    plan = stages.initialize(payload, store)
    for task in plan.tasks:
        stages.infer(task, store)  # the first finds a cold worker, the second a warm one
    drive = Drive(started_at="", run_wall_s=1.0, map_wall_s=1.0)
    assert stages.summarize(payload, plan.tasks, store, drive, []).complete
    job = Job(tasks=2, partitions=4, rows=32, bytes_in=plan.size_bytes, model_in_bucket=in_bucket)
    assert stage_requests(job, 1) == Requests(get=seen["get"], put=seen["put"], list=seen["list"])


def _count_requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what the storage library is asked, by what S3 bills it as."""
    kinds = {"get": "get", "head": "get", "get_range": "get", "put": "put", "delete": "put", "list": "list"}
    seen: Counter[str] = Counter()

    def counted(call: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            seen[kind] += 1
            return call(*args, **options)

        return wrapper

    for name, kind in kinds.items():
        monkeypatch.setattr(obstore, name, counted(getattr(obstore, name), kind))
    return seen


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: estimated_run(structs.replace(JOB, tasks=0), SPEED, SETUP, US), "got 0 tasks"),
        (lambda: estimated_run(JOB, SPEED, SETUP, US, spread=0.5), "a spread of 0.5"),
        (lambda: estimated_run(JOB, structs.replace(SPEED, s_per_row=-1.0), SETUP, US), "duration_ms: got -"),
    ],
)
def test_numbers_that_cannot_be_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()


def test_the_pages_example_is_computed() -> None:
    _, found = estimate(None, Asked(data="12.6GB", architecture="x86_64"))
    bills = found.cost
    shown = [line for line in bills.typical.lines if line.usd]
    lines = [f"| {line.what} | {line.quantity:,.2f} {line.unit} | {line.usd:.6f} |" for line in shown]
    lines.append(f"| total | | {bills.typical.total_usd:.4f} |")
    lines.append(f"Likely {bills.low.total_usd:.4f} to {bills.high.total_usd:.4f} USD.")
    assert [line for line in lines if line not in PAGE] == []
