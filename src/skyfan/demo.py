"""The whole thing on a small simulated survey: what a newcomer runs first."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skyfan.api import run
from skyfan.errors import InputError
from skyfan.making import partition, simulate
from skyfan.runs import Run
from skyfan.storage import Store, resolve_store
from skyfan.survey import Progress
from skyfan.watching import Watcher

BUCKET = "demo"
SURVEY = "survey.safetensors"
PREFIX = "4MB"
RESULT_PATH = "results/first-run"
SEED = 2026  # not the training survey's, so that no galaxy of the demo was learnt from

PAYLOAD = {"bucket": BUCKET, "data_bucket": BUCKET, "data_prefix": PREFIX, "result_path": RESULT_PATH}


@dataclass(frozen=True)
class Demo:
    """Where the demonstration puts its files, and the commands that it stands for."""

    store: str
    folder: Path

    @property
    def survey(self) -> Path:
        return self.folder / SURVEY

    @property
    def payload(self) -> Path:
        return self.folder / "payload.json"

    def commands(self, rows: int) -> tuple[str, str, str]:
        """Return what a user would type for the same, step by step."""
        return (
            f"skyfan simulate {self.survey} --rows {rows} --seed {SEED}",
            f"skyfan partition {BUCKET}/{SURVEY} {BUCKET}/{PREFIX} --size {PREFIX} --store {self.store} --overwrite",
            f"skyfan run {self.payload} --store {self.store} --overwrite",
        )


def prepare(store: str | None) -> Demo:
    """Make the bucket's folder and the payload in it.

    Raises
    ------
    InputError
        If the store is not a folder.
    """
    url = resolve_store(store)
    folder = Store(url).bucket(BUCKET, create="store").local_path("")
    if folder is None:
        raise InputError(f"store {url}: the demonstration shows its files; expected a folder: name one with --store")
    demo = Demo(url, folder)
    demo.payload.write_text(json.dumps(PAYLOAD, indent=2) + "\n")
    return demo


def run_demo(demo: Demo, rows: int, *, say: Callable[[str], None], simulated: Progress, watch: Watcher) -> Run:
    """Simulate, partition and run a small survey.

    Parameters
    ----------
    demo : Demo
        From `prepare`.
    rows : int
        Galaxies.
    say : callable
        Told the command that each step stands for, before it.
    simulated : callable
        Told of the galaxies simulated and their total.
    watch : Watcher
        Told of the run's events.
    """
    simulating, splitting, running = demo.commands(rows)
    say(simulating)
    simulate(demo.survey, rows, SEED, progress=simulated)
    say(splitting)
    partition(f"{BUCKET}/{SURVEY}", f"{BUCKET}/{PREFIX}", size=PREFIX, store=demo.store, overwrite=True)
    say(running)
    return run(demo.payload, store=demo.store, watch=watch, overwrite=True)
