"""Whose a run is: a sweep overwrites and deletes the runs that it started, and no others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skyfan.bench.events import Noted, SweepWatcher, unwatched
from skyfan.bench.folder import Folder, Started
from skyfan.bench.sweep import Sweep, Trial
from skyfan.bench.trial import claim_place, delete_run, result_path, run_id
from skyfan.errors import ClaimedError, StoreRefusedError
from skyfan.keys import RunKeys
from skyfan.runs import Run
from skyfan.storage import Bucket, Store

NOT_OURS = "there is a run that this sweep did not start; expected none"


@dataclass
class OwnRuns:
    """The runs of a sweep in its store; which of them it started is kept in its folder."""

    sweep: Sweep
    store: Store
    folder: Folder
    watch: SweepWatcher = unwatched
    keep: bool = False
    """Keep them once they are measured."""

    def holds(self, trial: Trial) -> bool:
        """Return whether the sweep has claimed a run's place before, so that it may overwrite what is there."""
        return self._started(trial) is not None

    def check_places(self, trials: Sequence[Trial]) -> None:
        """Check that no run would take the place of one that this sweep did not start.

        Raises
        ------
        ClaimedError
        """
        bucket = self._bucket
        for trial in trials:
            if not self.holds(trial) and bucket.head(RunKeys(result_path(self.sweep, trial)).payload) is not None:
                run = run_id(self.sweep, trial)
                raise ClaimedError(f"{run}: {NOT_OURS}: choose another --name or --result-path")

    def claim(self, trial: Trial, payload: Mapping[str, Any]) -> bool:
        """Have the place of a run, and keep that; False if somebody else took it meanwhile."""
        if not self.holds(trial) and not claim_place(self._bucket, payload):
            return False
        self.folder.note_started(trial, self.store, run_id(self.sweep, trial), keep=self.keep)
        return True

    def delete_leftovers(self, trials: Sequence[Trial]) -> None:
        """Delete runs that were measured and, since the sweep was interrupted right then, not deleted."""
        if self.keep:
            return
        for trial in trials:
            found, begun = self.folder.measured(run_id(self.sweep, trial)), self._started(trial)
            if found is not None and begun is not None and not begun.keep:
                summary = Run(self.store, self.sweep.bucket, result_path(self.sweep, trial)).summary
                if summary is not None and summary.drive.started_at == found.started_at:
                    self.delete(trial)

    def delete(self, trial: Trial) -> None:
        """Delete a run that was measured; if the store refuses that, all are kept from then on."""
        try:
            delete_run(self._bucket, result_path(self.sweep, trial))
        except StoreRefusedError as error:
            self.keep = True
            self.watch(Noted(f"runs are kept in the store, since they may not be deleted: {error}"))

    def _started(self, trial: Trial) -> Started | None:
        return self.folder.started(trial, self.store, run_id(self.sweep, trial))

    @property
    def _bucket(self) -> Bucket:
        return self.store.bucket(self.sweep.bucket)
