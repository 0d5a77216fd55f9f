"""What a report says of costs: not known and why where prices cannot be read, and of the last drive's engine."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import skyfan
from skyfan.cost import Cost, Line
from skyfan.prices import PRICES_VARIABLE, load_prices, shipped
from skyfan.report.numbers import numbers
from skyfan.report.record import read_record
from skyfan.report.verdict import COSTS, cost_of
from skyfan.report.writing import write_report
from skyfan.storage import Store
from skyfan.watching import Billed

WITHOUT: dict[str, Any] = {"cost_usd": None, "cost_kind": "", "prices_region": "", "prices_read_in": ""}


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A price list of one's own that was cut short."""
    folder = tmp_path / "prices"
    folder.mkdir()
    (folder / "us-east-1.json").write_bytes(shipped()["us-east-1"].read_bytes()[:200])
    monkeypatch.setenv(PRICES_VARIABLE, str(folder))


@pytest.mark.usefixtures("broken")
def test_prices_that_cannot_be_read_cost_the_cost_and_not_the_report(
    finished: skyfan.Run, root: Path, tmp_path: Path
) -> None:
    assert write_report([finished], Store(str(root)), tmp_path / "r.md", "md", images=0)
    head, rest = (tmp_path / "r.md").read_text().split("## Workflow")
    for text in (head, rest):
        assert "the prices cannot be read: prices us-east-1.json: " in text.replace("\\", "")
    assert "The same on rented machines" not in rest


def test_all_else_is_measured_without_prices_as_with_them(
    finished: skyfan.Run, root: Path, request: pytest.FixtureRequest
) -> None:
    with_prices = read_record(finished, Store(str(root))).measurement
    request.getfixturevalue("broken")
    record = read_record(finished, Store(str(root)))
    assert record.measurement == structs.replace(with_prices, **WITHOUT, cost_problem=record.measurement.cost_problem)
    assert with_prices.cost_usd
    assert "Core-hours" in str(numbers(record))
    assert cost_of(record)[0] == "not known"


def billed(root: Path, machine: str) -> None:
    """Put a bill beside a run, and let the run have been on such machines."""
    cost = Cost.of(
        [Line("Lambda infer: compute, arm64", Decimal(3), "GB-s", Decimal("0.5"), Decimal("1.5"))], load_prices()
    )
    folder = root / "sky" / "results" / "one"
    (folder / "bill.json").write_bytes(Billed("sky/results/one", cost, True, ()).encode())
    summary = json.loads((folder / "summary.json").read_text())
    changed = {"machines": [machine], "drive": summary["drive"] | {"engine": "aws" if "Lambda" in machine else "local"}}
    (folder / "summary.json").write_text(json.dumps(summary | changed))


def test_a_bill_is_the_cost_of_a_run_on_aws(finished: skyfan.Run, root: Path) -> None:
    billed(root, "AWS Lambda aarch64, 1769 MB")
    record = read_record(finished, Store(str(root)))
    assert cost_of(record) == ("1.5000 USD", "as AWS bills it")
    assert "The bill" in str(numbers(record))


def test_the_bill_of_an_earlier_drive_is_not_the_cost_of_one_on_other_machines(
    finished: skyfan.Run, root: Path
) -> None:
    billed(root, "AMD EPYC 7B13, 2 cores")
    record = read_record(finished, Store(str(root)))
    assert cost_of(record)[1] == COSTS["rented"]
    assert "The bill" not in str(numbers(record))
