"""What is left of a sweep: the runs that are not measured yet, and how long they will take."""

from collections.abc import Sequence
from dataclasses import dataclass

from skyfan.bench.folder import Folder
from skyfan.bench.measurement import Measurement
from skyfan.bench.sweep import Plan, Sweep, Trial, expected_s
from skyfan.bench.trial import run_id
from skyfan.profiling.profile import Profile


@dataclass(frozen=True)
class Remaining:
    """A plan, held against what the sweep's folder has measured of it until now."""

    sweep: Sweep
    folder: Folder
    plan: Plan
    profile: Profile | None = None
    """Of the model on this machine: says how long it takes before anything is measured."""

    @property
    def trials(self) -> list[Trial]:
        """What is not measured yet, in order."""
        return [trial for trial in self.plan.trials if self.measured(trial) is None]

    @property
    def done(self) -> int:
        """Runs of the plan that are measured."""
        return len(self.plan.trials) - len(self.trials)

    def measured(self, trial: Trial) -> Measurement | None:
        """Return the measurement of a run, if it is one."""
        return self.folder.measured(run_id(self.sweep, trial))

    def time(self, trials: Sequence[Trial]) -> tuple[float, int]:
        """Return the seconds that runs take, and of how many nothing tells."""
        cuts = {cut.label: cut for cut in self.plan.cuts}
        walls: dict[str, list[float]] = {}
        for trial in self.plan.trials:
            found = self.measured(trial)
            if found is not None and found.run_wall_s is not None:
                walls.setdefault(trial.configuration.name, []).append(found.run_wall_s)
        known = [
            expected_s(wanted, cuts[wanted.data], walls, self.profile, tasks=self.sweep.tasks(wanted.files))
            for wanted in (trial.configuration for trial in trials)
        ]
        return sum(seconds for seconds in known if seconds is not None), known.count(None)
