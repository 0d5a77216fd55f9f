"""Choosing: never what another is better than, always within what is wished, and the nearest if nothing is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from skyfan.errors import InputError
from skyfan.tuning.choosing import SAME, WORTH_CUTTING, by_goal, choose, excess, frontier
from skyfan.tuning.outcome import Fault, Outcome
from skyfan.tuning.wish import GOALS, Goal, Wish
from tuning.ways import outcome

amounts = st.floats(0.001, 1000)
outcomes = st.lists(st.builds(outcome, amounts, amounts, size=st.sampled_from(["", "50MB"])), min_size=1, max_size=20)
goals = st.sampled_from(GOALS)


def held_against(ways: list[Outcome], wish: Wish) -> list[Outcome]:
    """Mark what is above deadline or budget, as `outcome_of` does."""

    def faults(one: Outcome) -> tuple[Fault, ...]:
        late = wish.deadline_s is not None and one.wall_p90_s > wish.deadline_s
        dear = wish.budget_usd is not None and one.cost_p90_usd > wish.budget_usd
        return (*([Fault("deadline", "late")] if late else []), *([Fault("budget", "dear")] if dear else []))

    return [structs.replace(one, faults=faults(one)) for one in ways]


@given(outcomes, goals)
def test_nothing_is_better_than_the_pick(ways: list[Outcome], goal: Goal) -> None:
    pick = choose(ways, Wish(goal=goal)).pick
    for one in ways:
        worth = (1 + SAME) / (1 - WORTH_CUTTING) if one.layout.size and not pick.layout.size else 1 + SAME
        both = one.wall_s * worth < pick.wall_s and one.cost_usd * worth < pick.cost_usd
        assert not both
        measure = by_goal(goal)
        assert measure(one) * worth * (1 + 1e-9) >= measure(pick)


@given(outcomes, goals, amounts, amounts)
def test_the_pick_is_within_what_is_wished_or_the_nearest(
    ways: list[Outcome], goal: Goal, deadline_s: float, budget_usd: float
) -> None:
    wish = Wish(goal=goal, deadline_s=deadline_s, budget_usd=budget_usd)
    choice = choose(held_against(ways, wish), wish)
    within = [one for one in ways if one.wall_p90_s <= deadline_s and one.cost_p90_usd <= budget_usd]
    assert choice.met == bool(within)
    if within:
        assert choice.pick.wall_p90_s <= deadline_s
        assert choice.pick.cost_p90_usd <= budget_usd
    else:
        nearest = min(excess(one, wish) for one in ways)
        assert excess(choice.pick, wish) <= nearest * (1 + SAME) / (1 - WORTH_CUTTING) * (1 + 1e-9)


@given(outcomes)
def test_the_frontier_is_what_nothing_beats(ways: list[Outcome]) -> None:
    kept = frontier(ways)

    def beaten(one: Outcome) -> bool:
        return any(
            (other.wall_s <= one.wall_s and other.cost_usd < one.cost_usd)
            or (other.wall_s < one.wall_s and other.cost_usd <= one.cost_usd)
            for other in ways
        )

    assert not any(beaten(one) for one in kept)
    places = {(one.wall_s, one.cost_usd) for one in kept}
    assert places == {(one.wall_s, one.cost_usd) for one in ways if not beaten(one)}
    assert [one.wall_s for one in kept] == sorted(one.wall_s for one in kept)


def test_each_goal_picks_its_own() -> None:
    fast, knee, cheap = outcome(10, 10), outcome(20, 3), outcome(100, 2)
    ways = [cheap, fast, knee, outcome(50, 5)]
    assert choose(ways, Wish(goal="time")).pick is fast
    assert choose(ways, Wish(goal="balanced")).pick is knee
    assert choose(ways, Wish(goal="cost")).pick is cheap


def test_a_deadline_makes_the_cheapest_one_dearer() -> None:
    wish = Wish(goal="cost", deadline_s=30)
    choice = choose(held_against([outcome(100, 2), outcome(20, 3), outcome(10, 10)], wish), wish)
    assert choice.pick.wall_s == 20
    assert choice.met
    assert len(choice.frontier) == 3  # what cannot be wished can be seen


def test_partitions_are_cut_anew_only_where_it_is_worth_it() -> None:
    there = outcome(10, 1.0)
    hardly, clearly = outcome(10, 0.96, size="50MB"), outcome(10, 0.9, size="50MB")
    assert choose([there, hardly], Wish(goal="cost")).pick is there
    assert choose([there, clearly], Wish(goal="cost")).pick is clearly


def test_of_ways_as_good_the_payloads_own_stays() -> None:
    own = outcome(10.05, 1.005, own=True)
    assert choose([outcome(10, 1), own], Wish(goal="balanced")).pick is own


def test_what_cannot_run_is_left_out_and_kept() -> None:
    lacking = outcome(1, 1, faults=(Fault("memory", "a worker needs 4,000 MiB"),))
    choice = choose([lacking, outcome(10, 10)], Wish(goal="time"))
    assert choice.pick.wall_s == 10
    assert choice.left_out == (lacking,)
    assert lacking not in choice.frontier
    with pytest.raises(InputError, match=r"none of 1 ways to run can be, for instance since a worker needs 4,000"):
        choose([lacking], Wish(goal="time"))
