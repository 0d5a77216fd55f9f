"""What the runs of a sweep read: the folder of each partition size, ready or made so; what was made is kept."""

from dataclasses import dataclass, field
from functools import partial

from skyfan.bench.data import Source, changed, is_ready, prefix_of, prepare, room_needed
from skyfan.bench.events import Preparing, SweepWatcher, unwatched
from skyfan.bench.folder import Folder
from skyfan.bench.repeating import check_room
from skyfan.bench.sweep import Plan, Sweep
from skyfan.storage import Store


@dataclass
class Supply:
    """The partitions of a sweep in its store; which of them it cut or repeated is kept in its folder."""

    sweep: Sweep
    store: Store
    folder: Folder
    source: Source
    plan: Plan
    watch: SweepWatcher = unwatched
    prefixes: dict[str, str] = field(default_factory=dict)
    """Label of partitions -> the folder they are read from, once they are prepared."""

    @property
    def to_cut_bytes(self) -> int:
        """Bytes of the partitions that are still to be cut."""
        return room_needed(self.sweep, self.source, self._cut)

    def ready(self) -> dict[str, str]:
        """Return the folders, by label of their partitions, from which runs can read before anything is prepared."""
        return {
            cut.label: prefix_of(self.sweep, self.source, cut, files)
            for cut in self.source.cuts
            if (files := self.plan.most_files(cut.label)) and is_ready(self.sweep, self.source, cut, files, self._cut)
        }

    def prepare(self) -> None:
        """Have all partitions in the store.

        Raises
        ------
        SurveyError
            If partitions that are there are not those that this sweep cut.
        StoreFullError
            If there is no room.
        """
        bucket = self.store.bucket(self.sweep.data_bucket, create="store")
        check_room(bucket, self.to_cut_bytes, "the partitions of all sizes")
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

    @property
    def _cut(self) -> dict[str, str | None]:
        return self.folder.cut(self.store, self.sweep.data_bucket)
