"""The engines that a whole run is tried on, and what a run stored and told."""

import threading
from pathlib import Path
from typing import Any, Protocol

import skyfan
from aws.states import Machine
from skyfan.keys import RunKeys
from skyfan.storage import Bucket, Store
from skyfan.task import Report, decode_report
from skyfan.watching import RunEvent, TaskDone, Watcher, unwatched

ROWS = 7 + 8 + 9 + 10
OF_AWS = {"Priced", "Started", "Waiting", "Billed"}


class Site(Protocol):
    """An engine, and the store whose bucket `sky` has what it works on."""

    name: str
    bucket: Bucket

    def run(self, payload: dict[str, Any], **options: Any) -> skyfan.Run: ...

    def open(self, payload: dict[str, Any]) -> skyfan.Run: ...

    def hold(self) -> threading.Event:
        """Let no task of a run that is planned start before the event is set, nor before Planned is told."""


class Local:
    name = "local"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.bucket = Store(str(root)).bucket("sky")

    def run(self, payload: dict[str, Any], **options: Any) -> skyfan.Run:
        return skyfan.run(payload, store=self._root, workers=2, **options)

    def open(self, payload: dict[str, Any]) -> skyfan.Run:
        return skyfan.open_run(payload, store=self._root)

    def hold(self) -> threading.Event:
        return threading.Event()  # the driver, which tells Planned before it hands out a task, is one of our threads


class Dask(Local):
    name = "dask"

    def __init__(self, root: Path, scheduler: str) -> None:
        super().__init__(root)
        self._scheduler = scheduler

    def run(self, payload: dict[str, Any], **options: Any) -> skyfan.Run:
        return skyfan.run(payload, store=self._root, engine="dask", scheduler=self._scheduler, **options)


class Aws:
    name = "aws"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.bucket = Store("s3://").bucket("sky")

    def run(self, payload: dict[str, Any], **options: Any) -> skyfan.Run:
        return skyfan.run(payload, engine="aws", **options)

    def open(self, payload: dict[str, Any]) -> skyfan.Run:
        return skyfan.open_run(payload, store="s3://")

    def hold(self) -> threading.Event:
        go, infer = threading.Event(), self._machine.handlers["Infer"]

        def wait(event: dict[str, Any], context: object) -> Any:
            go.wait(60)
            return infer(event, context)

        self._machine.handlers["Infer"] = wait
        return go


class Seen(list[RunEvent]):
    """What a run told, but the ticks and what only AWS has to tell; all of that is in `everything`."""

    def __init__(self, also: Watcher = unwatched) -> None:
        super().__init__()
        self.everything: list[RunEvent] = []
        self._also = also

    def __call__(self, event: RunEvent) -> None:
        self.everything.append(event)
        if type(event).__name__ not in {"Ticked", *OF_AWS}:
            self.append(event)
        self._also(event)

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.everything if isinstance(event, kind)]

    @property
    def ranks_done(self) -> list[int]:
        return sorted(event.report.rank for event in self.of(TaskDone))


def stored(site: Site, folder: str) -> dict[str, bytes | None]:
    return {entry.key: site.bucket.get(entry.key) for entry in site.bucket.list(folder)}


def everything_of(site: Site, keys: RunKeys) -> dict[str, bytes | None]:
    """Return what a run stored, but its leases."""
    folders = (keys.result_path, keys.predictions, keys.reports, keys.failures)
    return {key: data for folder in folders for key, data in stored(site, folder).items()}


def reports(site: Site, keys: RunKeys) -> list[Report]:
    found = (decode_report(data) for data in stored(site, keys.reports).values())
    return sorted((report for report in found if report is not None), key=lambda report: report.rank)


def spoil(site: Site) -> bytes:
    """Spoil the last partition, so that all others are under way or done when it fails; return what it was."""
    whole = site.bucket.get("25MB/4.safetensors")
    assert whole is not None
    site.bucket.put("25MB/4.safetensors", b"no partition")
    return whole
