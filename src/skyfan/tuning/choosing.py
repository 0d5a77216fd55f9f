"""Chooses among ways to run: the Pareto frontier of cost against time, and the one of it that a goal asks for."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from skyfan.errors import InputError
from skyfan.tuning.outcome import Outcome
from skyfan.tuning.wish import Goal, Wish

SAME = 0.02
"""Differences below it are none."""
WORTH_CUTTING = 0.05
"""By how much partitions cut anew must be better than those that are there."""
WISHES = frozenset({"deadline", "budget"})


class Choice(Struct, frozen=True, kw_only=True):
    """What was chosen, and from what."""

    pick: Outcome
    met: bool
    """Whether it is within deadline and budget. If nothing is, the pick is the nearest that can be had."""
    frontier: tuple[Outcome, ...]
    """By wall clock: of these, none is both faster and cheaper than another. All that can run, whatever is wished."""
    left_out: tuple[Outcome, ...]
    """That cannot run."""


def choose(outcomes: Sequence[Outcome], wish: Wish) -> Choice:
    """Choose what to recommend.

    `cost`: the cheapest, `time`: the fastest, `balanced`: the least cost x time, each of those that meet deadline and
    budget nine times in ten. Partitions are cut anew only where that is better by more than `WORTH_CUTTING`.

    Parameters
    ----------
    outcomes : sequence of Outcome
        At least one.
    wish : Wish

    Raises
    ------
    InputError
        If none of them can run at all.
    """
    able = [one for one in outcomes if all(fault.kind in WISHES for fault in one.faults)]
    left_out = tuple(one for one in outcomes if one not in able)
    if not able:
        faults = [fault for one in outcomes for fault in one.faults]
        least = faults[0].says if faults else "there is none"
        raise InputError(
            f"tune: none of {len(outcomes)} ways to run can be, for instance since {least}; expected one that can: "
            "allow more memory, smaller partitions or smaller batches"
        )
    met = [one for one in able if one.feasible]
    pool = met or able
    measure: Callable[[Outcome], float] = by_goal(wish.goal) if met else lambda one: excess(one, wish)
    there = [one for one in pool if not one.layout.size]
    pick = _least(pool, measure, wish.goal)
    if there:
        kept = _least(there, measure, wish.goal)
        pick = pick if measure(pick) < (1 - WORTH_CUTTING) * measure(kept) else kept
    return Choice(pick=pick, met=bool(met), frontier=tuple(frontier(able)), left_out=left_out)


def frontier(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return those to which no other is at least as fast and as cheap, and better in one; by wall clock."""
    kept: list[Outcome] = []
    for one in sorted(outcomes, key=lambda one: (one.wall_s, one.cost_usd)):
        if not kept or one.cost_usd < kept[-1].cost_usd:
            kept.append(one)
    return kept


def by_goal(goal: Goal) -> Callable[[Outcome], float]:
    """Return what a goal keeps small.

    Cost x time is small where a per cent of time costs a per cent of money: below that the frontier gives more than it
    takes. It needs no weights and no scales, as the product of energy and delay by which processors are compared
    (Gonzalez & Horowitz 1996, IEEE Journal of Solid-State Circuits 31, 1277).
    """
    measures: dict[Goal, Callable[[Outcome], float]] = {
        "cost": lambda one: one.cost_usd,
        "time": lambda one: one.wall_s,
        "balanced": lambda one: one.product,
    }
    return measures[goal]


def excess(one: Outcome, wish: Wish) -> float:
    """Return how far it is above deadline or budget, as a factor, whichever is more."""
    deadline = one.wall_p90_s / wish.deadline_s if wish.deadline_s else 0.0
    budget = one.cost_p90_usd / wish.budget_usd if wish.budget_usd else 0.0
    return max(deadline, budget)


def _least(pool: Sequence[Outcome], measure: Callable[[Outcome], float], goal: Goal) -> Outcome:
    """Return the best; of those as good, by `SAME`, the better in the other; as good in both, what changes least."""
    other = by_goal("time" if goal == "cost" else "cost")
    as_good = _as_good(_as_good(pool, measure), other)
    return min(as_good, key=lambda one: (not one.layout.own, -one.layout.volume.tasks, measure(one), one.memory_mb))


def _as_good(pool: Sequence[Outcome], measure: Callable[[Outcome], float]) -> list[Outcome]:
    best = min(map(measure, pool))
    return [one for one in pool if measure(one) <= (1 + SAME) * best]
