"""Goal, deadline and budget."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyfan.errors import InputError
from skyfan.tuning.wish import Wish, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("600", 600),
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("10 min", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1h2m3s", 3723),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "soon", "-5", "10 days", "1m1h", "1h30", "10m5", "1h30m15", "nan", "1e9", "9" * 400]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(InputError, match="deadline"):
        parse_duration(text)


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_duration(text) > 0


@pytest.mark.parametrize("given", [{"deadline_s": 0.0}, {"budget_usd": -1.0}, {"budget_usd": float("nan")}])
def test_limits_are_above_zero(given: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected more than 0"):
        Wish(goal="cost", **given)


def test_goals() -> None:
    with pytest.raises(InputError, match="goal: got 'fame'; expected one of cost, time, balanced"):
        Wish(goal="fame")  # type: ignore[arg-type]
