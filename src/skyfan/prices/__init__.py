"""What AWS asks for, by region: dated price lists that ship with skyfan, one file each."""

import os
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from skyfan.errors import InputError

DEFAULT_REGION = "us-east-1"
PRICES_VARIABLE = "SKYFAN_PRICES"
"""Names a folder with price lists of one's own; each takes the place of the one that ships for its region."""
TRUSTED_MONTHS = 12

UNITS = {
    "lambda_x86_64": "GB-s",
    "lambda_arm64": "GB-s",
    "lambda_request": "request",
    "lambda_ephemeral": "GB-s",
    "states_transition": "transition",
    "states_express_request": "request",
    "states_express": "GB-s",
    "s3_get": "request",
    "s3_put": "request",
    "s3_storage": "GB-month",
    "logs_ingested": "GB",
}
"""By name of a price: what it must be for, so that a price per hour is never taken for one per second."""


class Price(Struct, frozen=True, forbid_unknown_fields=True):
    """One price, as its source prints it."""

    usd: Decimal
    per: int
    """How many units that buys."""
    unit: str
    read_in: Annotated[str, Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
    """Year and month in which it was last looked up."""
    source: str

    @property
    def unit_usd(self) -> Decimal:
        """Of one unit."""
        return self.usd / self.per

    def __post_init__(self) -> None:
        if not self.usd.is_finite() or self.usd <= 0:
            raise ValueError(f"'usd' is {self.usd}; expected a price above 0")
        if self.per < 1:
            raise ValueError(f"'per' is {self.per}; expected 1 or more")
        if not self.source.strip():
            raise ValueError("'source' is empty; expected where the price was read")


class Instance(Struct, frozen=True, forbid_unknown_fields=True):
    """The machine that one's own cores are compared with: on demand, Linux."""

    name: str
    vcpus: int
    hour: Price

    def __post_init__(self) -> None:
        if self.vcpus < 1:
            raise ValueError(f"'vcpus' is {self.vcpus}; expected 1 or more")
        _check_unit("hour", self.hour, "hour")


class Prices(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The price list of one region, of the first tier of each price: runs stay far below the second."""

    schema: Literal[1]
    region: str
    lambda_x86_64: Price
    lambda_arm64: Price
    lambda_request: Price
    lambda_ephemeral: Price
    """`/tmp` above 512 MB."""
    states_transition: Price
    """Step Functions, STANDARD."""
    states_express_request: Price
    states_express: Price
    """Seconds of an EXPRESS execution by its memory, in steps of 64 MB."""
    s3_get: Price
    """GET, HEAD and all others."""
    s3_put: Price
    """PUT, COPY, POST and LIST."""
    s3_storage: Price
    logs_ingested: Price
    """CloudWatch Logs, taken in."""
    instance: Instance

    def __post_init__(self) -> None:
        for name, unit in UNITS.items():
            _check_unit(name, getattr(self, name), unit)

    @property
    def read_in(self) -> str:
        """Year and month of the price that was looked up longest ago."""
        prices: list[Price] = [self.instance.hour, *(getattr(self, name) for name in UNITS)]
        return min(price.read_in for price in prices)


def age_warning(region: str, read_in: str, today: date | None = None) -> str:
    """Say that a price list is older than a year; nothing if it is not.

    Parameters
    ----------
    region : str
    read_in : str
        Year and month of its oldest price, as `Prices.read_in` has it.
    today : date, optional
    """
    now = today or datetime.now(UTC).date()
    year, month = map(int, read_in.split("-"))
    if 12 * (now.year - year) + now.month - month <= TRUSTED_MONTHS:
        return ""
    return (
        f"the prices of {region} were looked up in {read_in}, more than {TRUSTED_MONTHS} months ago: hold them against "
        f"AWS's own, and put a new list into a folder that {PRICES_VARIABLE} names"
    )


def shipped(folder: Path | None = None) -> dict[str, Path]:
    """Return every price list, by region: of that folder, else one's own before those that ship."""
    own = os.environ.get(PRICES_VARIABLE)
    folders = [folder] if folder is not None else [Path(str(files(__name__))), *([Path(own)] if own else [])]
    return {path.stem: path for place in folders for path in sorted(place.glob("*.json"))}


def load_prices(region: str = DEFAULT_REGION, folder: Path | None = None) -> Prices:
    """Read the price list of a region.

    Parameters
    ----------
    region : str
        As AWS names it.
    folder : Path, optional
        Where the lists lie; by default the folder that `SKYFAN_PRICES` names, then those that ship with skyfan.

    Raises
    ------
    InputError
        If there is none for that region, or it misses a price, or has one that cannot be.
    """
    known = shipped(folder)
    if region not in known:
        raise InputError(
            f"no prices for the region {region!r}; there are some for {', '.join(known) or 'none'}. To add it, copy "
            f"{shipped().get(DEFAULT_REGION, DEFAULT_REGION + '.json')} to {region}.json in a folder of yours, put in "
            f"that region's prices, each with date and source, and name the folder by {PRICES_VARIABLE}"
        )
    path = known[region]
    try:
        prices = msgspec.json.decode(path.read_bytes(), type=Prices)
    except (msgspec.DecodeError, OSError) as error:
        raise InputError(f"prices {path.name}: {error}; expected a list as {DEFAULT_REGION}.json") from error
    if prices.region != region:
        raise InputError(
            f"prices {path.name}: its 'region' is {prices.region!r}; expected {region!r}, as its name says"
        )
    return prices


def _check_unit(name: str, price: Price, expected: str) -> None:
    if price.unit != expected:
        raise ValueError(f"the unit of {name!r} is {price.unit!r}; expected {expected!r}")
