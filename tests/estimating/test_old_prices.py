"""Prices that were looked up long ago are said to be so, once, wherever something is reckoned with them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import skyfan
from skyfan.aws.forecast import prices_of
from skyfan.errors import InputError
from skyfan.estimating.estimate import Asked, estimate
from skyfan.prices import PRICES_VARIABLE, shipped
from skyfan.report.writing import write_report
from skyfan.storage import Store
from skyfan.tuning.asked import Asked as AskedOfTune
from skyfan.tuning.tuner import tune
from skyfan.tuning.wish import Wish

OLD = "the prices of us-east-1 were looked up in 2019-03, more than 12 months ago"


@pytest.fixture(autouse=True)
def _old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "prices"
    folder.mkdir()
    text = re.sub(r'"read_in": "[\d-]+"', '"read_in": "2019-03"', shipped()["us-east-1"].read_text())
    (folder / "us-east-1.json").write_text(text)
    monkeypatch.setenv(PRICES_VARIABLE, str(folder))


@pytest.mark.parametrize(("region", "notes"), [("us-east-1", 1), ("eu-west-1", 2)])
def test_they_come_with_what_is_to_be_said_of_them(region: str, notes: int) -> None:
    _, said = prices_of(region, strict=False)
    assert len(said) == notes
    assert OLD in said[-1]


def test_a_damaged_list_of_a_region_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "prices" / "eu-west-1.json").write_text("{")
    for strict in (False, True):
        with pytest.raises(InputError, match=r"prices eu-west-1\.json: "):
            prices_of("eu-west-1", strict=strict)


def test_an_estimate_warns_of_them() -> None:
    _, found = estimate(None, Asked(rows=1000.0))
    assert sum(OLD in text for text in (*found.warnings, *found.basis)) == 1


def test_a_recommendation_says_so(root: Path, asked: dict[str, Any]) -> None:
    given = AskedOfTune(store=root, seconds=0.05, batch_sizes=(4,), threads=(1,), workers=(1,), pilot_partitions=1)
    found = tune(asked, Wish(goal="cost"), given)
    assert sum(OLD in text for text in found.sure) == 1


def test_a_report_says_of_a_bill_that_holds_it_already_only_once(
    finished: skyfan.Run, root: Path, tmp_path: Path
) -> None:
    folder = root / "sky" / "results" / "one"
    _, notes = prices_of("us-east-1", strict=False)
    cost = {"region": "us-east-1", "prices_read_in": "2019-03", "lines": [], "total_usd": "0.5"}
    bill = {"run": "sky/results/one", "cost": cost, "is_whole": True, "notes": notes}
    (folder / "bill.json").write_text(json.dumps(bill))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"drive": summary["drive"] | {"engine": "aws"}}))
    write_report([finished], Store(str(root)), tmp_path / "r.md", "md", images=0)
    head, rest = (tmp_path / "r.md").read_text().replace("\\", "").split("## Workflow")
    rest = rest[: rest.index("## Scaling")]
    assert head.count(OLD) == rest.count(OLD) == 1
