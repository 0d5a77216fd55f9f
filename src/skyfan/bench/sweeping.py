"""Runs a sweep: the plan first, then round after round, so that an interrupted one goes on where it was."""

from contextlib import suppress
from dataclasses import InitVar, dataclass
from pathlib import Path

import msgspec

from skyfan.bench.budget import Budget
from skyfan.bench.data import Source, distinct_of, open_source
from skyfan.bench.events import Noted, Planned, SweepWatcher, TrialEnded, TrialStarted, unwatched
from skyfan.bench.folder import PAYLOAD, Folder, beginning, is_whole, locked
from skyfan.bench.measurement import Measurement
from skyfan.bench.owning import NOT_OURS, OwnRuns
from skyfan.bench.remaining import Remaining
from skyfan.bench.repeating import free_in
from skyfan.bench.supply import Supply
from skyfan.bench.sweep import AWS, Sweep, Trial, plan_sweep
from skyfan.bench.trial import (
    command_of,
    evidence,
    measure_trial,
    payload_of,
    result_path,
    run_command,
    run_id,
    summary_of,
    with_known,
)
from skyfan.errors import InputError, RunStoppedError, StoreAbsentError
from skyfan.host import usable_cores
from skyfan.keys import check_bucket, check_key
from skyfan.prices import load_prices
from skyfan.profiling.profile import Profile
from skyfan.storage import Store
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
    _check_prices(sweep)
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
    _check_prices(sweep)
    source = open_source(sweep, store)
    store.bucket(sweep.bucket, create="store")
    with locked(out):
        folder = Folder(out)
        sweeping = _Sweeping(sweep, store, folder, source, watch, profile, keep_runs=keep_runs, max_cost=max_cost)
        wanted = beginning(sweep, source.fingerprint, store)
        sweeping.own.check_places(sweeping.plan.trials)
        folder.begin(wanted, overwrite=overwrite)
        try:
            if overwrite:
                sweeping.supply.forget_lost()
            sweeping.own.delete_leftovers(sweeping.plan.trials)
            watch(sweeping.planned())
            if sweeping.remaining.trials:
                sweeping.check_ready()
                sweeping.supply.prepare()
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
    keep_runs: InitVar[bool] = False
    max_cost: InitVar[float | None] = None
    under_way: Trial | None = None

    def __post_init__(self, keep_runs: bool, max_cost: float | None) -> None:
        self.plan = plan_sweep(self.sweep, self.source.cuts, usable_cores())
        self.supply = Supply(self.sweep, self.store, self.folder, self.source, self.plan, self.watch)
        self.own = OwnRuns(self.sweep, self.store, self.folder, self.watch, keep=keep_runs)
        self.budget = Budget(self.sweep, self.store, self.folder, self.watch, limit_usd=max_cost)
        self.remaining = Remaining(self.sweep, self.folder, self.plan, self.profile)

    def planned(self) -> Planned:
        time, free = self.remaining.time(self.remaining.trials), free_in(self.store, self.sweep.data_bucket)
        return Planned(self.sweep, self.plan, self.remaining.done, *time, self.supply.to_cut_bytes, free)

    def check_ready(self) -> None:
        """Refuse what may cost too much before partitions are cut or repeated, as far as these are there."""
        ready = self.supply.ready()
        if self.sweep.engine == AWS and ready:
            self.budget.check(self.remaining.trials, ready, "No run was started, and no partition cut or copied")

    def check(self) -> None:
        """Plan a run of each configuration before the first is started, so that what cannot work is said at once."""
        if not self.budget.knows(self.remaining.trials):
            said = "No run was started; partitions that were cut or copied for it stay"
            self.budget.check(self.remaining.trials, self.supply.prefixes, said)

    def run(self) -> None:
        """Run what is left."""
        left, done, total = self.remaining.trials, self.remaining.done, len(self.plan.trials)
        for number, trial in enumerate(left):
            self.watch(TrialStarted(trial, done + number + 1, total, *self.remaining.time(left[number:])))
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
        total = counted(len(self.plan.trials), "run")
        said = f"sweep {self.sweep.name}: stopped with {self.remaining.done} of {total} measured"
        if self.under_way is not None and self.sweep.engine == AWS:
            run = run_id(self.sweep, self.under_way)
            said += f"; {run} goes on on AWS: 'skyfan stop {run} --store s3://' stops it, and it must end first"
        return f"{said}; the same command goes on, and does the interrupted run anew"

    def _run_one(self, trial: Trial) -> None:
        self.under_way = trial
        payload = payload_of(self.sweep, trial, self.supply.prefixes[trial.configuration.data])
        again = self.own.holds(trial)
        if not self.own.claim(trial, payload):
            run = run_id(self.sweep, trial)
            self._add(trial, Measurement(origin="skyfan", run=run, complete=False, problem=NOT_OURS))
            return
        path = self.folder.write(trial, PAYLOAD, msgspec.json.format(msgspec.json.encode(payload), indent=2) + b"\n")
        command = command_of(self.sweep, trial, path, self.store, overwrite=again, max_cost=self.budget.left_usd)
        self.budget.book(trial)
        earlier = summary_of(self.sweep, trial, self.store)
        code, words = run_command(command, path.with_name("stderr.txt"))
        before = earlier.drive.started_at if earlier is not None else ""
        measurement = measure_trial(self.sweep, trial, self.store, code, words, before=before)
        self.budget.settle(trial, measurement)
        for name, data in evidence(self.store.bucket(self.sweep.bucket), result_path(self.sweep, trial)).items():
            self.folder.write(trial, name, data)
        self._add(trial, measurement)
        if is_whole(measurement) and not self.own.keep:
            self.own.delete(trial)

    def _add(self, trial: Trial, measurement: Measurement) -> None:
        """Keep a measurement; one of a run that did not end well in the row of its configuration."""
        if not is_whole(measurement) and self.folder.begun is not None:
            wanted = trial.configuration
            (cut,) = (each for each in self.plan.cuts if each.label == wanted.data)
            others = (each for each in self.plan.trials if each.configuration == wanted)
            measurement = with_known(
                measurement,
                self.sweep,
                trial,
                self.store,
                begun=self.folder.begun,
                cut=cut,
                distinct=distinct_of(self.source, cut, wanted.files, self.plan.most_files(cut.label)),
                prefix=self.supply.prefixes[wanted.data],
                like=next(filter(None, map(self.remaining.measured, others)), None),
            )
        self.folder.add(measurement)
        self.under_way = None
        self.watch(TrialEnded(trial, measurement))


def _check_store(sweep: Sweep, store: Store) -> None:
    for name in (sweep.bucket, sweep.data_bucket):
        check_bucket(name, "bench: bucket")
    for path in (sweep.result_path, sweep.data_prefix):
        check_key(path, "bench: folder")
    if not store.shared:
        raise InputError(f"store {store.url}: its content is this process's alone; expected a folder or an S3 server")


def _check_prices(sweep: Sweep) -> None:
    """Check the list that every run is priced by; on AWS the plan of each run does, before the first."""
    if sweep.engine != AWS:
        load_prices()
