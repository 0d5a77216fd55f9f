"""Price lists: those that ship are what was read, and a bad one is refused."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from skyfan import prices as price_lists
from skyfan.errors import InputError
from skyfan.prices import UNITS, Prices, load_prices

SHIPPED = price_lists.shipped()
US = load_prices()


def test_every_price_is_what_was_read() -> None:
    expected = {
        "lambda_x86_64": "0.0000166667",
        "lambda_arm64": "0.0000133334",
        "lambda_request": "0.0000002",
        "lambda_ephemeral": "0.0000000309",
        "states_transition": "0.000025",
        "states_express_request": "0.000001",
        "states_express": "0.00001667",
        "s3_get": "0.0000004",
        "s3_put": "0.000005",
        "s3_storage": "0.023",
        "logs_ingested": "0.50",
    }
    assert {name: getattr(US, name).unit_usd for name in UNITS} == {n: Decimal(text) for n, text in expected.items()}
    assert US.instance.hour.unit_usd == Decimal("0.1785")
    assert US.read_in == "2026-11"


def test_every_price_has_a_unit_and_the_other_way_round() -> None:
    names = [field.name for field in structs.fields(Prices)]
    assert names == ["schema", "region", *UNITS, "instance"]


@pytest.mark.parametrize("region", SHIPPED)
def test_every_shipped_list_loads(region: str) -> None:
    assert load_prices(region).region == region


@pytest.mark.parametrize("region", ["eu-west-9", "", "../us-east-1", "US-EAST-1"])
def test_an_unknown_region_says_how_to_add_it(region: str) -> None:
    with pytest.raises(
        InputError, match=r"there are some for us-east-1\. To add it, copy .*us-east-1\.json to .* date"
    ):
        load_prices(region)


def test_a_list_of_one_s_own_takes_the_place_of_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = json.loads(SHIPPED["us-east-1"].read_text())
    prices["s3_get"]["usd"] = "0.5"
    (tmp_path / "us-east-1.json").write_text(json.dumps(prices))
    (tmp_path / "eu-central-1.json").write_text(json.dumps(prices | {"region": "eu-central-1"}))
    monkeypatch.setenv("SKYFAN_PRICES", str(tmp_path))
    assert load_prices().s3_get.usd == load_prices("eu-central-1").s3_get.usd == Decimal("0.5")
    monkeypatch.setenv("SKYFAN_PRICES", str(tmp_path / "none"))
    assert load_prices() == US


@pytest.mark.parametrize(
    ("today", "old"), [("2026-11-24", False), ("2027-11-30", False), ("2027-12-01", True), ("2030-01-01", True)]
)
def test_prices_older_than_a_year_are_said_to_be(today: str, old: bool) -> None:
    said = price_lists.age_warning("us-east-1", "2026-11", date.fromisoformat(today))
    assert bool(said) == old
    assert not old or "the prices of us-east-1 were looked up in 2026-11, more than 12 months ago" in said


def _without(prices: dict[str, Any]) -> None:
    del prices["lambda_arm64"]


def _negative(prices: dict[str, Any]) -> None:
    prices["s3_get"]["usd"] = "-0.0004"


def _free(prices: dict[str, Any]) -> None:
    prices["s3_get"]["usd"] = "0"


def _nan(prices: dict[str, Any]) -> None:
    prices["s3_get"]["usd"] = "NaN"


def _text(prices: dict[str, Any]) -> None:
    prices["s3_get"]["usd"] = "cheap"


def _hours(prices: dict[str, Any]) -> None:
    prices["states_express"]["unit"] = "GB-hour"


def _surplus(prices: dict[str, Any]) -> None:
    prices["lambda_arm"] = prices["lambda_arm64"]


def _undated(prices: dict[str, Any]) -> None:
    prices["s3_put"]["read_in"] = "recently"


def _unsourced(prices: dict[str, Any]) -> None:
    prices["s3_put"]["source"] = " "


def _by_none(prices: dict[str, Any]) -> None:
    prices["lambda_request"]["per"] = 0


def _no_cores(prices: dict[str, Any]) -> None:
    prices["instance"]["vcpus"] = 0


def _elsewhere(prices: dict[str, Any]) -> None:
    prices["region"] = "eu-west-1"


BAD_LISTS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (_without, "missing required field `lambda_arm64`"),
    (_negative, r"'usd' is -0\.0004; expected a price above 0 - at `\$\.s3_get`"),
    (_free, "'usd' is 0; expected a price above 0"),
    (_nan, "'usd' is NaN"),
    (_text, "Invalid decimal string"),
    (_hours, "the unit of 'states_express' is 'GB-hour'; expected 'GB-s'"),
    (_surplus, "unknown field `lambda_arm`"),
    (_undated, "read_in"),
    (_unsourced, "'source' is empty"),
    (_by_none, "'per' is 0"),
    (_no_cores, "'vcpus' is 0"),
    (_elsewhere, "its 'region' is 'eu-west-1'; expected 'us-east-1'"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_LISTS, ids=[spoil.__name__ for spoil, _ in BAD_LISTS])
def test_a_bad_list_is_refused(spoil: Callable[[dict[str, Any]], None], message: str, tmp_path: Path) -> None:
    prices = json.loads(SHIPPED["us-east-1"].read_text())
    spoil(prices)
    (tmp_path / "us-east-1.json").write_text(json.dumps(prices))
    with pytest.raises(InputError, match=message) as caught:
        load_prices(folder=tmp_path)
    assert str(caught.value).startswith("prices us-east-1.json: ")


def test_another_region_is_a_file_more(tmp_path: Path) -> None:
    text = SHIPPED["us-east-1"].read_text()
    (tmp_path / "eu-west-1.json").write_text(text.replace('"us-east-1"', '"eu-west-1"'))
    assert load_prices("eu-west-1", tmp_path).lambda_arm64 == US.lambda_arm64
