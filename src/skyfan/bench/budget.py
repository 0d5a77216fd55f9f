"""The money of a sweep on AWS: what its runs may cost, what they did cost, and what is left of the limit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from skyfan.bench.events import CostKnown, Noted, SweepWatcher, unwatched
from skyfan.bench.folder import Folder
from skyfan.bench.measurement import Measurement
from skyfan.bench.sweep import AWS, Configuration, Sweep, Trial
from skyfan.bench.trial import estimates_of
from skyfan.cost import Cost
from skyfan.errors import BudgetError
from skyfan.prices import age_warning
from skyfan.storage import Store

LEAST_USD = 0.000001
"""That a run is still allowed: a limit of nothing is none."""


@dataclass
class Budget:
    """What a sweep may spend, held against what it has spent; that is kept in its folder."""

    sweep: Sweep
    store: Store
    folder: Folder
    watch: SweepWatcher = unwatched
    limit_usd: float | None = None
    """Over all runs that were ever started for the folder."""
    highs: dict[Configuration, float] = field(default_factory=dict)
    """USD that a run may cost, where its plan tells."""
    said: set[str] = field(default_factory=set)
    """Of the prices: once is enough."""

    @property
    def left_usd(self) -> float | None:
        """What the next run may cost; None if there is no limit."""
        if self.limit_usd is None or self.folder.begun is None:
            return self.limit_usd
        return max(LEAST_USD, self.limit_usd - self.folder.begun.spent_usd)

    def knows(self, trials: Sequence[Trial]) -> bool:
        """Return whether it is known what each of these runs may cost."""
        return all(trial.configuration in self.highs for trial in trials)

    def check(self, trials: Sequence[Trial], prefixes: Mapping[str, str], said: str) -> None:
        """Plan a run of each configuration, and refuse runs that may cost more than is left.

        Parameters
        ----------
        trials : sequence of Trial
            All that are yet to run.
        prefixes : mapping
            Label of partitions -> the folder they are read from; runs that read others are not planned.
        said : str
            What was done until now, for whoever is refused.

        Raises
        ------
        BudgetError
            If they may cost more than is left.
        SkyfanError
            If one of them cannot work.
        """
        typical, high = self._price(trials, prefixes)
        if self.sweep.engine == AWS and all(trial.configuration.data in prefixes for trial in trials):
            self.watch(CostKnown(typical, high))
        limit = self.left_usd
        if limit is not None and high > limit:
            raise BudgetError(
                f"sweep {self.sweep.name}: may cost {high:.4f} USD (about {typical:.4f}); expected at most "
                f"{limit:.4f}, what is left of --max-cost: allow more, or ask for less. {said}",
                exit_code=2,
            )

    def book(self, trial: Trial) -> None:
        """Count a run at what it may cost before it starts: it may be interrupted, or never have a bill."""
        if self.sweep.engine == AWS:
            high = self.highs.get(trial.configuration)
            self.folder.spend(high or 0.0, unpriced=int(high is None))

    def settle(self, trial: Trial, measurement: Measurement) -> None:
        """Count a run at its bill, if that is whole."""
        if self.sweep.engine != AWS:
            return
        high, cost = self.highs.get(trial.configuration), measurement.cost_usd
        if cost is not None and (measurement.cost_kind == "billed" or cost > (high or 0.0)):
            self.folder.spend(cost - (high or 0.0), unpriced=-int(high is None))
        elif high is None:
            self.watch(Noted(f"{measurement.run}: what it cost is not known, and --max-cost does not count it"))

    def _say_age(self, cost: Cost) -> None:
        old = age_warning(cost.region, cost.prices_read_in)
        if old and old not in self.said:
            self.said.add(old)
            self.watch(Noted(old))

    def _price(self, trials: Sequence[Trial], prefixes: Mapping[str, str]) -> tuple[float, float]:
        """Return what the runs that read from these folders will cost: typically, and at most."""
        typical = high = 0.0
        for wanted, count in Counter(trial.configuration for trial in trials).items():
            if wanted.data in prefixes:
                for estimate in estimates_of(self.sweep, Trial(wanted, 1), prefixes[wanted.data], self.store):
                    self._say_age(estimate.typical)
                    self.highs[wanted] = float(estimate.high.total_usd)
                    typical += count * float(estimate.typical.total_usd)
                    high += count * self.highs[wanted]
        return typical, high
