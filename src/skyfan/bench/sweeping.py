"""Runs a sweep: the plan first, then round after round, so that an interrupted one goes on where it was."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from skyfan import api
from skyfan.bench.data import Source, open_source, prepare, room_needed
from skyfan.bench.events import CostKnown, Noted, Planned, Preparing, SweepWatcher, TrialEnded, TrialStarted, unwatched
from skyfan.bench.folder import PAYLOAD, Folder, beginning, is_whole, locked
from skyfan.bench.measurement import Measurement
from skyfan.bench.repeating import check_room, free_in
from skyfan.bench.sweep import AWS, Sweep, Trial, expected_s, plan_sweep
from skyfan.bench.trial import (
    command_of,
    delete_run,
    evidence,
    measure_trial,
    payload_of,
    result_path,
    run_command,
    run_id,
)
from skyfan.errors import BudgetError, ClaimedError, InputError, RunStoppedError, StoreAbsentError, StoreRefusedError
from skyfan.estimating.bill import Estimate
from skyfan.host import usable_cores
from skyfan.keys import RunKeys, check_bucket, check_key
from skyfan.profiling.profile import Profile
from skyfan.storage import Store
from skyfan.watching import Priced, RunEvent
from skyfan.wording import counted

TABLE = "table.md"
FIGURES = "figures"


def look_ahead(sweep: Sweep, out: Path, store: Store, *, profile: Profile | None = None) -> Planned:
    """Say what `run_sweep` would do, and write nothing.

    Raises
    ------
    SkyfanError
        As `run_sweep`, for all that can be known beforehand.
    """
    _check_store(sweep, store)
    source = open_source(sweep, store)
    folder = Folder(out)
    with suppress(StoreAbsentError):  # nothing was begun in a store that is not there
        folder.check_same(beginning(sweep, source.fingerprint, store))
    return _Sweeping(sweep, store, folder, source, profile=profile).planned()


def run_sweep(
    sweep: Sweep,
    out: Path,
    store: Store,
    watch: SweepWatcher = unwatched,
    *,
    profile: Profile | None = None,
    overwrite: bool = False,
    keep_runs: bool = False,
    max_cost: float | None = None,
) -> list[Measurement]:
    """Run every combination that a sweep asks for, or go on where it was interrupted.

    Each run is a process of its own. A run that was interrupted is done anew from its beginning: the wall clock of a
    resumed one says nothing. What did not end well is kept with its problem, and the sweep goes on.

    Parameters
    ----------
    sweep : Sweep
    out : Path
        Folder of `sweep.json`, `measurements.parquet` and `.csv`, `table.md`, the figures, and for each run its
        payload, summary and `combined_data.json`.
    store : Store
    watch : callable
        Is told of every event.
    profile : Profile, optional
        Of the model on this machine: says how long it takes before anything is measured.
    overwrite : bool
        Begin anew: forget what was measured.
    keep_runs : bool
        Keep the runs in the store; else each is deleted once it is measured, unless something is wrong with it.
    max_cost : float, optional
        On AWS, USD: refuse a sweep that may cost more.

    Returns
    -------
    list of Measurement
        Of all runs in the folder, in the order in which they were made; look at `complete` and `problem`.

    Raises
    ------
    InputError
        If it cannot be run like that; no run was started.
    ClaimedError
        If the folder or the place of a run belongs to something else, or what must stay the same did not.
    BudgetError
        If it may cost more than allowed.
    RunStoppedError
        If it was interrupted; the same again goes on.
    """
    _check_store(sweep, store)
    source = open_source(sweep, store)
    store.bucket(sweep.bucket, create="store")
    with locked(out):
        folder = Folder(out)
        sweeping = _Sweeping(sweep, store, folder, source, watch, profile, keep_runs=keep_runs, max_cost=max_cost)
        wanted = beginning(sweep, source.fingerprint, store)
        sweeping.check_places()
        folder.begin(wanted, overwrite=overwrite)
        try:
            watch(sweeping.planned())
            if sweeping.left:
                sweeping.prepare()
                sweeping.check()
                sweeping.run()
        except KeyboardInterrupt:
            raise RunStoppedError(sweeping.where_stopped()) from None
        sweeping.show()
    return folder.measurements


@dataclass
class _Sweeping:
    sweep: Sweep
    store: Store
    folder: Folder
    source: Source
    watch: SweepWatcher = unwatched
    profile: Profile | None = None
    keep_runs: bool = False
    max_cost: float | None = None
    prefixes: dict[str, str] = field(default_factory=dict)
    """Label of partitions -> the folder they are read from."""
    under_way: Trial | None = None

    def __post_init__(self) -> None:
        self.plan = plan_sweep(self.sweep, self.source.cuts, usable_cores())
        self._cuts = {cut.label: cut for cut in self.source.cuts}

    @property
    def left(self) -> list[Trial]:
        """What is not measured yet, in order."""
        return [trial for trial in self.plan.trials if self.folder.measured(run_id(self.sweep, trial)) is None]

    def planned(self) -> Planned:
        left, free = self.left, free_in(self.store, self.sweep.data_bucket)
        needed = room_needed(self.sweep, self.source, self.folder.cut)
        return Planned(self.sweep, self.plan, len(self.plan.trials) - len(left), *self._time(left), needed, free)

    def prepare(self) -> None:
        """Have all partitions in the store."""
        bucket = self.store.bucket(self.sweep.data_bucket, create="store")
        check_room(bucket, room_needed(self.sweep, self.source, self.folder.cut), "the partitions of all sizes")
        for cut in self.source.cuts:
            files = self.plan.most_files(cut.label)
            if files:
                self.prefixes[cut.label] = prepare(
                    self.sweep,
                    self.source,
                    cut,
                    files,
                    self.store,
                    known=self.folder.cut,
                    note=self.folder.note_cut,
                    tell=lambda prefix, done, total: self.watch(Preparing(prefix, done, total)),
                )

    def check_places(self) -> None:
        """Check that no run would take the place of one that this sweep did not start."""
        bucket = self.store.bucket(self.sweep.bucket)
        for trial in self.plan.trials:
            keys = RunKeys(result_path(self.sweep, trial))
            if not self.folder.started(trial) and bucket.head(keys.payload) is not None:
                raise ClaimedError(
                    f"{run_id(self.sweep, trial)}: there is a run that this sweep did not start; expected none: choose "
                    "another --name or --result-path"
                )

    def check(self) -> None:
        """Plan a run of each configuration before the first is started, so that what cannot work is said at once."""
        typical = high = 0.0
        for trial, count in self._kinds():
            for estimate in self._estimates(trial):
                typical += count * float(estimate.typical.total_usd)
                high += count * float(estimate.high.total_usd)
        if self.sweep.engine == AWS:
            self.watch(CostKnown(typical, high))
        limit = self._money_left()
        if limit is not None and high > limit:
            raise BudgetError(
                f"sweep {self.sweep.name}: may cost {high:.4f} USD (about {typical:.4f}); expected at most "
                f"{limit:.4f}, what is left of --max-cost: allow more, or ask for less. No run was started",
                exit_code=2,
            )

    def _estimates(self, trial: Trial) -> list[Estimate]:
        """Plan a run, and return what it will cost; nothing where that is not told beforehand."""
        found: list[Estimate] = []

        def watch(event: RunEvent) -> None:
            if isinstance(event, Priced):
                found.append(event.estimate)

        payload = payload_of(self.sweep, trial, self.prefixes[trial.configuration.data])
        where: dict[str, Any] = self.sweep.place if self.sweep.engine == AWS else {"store": self.store.url}
        api.plan(payload, engine=self.sweep.engine, watch=watch, overwrite=True, **where)
        return found

    def run(self) -> None:
        """Run what is left."""
        total = len(self.plan.trials)
        left = self.left
        for number, trial in enumerate(left):
            self.watch(TrialStarted(trial, total - len(left) + number + 1, total, *self._time(left[number:])))
            self._run_one(trial)

    def show(self) -> None:
        """Write the table and the figures of all that was measured."""
        from skyfan.bench.table import seed_table

        self.folder.write_file(TABLE, seed_table(self.folder.measurements).encode())
        try:
            from skyfan.bench.figures import draw_figures

            draw_figures(self.folder.measurements, self.folder.path / FIGURES)
        except ModuleNotFoundError as error:
            self.watch(Noted(f"no figures: {error.name} is not installed; they need the extra 'plots'"))
        except InputError as error:  # the numbers are there all the same
            self.watch(Noted(f"no figures: {error}"))

    def where_stopped(self) -> str:
        done = len(self.plan.trials) - len(self.left)
        said = f"sweep {self.sweep.name}: stopped with {done} of {counted(len(self.plan.trials), 'run')} measured"
        if self.under_way is not None and self.sweep.engine == AWS:
            run = run_id(self.sweep, self.under_way)
            said += f"; {run} goes on on AWS: 'skyfan stop {run} --store s3://' stops it, and it must end first"
        return f"{said}; the same command goes on, and does the interrupted run anew"

    def _run_one(self, trial: Trial) -> None:
        self.under_way = trial
        overwrite = self.folder.started(trial)
        payload = payload_of(self.sweep, trial, self.prefixes[trial.configuration.data])
        path = self.folder.write(trial, PAYLOAD, msgspec.json.format(msgspec.json.encode(payload), indent=2) + b"\n")
        command = command_of(self.sweep, trial, path, self.store, overwrite=overwrite, max_cost=self._money_left())
        code, words = run_command(command, path.with_name("stderr.txt"))
        measurement = measure_trial(self.sweep, trial, self.store, code, words)
        bucket, place = self.store.bucket(self.sweep.bucket), result_path(self.sweep, trial)
        for name, data in evidence(bucket, place).items():
            self.folder.write(trial, name, data)
        self.folder.add(measurement)
        self.under_way = None
        self.watch(TrialEnded(trial, measurement))
        if is_whole(measurement) and not self.keep_runs:
            try:
                delete_run(bucket, place)
            except StoreRefusedError as error:
                self.keep_runs = True
                self.watch(Noted(f"runs are kept in the store, since they may not be deleted: {error}"))

    def _money_left(self) -> float | None:
        if self.max_cost is None:
            return None
        return max(0.000001, self.max_cost - sum(item.cost_usd or 0.0 for item in self.folder.measurements))

    def _kinds(self) -> list[tuple[Trial, int]]:
        """Return a run of each configuration that is left, and how many there are of it."""
        counts = Counter(trial.configuration for trial in self.left)
        return [(Trial(configuration, 1), count) for configuration, count in counts.items()]

    def _time(self, trials: Sequence[Trial]) -> tuple[float, int]:
        """Return the seconds that runs take, and of how many nothing tells."""
        walls: dict[str, list[float]] = {}
        for trial in self.plan.trials:
            found = self.folder.measured(run_id(self.sweep, trial))
            if found is not None and found.run_wall_s is not None:
                walls.setdefault(trial.configuration.name, []).append(found.run_wall_s)
        known = [
            expected_s(trial.configuration, self._cuts[trial.configuration.data], walls, self.profile)
            for trial in trials
        ]
        return sum(seconds for seconds in known if seconds is not None), known.count(None)


def _check_store(sweep: Sweep, store: Store) -> None:
    for name in (sweep.bucket, sweep.data_bucket):
        check_bucket(name, "bench: bucket")
    for path in (sweep.result_path, sweep.data_prefix):
        check_key(path, "bench: folder")
    if not store.shared:
        raise InputError(f"store {store.url}: its content is this process's alone; expected a folder or an S3 server")
