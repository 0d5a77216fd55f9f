"""Reading a bill."""

from decimal import Decimal

from skyfan.cost import Cost


def usd(cost: Cost, what: str) -> Decimal:
    """Of all lines that hold a text."""
    lines = [line for line in cost.lines if what in line.what]
    assert lines, f"no line has {what!r}; there are {[line.what for line in cost.lines]}"
    return sum((line.usd for line in lines), Decimal(0))


def quantity(cost: Cost, what: str) -> Decimal:
    """Of the one line that holds a text."""
    (line,) = [line for line in cost.lines if what in line.what]
    return line.quantity
