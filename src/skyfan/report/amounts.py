"""Amounts as the report writes them."""

from datetime import UTC, datetime
from decimal import Decimal

from skyfan.wording import duration

UNKNOWN = "not known"


def seconds(value: float | None) -> str:
    """Return `0.35 s`, `12.3 s`, and `1:02:03` beside the seconds where there are many."""
    if value is None:
        return UNKNOWN
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:,.1f} s" if value < 120 else f"{value:,.0f} s ({duration(value)})"


def usd(value: float | None) -> str:
    """Return an amount of money with as many decimals as it needs."""
    if value is None:
        return UNKNOWN
    if value and abs(value) < 1e-8:
        return "< 0.00000001 USD"
    if value and abs(value) < 0.0001:
        return f"{value:.8f}".rstrip("0") + " USD"
    return f"{value:,.2f} USD" if abs(value) >= 10 else f"{value:.4f} USD"


def quantity(value: Decimal) -> str:
    """Return a quantity of a bill, whole numbers without decimals."""
    return f"{value:,.0f}" if value == value.to_integral_value() else f"{value:,.4f}"


def rate(value: float | None) -> str:
    """Return rows per second."""
    return UNKNOWN if not value else f"{value:,.0f} rows/s"


def count(value: int | None) -> str:
    """Return a number with its thousands set apart."""
    return UNKNOWN if value is None else f"{value:,}"


def mib(value: float | None) -> str:
    """Return memory."""
    return UNKNOWN if value is None else f"{value:,.0f} MiB"


def at(moment: float | None) -> str:
    """Return a time in UTC, to the millisecond."""
    if moment is None:
        return UNKNOWN
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def clock(moment: float | None, day: float | None) -> str:
    """Return the time of day, with the date if it is not that of `day`."""
    text = at(moment)
    if moment is None or text[:10] != at(day)[:10]:
        return text.removesuffix(" UTC")
    return text[11:].removesuffix(" UTC")


def second(moment: float | None) -> str:
    """Return a time in UTC, to the second."""
    return UNKNOWN if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
