"""What a way to run a payload would come to: wall clock, cost, memory, and why it cannot be, if it cannot."""

from collections.abc import Iterator
from decimal import Decimal

from msgspec import Struct, structs

from skyfan.cost import FREE_EPHEMERAL_MB, Workflow
from skyfan.estimating.bill import Setup
from skyfan.estimating.cautions import LAMBDA_S
from skyfan.estimating.fleet import ACCOUNT_CONCURRENCY
from skyfan.estimating.outlook import Outlook, outlook
from skyfan.estimating.place import Cloud, Machine, Place
from skyfan.prices import Prices
from skyfan.tuning.layout import Layout
from skyfan.tuning.setting import Setting
from skyfan.tuning.wish import Wish

MARGIN = 1.25
"""Of memory: what a worker may have is that much above what it is reckoned to take."""
EXPRESS_TRY_S = 120
"""Of an EXPRESS child's 300 s: a stack gives no more than 240 s to a worker and to the larger one after it."""


class Ground(Struct, frozen=True, kw_only=True):
    """What is the same for all ways to run."""

    prices: Prices
    remote: bool = False
    """Partitions lie on a server, not in a folder."""
    memory_mb: float | None = None
    """Of this machine; None if not known, and on AWS."""
    concurrency: int = 1
    """Tasks at a time, on AWS: of the map."""
    account_concurrency: int = ACCOUNT_CONCURRENCY
    """Lambdas at a time of the account."""
    children: Workflow = "EXPRESS"
    ephemeral_mb: int = FREE_EPHEMERAL_MB


class Fault(Struct, frozen=True):
    """Why a way to run does not do."""

    kind: str
    """`memory`, `task time`, `deadline` or `budget`."""
    says: str


class Outcome(Struct, frozen=True, kw_only=True):
    """A way to run a payload, and what it would come to."""

    layout: Layout
    setting: Setting
    wall_s: float
    """Of the run: half of all runs take less."""
    wall_p90_s: float
    """Nine of ten runs take less."""
    cost_usd: float
    """On AWS: the bill. Here: its core-hours as a share of a rented machine."""
    cost_p90_usd: float
    memory_mb: float
    """That a worker is reckoned to take, MiB, without margin."""
    task_s: float
    """Of the largest task with a cold start, nine times in ten."""
    workers: int
    """At work at once, at most."""
    faults: tuple[Fault, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether it does."""
        return not self.faults

    @property
    def product(self) -> float:
        """Return cost x time, which a balance keeps small."""
        return self.cost_usd * self.wall_s


def outcome_of(layout: Layout, setting: Setting, ground: Ground, wish: Wish) -> Outcome:
    """Reckon one way to run, by `skyfan.estimating.outlook`.

    Parameters
    ----------
    layout : Layout
    setting : Setting
        Of workers.
    ground : Ground
    wish : Wish
        Whose deadline and budget it is held against.
    """
    place = _place(layout, setting, ground)
    volume = layout.volume.with_run(batch_size=setting.batch_size, threads=setting.threads)
    found = outlook(volume, setting.basis, place, ground.prices)
    cost_usd, high_usd = _cost(found, ground.prices)
    longest_s = (found.largest_task_s + setting.basis.speed.s_per_cold_start) * found.factor
    reckoned = Outcome(
        layout=layout,
        setting=setting,
        wall_s=found.whole_run_s.p50,
        wall_p90_s=found.whole_run_s.p90,
        cost_usd=cost_usd,
        cost_p90_usd=high_usd,
        memory_mb=found.worker_peak_memory_mb or 0.0,
        task_s=longest_s,
        workers=found.workers,
    )
    return structs.replace(reckoned, faults=(*_place_faults(reckoned, ground), *_wish_faults(reckoned, wish)))


def _place(layout: Layout, setting: Setting, ground: Ground) -> Place:
    if setting.workers is not None:
        return Machine(_at_work(layout, setting.workers), ground.remote)
    setup = Setup(
        memory_mb=setting.memory_mb or 0,
        architecture=setting.architecture or "arm64",
        ephemeral_mb=ground.ephemeral_mb,
        children=ground.children,
    )
    return Cloud(setup, ground.concurrency, ground.account_concurrency)


def _at_work(layout: Layout, workers: int) -> int:
    """Return how many workers a run starts, of those that are asked for."""
    tasks = layout.volume.tasks
    return min(workers, layout.volume.max_concurrency or tasks, tasks)


def _cost(found: Outlook, prices: Prices) -> tuple[float, float]:
    """Return what it costs, and what it costs at most nine times in ten, USD."""
    if found.core_hours is None:
        return float(found.cost.typical.total_usd), float(found.cost.high.total_usd)
    core_hour = core_hour_usd(prices)
    return found.core_hours.p50 * core_hour, found.core_hours.p90 * core_hour


def core_hour_usd(prices: Prices) -> float:
    """Return the price of a core for an hour, as a share of the machine that one's own cores are compared with.

    The bill of whole machines would not tell one way to run from another: they come by the machine and the minute.
    """
    return float(prices.instance.hour.unit_usd / Decimal(prices.instance.vcpus))


def _place_faults(one: Outcome, ground: Ground) -> Iterator[Fault]:
    """Yield what the place does not allow."""
    given_s = one.layout.volume.task_timeout_s
    if one.task_s > given_s:
        yield Fault("task time", f"a task may take {one.task_s:.0f} s, and has {given_s:g} s (task_timeout_s)")
    needed_mb = one.memory_mb * MARGIN
    setting = one.setting
    if setting.workers is not None:
        needed_mb *= _at_work(one.layout, setting.workers)
        if ground.memory_mb is not None and needed_mb > ground.memory_mb:
            has = f"this machine has {ground.memory_mb:,.0f}"
            yield Fault("memory", f"its workers need {needed_mb:,.0f} MiB with a margin, and {has}")
        return
    if setting.memory_mb is not None and needed_mb > setting.memory_mb:
        yield Fault("memory", f"a worker needs {needed_mb:,.0f} MiB with a margin, and has {setting.memory_mb:,}")
    limit_s, what = (EXPRESS_TRY_S, "an EXPRESS child") if ground.children == "EXPRESS" else (LAMBDA_S, "a function")
    if one.task_s > limit_s:
        yield Fault("task time", f"a task may take {one.task_s:.0f} s, and {what} has {limit_s} s for it")


def _wish_faults(one: Outcome, wish: Wish) -> Iterator[Fault]:
    if wish.deadline_s is not None and one.wall_p90_s > wish.deadline_s:
        yield Fault("deadline", f"may take {one.wall_p90_s:.1f} s; wanted are {wish.deadline_s:g}")
    if wish.budget_usd is not None and one.cost_p90_usd > wish.budget_usd:
        yield Fault("budget", f"may cost {one.cost_p90_usd:.4g} USD; wanted are {wish.budget_usd:g}")
