"""Runs a sweep: the plan first, then round after round, so that an interrupted one goes on where it was."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from skyfan.bench.data import Source, changed, distinct_of, is_ready, open_source, prefix_of, prepare, room_needed
from skyfan.bench.events import CostKnown, Noted, Planned, Preparing, SweepWatcher, TrialEnded, TrialStarted, unwatched
from skyfan.bench.folder import PAYLOAD, Folder, beginning, is_whole, locked
from skyfan.bench.measurement import Measurement
from skyfan.bench.repeating import check_room, free_in
from skyfan.bench.sweep import AWS, Configuration, Sweep, Trial, expected_s, plan_sweep
from skyfan.bench.trial import (
    claim_place,
    command_of,
    delete_run,
    estimates_of,
    evidence,
    measure_trial,
    payload_of,
    result_path,
    run_command,
    run_id,
    with_known,
)
from skyfan.errors import BudgetError, ClaimedError, InputError, RunStoppedError, StoreAbsentError, StoreRefusedError
from skyfan.host import usable_cores
from skyfan.keys import RunKeys, check_bucket, check_key
from skyfan.measure import utc_now
from skyfan.profiling.profile import Profile
from skyfan.runs import Run
from skyfan.storage import Store
from skyfan.wording import counted

TABLE = "table.md"
FIGURES = "figures"
NOT_OURS = "there is a run that this sweep did not start; expected none"


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
            if overwrite:
                sweeping.forget_lost()
            sweeping.delete_leftovers()
            watch(sweeping.planned())
            if sweeping.left:
                sweeping.check_ready()
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
    highs: dict[Configuration, float] = field(default_factory=dict)
    """USD that a run may cost, where its plan tells."""

    def __post_init__(self) -> None:
        self.plan = plan_sweep(self.sweep, self.source.cuts, usable_cores())
        self._cuts = {cut.label: cut for cut in self.source.cuts}

    @property
    def _cut(self) -> dict[str, str | None]:
        return self.folder.cut(self.store, self.sweep.data_bucket)

    @property
    def left(self) -> list[Trial]:
        """What is not measured yet, in order."""
        return [trial for trial in self.plan.trials if self.folder.measured(run_id(self.sweep, trial)) is None]

    def planned(self) -> Planned:
        left, free = self.left, free_in(self.store, self.sweep.data_bucket)
        needed = room_needed(self.sweep, self.source, self._cut)
        return Planned(self.sweep, self.plan, len(self.plan.trials) - len(left), *self._time(left), needed, free)

    def prepare(self) -> None:
        """Have all partitions in the store."""
        bucket = self.store.bucket(self.sweep.data_bucket, create="store")
        check_room(bucket, room_needed(self.sweep, self.source, self._cut), "the partitions of all sizes")
        for cut in self.source.cuts:
            files = self.plan.most_files(cut.label)
            if files:
                self.prefixes[cut.label] = prepare(
                    self.sweep,
                    self.source,
                    cut,
                    files,
                    self.store,
                    known=self._cut,
                    note=partial(self.folder.note_cut, self.store, self.sweep.data_bucket),
                    tell=lambda prefix, done, total: self.watch(Preparing(prefix, done, total)),
                )

    def forget_lost(self) -> None:
        """Have what is gone cut again, and take what somebody else put in its place for theirs."""
        if not self._cut:
            return
        bucket = self.store.bucket(self.sweep.data_bucket, create="store")
        for prefix, gone in changed(bucket, self._cut).items():
            if gone:
                self.folder.note_cut(self.store, bucket.name, prefix, None)
            else:
                self.folder.forget_cut(self.store, bucket.name, prefix)

    def delete_leftovers(self) -> None:
        """Delete runs that were measured and, since the sweep was interrupted right then, not deleted."""
        if self.keep_runs:
            return
        for trial in self.plan.trials:
            run = run_id(self.sweep, trial)
            found, begun = self.folder.measured(run), self.folder.started(trial, self.store, run)
            if found is not None and begun is not None and not begun.keep:
                summary = Run(self.store, self.sweep.bucket, result_path(self.sweep, trial)).summary
                if summary is not None and summary.drive.started_at == found.started_at:
                    self._delete(trial)

    def check_places(self) -> None:
        """Check that no run would take the place of one that this sweep did not start."""
        bucket = self.store.bucket(self.sweep.bucket)
        for trial in self.plan.trials:
            run = run_id(self.sweep, trial)
            started = self.folder.started(trial, self.store, run)
            if started is None and bucket.head(RunKeys(result_path(self.sweep, trial)).payload) is not None:
                raise ClaimedError(f"{run}: {NOT_OURS}: choose another --name or --result-path")

    def check_ready(self) -> None:
        """Refuse what may cost too much before partitions are cut or repeated, as far as these are there."""
        ready: dict[str, str] = {}
        for cut in self.source.cuts:
            files = self.plan.most_files(cut.label)
            if files and is_ready(self.sweep, self.source, cut, files, self._cut):
                ready[cut.label] = prefix_of(self.sweep, self.source, cut, files)
        if self.sweep.engine == AWS and ready:
            self._check_price(ready, "No run was started, and no partition cut or copied")

    def check(self) -> None:
        """Plan a run of each configuration before the first is started, so that what cannot work is said at once."""
        if not all(trial.configuration in self.highs for trial in self.left):
            self._check_price(self.prefixes, "No run was started; partitions that were cut or copied for it stay")

    def _price(self, prefixes: dict[str, str]) -> tuple[float, float]:
        """Return what the runs that are left and read from these folders will cost: typically, and at most."""
        typical = high = 0.0
        for trial, count in self._kinds():
            wanted = trial.configuration
            if wanted.data in prefixes:
                for estimate in estimates_of(self.sweep, trial, prefixes[wanted.data], self.store):
                    self.highs[wanted] = float(estimate.high.total_usd)
                    typical += count * float(estimate.typical.total_usd)
                    high += count * self.highs[wanted]
        return typical, high

    def _check_price(self, prefixes: dict[str, str], said: str) -> None:
        typical, high = self._price(prefixes)
        if self.sweep.engine == AWS and all(trial.configuration.data in prefixes for trial in self.left):
            self.watch(CostKnown(typical, high))
        limit = self._money_left()
        if limit is not None and high > limit:
            raise BudgetError(
                f"sweep {self.sweep.name}: may cost {high:.4f} USD (about {typical:.4f}); expected at most "
                f"{limit:.4f}, what is left of --max-cost: allow more, or ask for less. {said}",
                exit_code=2,
            )

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
        run, prefix = run_id(self.sweep, trial), self.prefixes[trial.configuration.data]
        payload = payload_of(self.sweep, trial, prefix)
        bucket, place = self.store.bucket(self.sweep.bucket), result_path(self.sweep, trial)
        again = self.folder.started(trial, self.store, run) is not None
        if not again and not claim_place(bucket, payload):
            self._add(trial, Measurement(origin="skyfan", run=run, complete=False, problem=NOT_OURS))
            return
        self.folder.note_started(trial, self.store, run, keep=self.keep_runs)
        path = self.folder.write(trial, PAYLOAD, msgspec.json.format(msgspec.json.encode(payload), indent=2) + b"\n")
        command = command_of(self.sweep, trial, path, self.store, overwrite=again, max_cost=self._money_left())
        self._book(trial)
        began_at = utc_now()
        code, words = run_command(command, path.with_name("stderr.txt"))
        measurement = measure_trial(self.sweep, trial, self.store, code, words, began_at=began_at)
        self._settle(trial, measurement)
        for name, data in evidence(bucket, place).items():
            self.folder.write(trial, name, data)
        self._add(trial, measurement)
        if is_whole(measurement) and not self.keep_runs:
            self._delete(trial)

    def _add(self, trial: Trial, measurement: Measurement) -> None:
        """Keep a measurement; one of a run that did not end well in the row of its configuration."""
        if not is_whole(measurement) and self.folder.begun is not None:
            wanted = trial.configuration
            cut = self._cuts[wanted.data]
            others = (each for each in self.plan.trials if each.configuration == wanted)
            measurement = with_known(
                measurement,
                self.sweep,
                trial,
                self.store,
                begun=self.folder.begun,
                cut=cut,
                distinct=distinct_of(self.source, cut, wanted.files),
                prefix=self.prefixes[wanted.data],
                like=next(filter(None, (self.folder.measured(run_id(self.sweep, each)) for each in others)), None),
            )
        self.folder.add(measurement)
        self.under_way = None
        self.watch(TrialEnded(trial, measurement))

    def _delete(self, trial: Trial) -> None:
        try:
            delete_run(self.store.bucket(self.sweep.bucket), result_path(self.sweep, trial))
        except StoreRefusedError as error:
            self.keep_runs = True
            self.watch(Noted(f"runs are kept in the store, since they may not be deleted: {error}"))

    def _book(self, trial: Trial) -> None:
        """Count a run at what it may cost before it starts: it may be interrupted, or never have a bill."""
        if self.sweep.engine == AWS:
            high = self.highs.get(trial.configuration)
            self.folder.spend(high or 0.0, unpriced=int(high is None))

    def _settle(self, trial: Trial, measurement: Measurement) -> None:
        """Count a run at its bill, if that is whole."""
        if self.sweep.engine != AWS:
            return
        high, cost = self.highs.get(trial.configuration), measurement.cost_usd
        if cost is not None and (measurement.cost_kind == "billed" or cost > (high or 0.0)):
            self.folder.spend(cost - (high or 0.0), unpriced=-int(high is None))
        elif high is None:
            self.watch(Noted(f"{measurement.run}: what it cost is not known, and --max-cost does not count it"))

    def _money_left(self) -> float | None:
        if self.max_cost is None or self.folder.begun is None:
            return self.max_cost
        return max(0.000001, self.max_cost - self.folder.begun.spent_usd)

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
