"""The folder that a sweep is kept in: what was asked, what was measured, and what each run said of itself."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from skyfan import __version__
from skyfan.bench.measurement import Measurement
from skyfan.bench.sweep import AXES, Sweep, Trial
from skyfan.bench.tidy import read_tidy, write_tidy
from skyfan.blob import write_whole
from skyfan.errors import ClaimedError, InputError
from skyfan.host import describe_host
from skyfan.measure import utc_now
from skyfan.payload import parse_payload
from skyfan.staging import resolve_model
from skyfan.storage import Store
from skyfan.task import ModelRef

SWEEP = "sweep.json"
MEASUREMENTS = ("measurements.parquet", "measurements.csv")
PAYLOAD = "payload.json"
STARTED = "started.json"


class Started(Struct, frozen=True, kw_only=True):
    """Kept beside a run's payload once this sweep has claimed the run's place: which run in which store is its own."""

    store: str
    run: str
    keep: bool = False
    """Whether it was asked to stay in the store once measured."""


class Begun(Struct, frozen=True, kw_only=True):
    """What `sweep.json` holds: what was asked, and what must stay the same for runs to be compared."""

    schema: int = 1
    sweep: Sweep
    began_at: str
    """UTC, ISO 8601."""
    machine: str
    """That its workers are on; empty if these are elsewhere, as on AWS, where the runs say theirs."""
    skyfan: str
    """Version."""
    model: ModelRef
    data: str
    """Fingerprint of the survey or of the folder of partitions."""
    store: str = ""
    """URL."""
    cut: dict[str, str | None] = {}
    """Store, bucket and prefix -> hash of the index of the partitions that were cut or repeated there; None if that
    was interrupted."""
    spent_usd: float = 0.0
    """On AWS, over all runs that were ever started for this folder; one without a whole bill at its forecast's high."""
    unpriced: int = 0
    """Runs that were started with neither a bill nor a forecast: what they cost is not known."""

    def fixed(self) -> dict[str, Any]:
        """Return what must be the same in all runs of a sweep."""
        asked = {name: value for name, value in structs.asdict(self.sweep).items() if name not in AXES}
        same = {
            "machine": self.machine,
            "store": self.store,
            "skyfan version": self.skyfan,
            "model": f"{self.model.name}, sha256 {self.model.sha256[:12]}",
            "data": self.data[:12],
        }
        return asked | same


class Folder:
    """A sweep's folder. Everything in it is written whole or not at all.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = _decode(path / SWEEP)
        self._measured: dict[str, Measurement] = {}
        if self.begun is not None and (path / MEASUREMENTS[0]).exists():
            self._measured = {item.run: item for item in read_tidy(path / MEASUREMENTS[0])}

    @property
    def measurements(self) -> list[Measurement]:
        """In the order in which they were made."""
        return list(self._measured.values())

    def cut(self, store: Store, bucket: str) -> dict[str, str | None]:
        """Return what was cut or repeated in a bucket, by prefix."""
        place, found = f"{store.url}/{bucket}/", self.begun.cut if self.begun is not None else {}
        return {name.removeprefix(place): sha256 for name, sha256 in found.items() if name.startswith(place)}

    def measured(self, run: str) -> Measurement | None:
        """Return the measurement of a run, if it is one: not of a run that was incomplete, resumed or failed."""
        found = self._measured.get(run)
        return found if found is not None and is_whole(found) else None

    def begin(self, wanted: Begun, *, overwrite: bool = False) -> None:
        """Begin the sweep, or go on with it; other combinations may be asked for than before.

        Raises
        ------
        ClaimedError
            If the folder is of another sweep, or what must stay the same did not.
        """
        before = self.begun
        if before is not None and not overwrite:
            self.check_same(wanted)
            wanted = structs.replace(before, sweep=wanted.sweep)
        elif before is not None:
            same = before.data == wanted.data and before.sweep.source == wanted.sweep.source
            cut = before.cut if same else dict.fromkeys(before.cut)
            wanted = structs.replace(wanted, cut=cut, spent_usd=before.spent_usd, unpriced=before.unpriced)
            self._forget()
        self.begun = wanted
        self._save()

    def check_same(self, wanted: Begun) -> None:
        """Check that a sweep that began here is this one; see `begin`."""
        if self.begun is None:
            return
        was, now = self.begun.fixed(), wanted.fixed()
        differing = [f"{name} {was[name]!r} (now: {now[name]!r})" for name in now if was[name] != now[name]]
        if differing:
            raise ClaimedError(
                f"{self.path}: a sweep began here on {self.begun.began_at} with {', '.join(differing)}; expected the "
                "same, or its runs cannot be compared: name another --out and --name, or begin anew with --overwrite"
            )

    def note_cut(self, store: Store, bucket: str, prefix: str, sha256: str | None) -> None:
        """Keep that partitions are being cut or repeated (None), or the hash of the index of those that were."""
        if self.begun is not None:
            cut = self.begun.cut | {f"{store.url}/{bucket}/{prefix}": sha256}
            self.begun = structs.replace(self.begun, cut=cut)
            self._save()

    def forget_cut(self, store: Store, bucket: str, prefix: str) -> None:
        """Forget that partitions were cut there: what is there now is somebody else's."""
        if self.begun is not None:
            self.begun.cut.pop(f"{store.url}/{bucket}/{prefix}", None)
            self._save()

    def spend(self, usd: float, unpriced: int = 0) -> None:
        """Add to what all runs have cost."""
        if self.begun is not None:
            spent = max(0.0, self.begun.spent_usd + usd)
            self.begun = structs.replace(self.begun, spent_usd=spent, unpriced=self.begun.unpriced + unpriced)
            self._save()

    def add(self, measurement: Measurement) -> None:
        """Keep a measurement, in the place of an earlier one of the same run."""
        self._measured.pop(measurement.run, None)
        self._measured[measurement.run] = measurement
        for name in MEASUREMENTS:
            write_tidy(self.measurements, self.path / name)

    def started(self, trial: Trial, store: Store, run: str) -> Started | None:
        """Return what says that this sweep claimed that run's place before, so that it may overwrite it, or None."""
        try:
            found = msgspec.json.decode((self.path / "runs" / trial.path / STARTED).read_bytes(), type=Started)
        except (OSError, msgspec.DecodeError):
            return None
        return found if (found.store, found.run) == (store.url, run) else None

    def note_started(self, trial: Trial, store: Store, run: str, *, keep: bool) -> None:
        """Keep that the place of a run is this sweep's."""
        self.write(trial, STARTED, msgspec.json.encode(Started(store=store.url, run=run, keep=keep)))

    def write(self, trial: Trial, name: str, data: bytes) -> Path:
        """Keep what belongs to one run."""
        path = self.path / "runs" / trial.path / name
        _write(path, data)
        return path

    def write_file(self, name: str, data: bytes) -> None:
        """Keep what belongs to the sweep as a whole."""
        _write(self.path / name, data)

    def _forget(self) -> None:
        """Forget what was measured; which runs are the sweep's own is still known by what was kept of their start."""
        self._measured = {}
        with _said(self.path):
            for name in MEASUREMENTS:
                (self.path / name).unlink(missing_ok=True)
            for path in (self.path / "runs").glob("*/*/*.json"):
                if path.name not in {PAYLOAD, STARTED}:
                    path.unlink()

    def _save(self) -> None:
        _write(self.path / SWEEP, msgspec.json.format(msgspec.json.encode(self.begun), indent=2) + b"\n")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Make a sweep's folder and keep other sweeps out of it within the block; the lock goes with the process.

    Raises
    ------
    ClaimedError
        If another sweep is at work on it.
    """
    with _said(path):
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClaimedError(
                f"{path}: another 'skyfan bench' is at work there; expected none: wait for it, or name another --out"
            ) from None
        yield
    finally:
        os.close(lock)


def beginning(sweep: Sweep, data: str, store: Store) -> Begun:
    """Return what a sweep would begin as now.

    Parameters
    ----------
    sweep : Sweep
    data : str
        Fingerprint of its data.
    store : Store

    Raises
    ------
    PayloadError, ModelError, StoreError
        If its payload or its model cannot be used.
    """
    asked = {**sweep.keys, "bucket": sweep.bucket, "data_bucket": sweep.data_bucket}
    payload, _ = parse_payload(asked | {"data_prefix": sweep.data_prefix, "result_path": sweep.result_path})
    model = resolve_model(payload, store.bucket(payload.bucket, create="on paper"))
    machine = describe_host() if sweep.is_here else ""
    return Begun(
        sweep=sweep,
        began_at=utc_now(),
        machine=machine,
        store=store.url,
        skyfan=__version__,
        model=model,
        data=data,
    )


def is_whole(measurement: Measurement) -> bool:
    """Whether a run may stand for its configuration: complete, and nothing else wrong with it."""
    return measurement.complete and not measurement.problem


def _decode(path: Path) -> Begun | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected the record of a sweep") from error
    try:
        return msgspec.json.decode(data, type=Begun)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: not the record of a sweep of this version ({error}); expected one: name another --out"
        ) from error


def _write(path: Path, data: bytes) -> None:
    with _said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); expected a folder that may be written to: name one with "
            "--out"
        ) from error
