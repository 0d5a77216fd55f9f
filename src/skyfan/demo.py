"""The whole thing on a small simulated survey: what a newcomer runs first."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from skyfan.api import Run, partition, run, simulate
from skyfan.photoz.metrics import Scores, scores
from skyfan.survey import Progress
from skyfan.watching import Watcher

BUCKET = "demo"
PREFIX = "survey/4MB"
SIZE = "4MB"
RESULT_PATH = "results/first-run"
SEED = 2026  # not the training survey's, so that no galaxy of the demo was learnt from

PAYLOAD = {"bucket": BUCKET, "data_bucket": BUCKET, "data_prefix": PREFIX, "result_path": RESULT_PATH}


def run_demo(
    rows: int, *, store: str | None, say: Callable[[str], None], simulated: Progress, watch: Watcher
) -> tuple[Run, Scores]:
    """Simulate, partition, run and score a small survey.

    Parameters
    ----------
    rows : int
        Galaxies.
    store : str, optional
        As for `skyfan.run`.
    say : callable
        Told each step, as the command that does it.
    simulated : callable
        Told of the galaxies simulated and their total.
    watch : Watcher
        Told of the run's events.

    Returns
    -------
    run, scores : Run, Scores
        The scores are against the simulation's true redshifts.
    """
    with tempfile.TemporaryDirectory(prefix="skyfan-demo-") as folder:
        survey = Path(folder) / "survey.safetensors"
        say(f"skyfan simulate survey.safetensors --rows {rows} --seed {SEED}")
        simulate(survey, rows, SEED, progress=simulated)
        say(f"skyfan partition survey.safetensors {BUCKET}/{PREFIX} --size {SIZE}")
        partition(survey, f"{BUCKET}/{PREFIX}", size=SIZE, store=store, overwrite=True)
    say(f"skyfan run payload.json   # {PAYLOAD}")
    done = run(PAYLOAD, store=store, watch=watch, overwrite=True)
    table = done.predictions().read_all()
    z_phot, z_spec = (np.asarray(table.column(name).to_numpy()) for name in ("z_phot", "z_spec"))
    return done, scores(z_phot, z_spec)
