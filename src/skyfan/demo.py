"""The whole thing on a small simulated survey: what a newcomer runs first."""

import json
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

    @property
    def next(self) -> str:
        """What to do when it is over."""
        return f"skyfan report {BUCKET}/{RESULT_PATH} --store {self.store} (needs pip install '.[plots]')"


def prepare(store: str | None) -> Demo:
    """Make the bucket's folder and the payload in it.

    Raises
    ------
    InputError
        If the store is not a folder.
    """
    url = resolve_store(store)
    folder = Store(url).bucket(BUCKET, create="store").folder
    if folder is None:
        raise InputError(f"store {url}: the demonstration shows its files; expected a folder: name one with --store")
    here = Path.cwd()
    demo = Demo(url, folder.relative_to(here) if folder.is_relative_to(here) else folder)
    try:
        demo.payload.write_text(json.dumps(PAYLOAD, indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"{demo.payload}: cannot be written ({error.strerror}); expected a folder that may be written to: name one "
            "with --store"
        ) from error
    return demo


def simulate_survey(demo: Demo, rows: int, progress: Progress) -> None:
    """Simulate the survey of the demonstration."""
    simulate(demo.survey, rows, SEED, progress=progress)


def split_survey(demo: Demo, progress: Progress) -> None:
    """Split it into partitions."""
    partition(
        f"{BUCKET}/{SURVEY}", f"{BUCKET}/{PREFIX}", size=PREFIX, store=demo.store, overwrite=True, progress=progress
    )


def run_payload(demo: Demo, watch: Watcher) -> Run:
    """Run the shipped model over it."""
    return run(demo.payload, store=demo.store, watch=watch, overwrite=True)
