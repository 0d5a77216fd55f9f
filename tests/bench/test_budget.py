"""The money of a sweep on AWS; what AWS and the driver would say is said here in their place."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.small import PLACE, Seen, started, sweep
from skyfan import api
from skyfan.bench import sweeping
from skyfan.bench.events import CostKnown, Noted
from skyfan.bench.measurement import Measurement
from skyfan.bench.sweeping import run_sweep
from skyfan.cost import Cost
from skyfan.errors import BudgetError, RunStoppedError
from skyfan.estimating.bill import Estimate
from skyfan.storage import Store
from skyfan.watching import Priced


def priced(monkeypatch: pytest.MonkeyPatch, codes: list[int], read_in: str = "2026-11") -> None:
    """Answer for AWS: a run may cost 3 USD a file, and ends with the next of these codes; -1 is interrupted."""

    def plan(payload: dict[str, Any], *, watch: Callable[[Any], None], **options: Any) -> None:
        bills = [Cost("us-east-1", read_in, (), Decimal(usd) * payload["file_limit"]) for usd in ("1", "2", "3")]
        watch(Priced("run", Estimate(*bills, spread=1.5), ()))

    def run_command(command: list[str], log: Path) -> tuple[int, str]:
        code = codes.pop(0)
        if code < 0:
            raise KeyboardInterrupt
        return code, "it failed"

    monkeypatch.setattr(api, "plan", plan)
    monkeypatch.setattr(sweeping, "run_command", run_command)


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


def test_old_prices_are_said(store: Store, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    priced(monkeypatch, [1, 1], read_in="2019-03")
    seen: Seen = []
    run_sweep(sweep(engine="aws", files=(2, 4)), out, store, seen.append)
    said = [event.text for event in seen if isinstance(event, Noted) and "prices" in event.text]
    assert len(said) == 1
    assert "the prices of us-east-1 were looked up in 2019-03, more than 12 months ago" in said[0]


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
