"""Trains the network: one loop, the same from the start or from any step of it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from skyfan.errors import InputError, ModelError, SurveyError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz.checkpoint import Recipe, Record
from skyfan.photoz.dataset import Split, Survey, measure_range, open_survey, split
from skyfan.photoz.metrics import Scores
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.trainer import Trainer

DEFAULT_EPOCHS = 10.0
DEFAULT_SEED = 1
CHECKPOINT_EVERY_S = 600.0
REPORT_EVERY_STEPS = 50


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    epoch: float
    """Passes over the training rows so far."""
    step: int
    seconds: float
    """In the loop so far, interruptions left out."""
    share_done: float
    """0 to 1."""
    loss: float
    """Mean over the steps since the last report."""
    validation: Scores | None
    """At the end of an epoch and of the training."""


def train(
    survey: Path,
    out: Path,
    *,
    config: NetworkConfig | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    recipe: Recipe | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a network on a survey with true redshifts.

    90 % of the objects are learnt from, 5 % give the validation metrics, 5 % are left for tests. With `epochs`, the
    same seed on the same machine gives the same weights, interrupted or not; with `minutes` the clock decides.

    Parameters
    ----------
    survey : Path
        Safetensors file with `object_id`, `redshift`, `image` and `magnitude`, as `skyfan simulate` writes it.
    out : Path
        Checkpoint to write, at every epoch's end and every ten minutes: safetensors, with its record in JSON beside it.
    config : NetworkConfig, optional
        Size of the network, by default `NetworkConfig.small()`.
    epochs, minutes : float, optional
        How long; whichever ends first, by default 10 epochs. The learning rate falls to zero by then.
    seed : int, optional
        Of weights, order, augmentation and dropout; 1 by default.
    device : str
        "cpu" or "cuda".
    resume : bool
        Go on from `out` if it exists, with its size, seed and recipe; `epochs` and `minutes` may be given anew.
    recipe : Recipe, optional
        Everything else about the optimisation.
    progress : callable, optional
        Called every 50 steps, and with validation metrics at every epoch's end.

    Returns
    -------
    path : Path
        `out`.

    Raises
    ------
    InputError
        The survey or the checkpoint cannot be used, or there is no such device.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but torch sees no CUDA here; expected 'cpu' - train on the CPU")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(
            f"{out} cannot be written; expected the name of a file in a folder that exists - make it first"
        )
    start = checkpoints.load(out) if resume and out.exists() else None
    if start:
        _check_resumed(out, start.record, config=config, seed=seed, recipe=recipe)
        config = start.record.config
    config = config or NetworkConfig.small()
    data = open_survey(survey, config)
    parts = split(data.object_id)
    if start:
        record = _continued(start.record, epochs, minutes)
        if len(parts.train) != record.training_rows:
            raise SurveyError(
                f"{survey} has {len(parts.train)} rows to train with, expected {record.training_rows} as when {out} "
                f"was started - resume with the survey {record.survey}"
            )
    else:
        _check_length(epochs, minutes)
        record = replace(
            _new_record(data, parts, config),
            recipe=recipe or Recipe(),
            seed=DEFAULT_SEED if seed is None else seed,
            epochs=DEFAULT_EPOCHS if epochs is None and minutes is None else epochs,
            minutes=minutes,
        )
    trainer = Trainer(data, parts, record, device)
    if start:
        trainer.restore(start)
    _run(trainer, out, progress)
    return out


def _run(trainer: Trainer, out: Path, progress: Callable[[Progress], None] | None) -> None:
    """Learn until the end, saving and reporting on the way."""
    began = time.monotonic() - trainer.seconds
    saved = time.monotonic()
    losses: list[float] = []
    while (share := trainer.share_done()) < 1.0:
        losses.append(trainer.learn(share))
        trainer.seconds = time.monotonic() - began
        ended = trainer.share_done() >= 1.0
        validation = trainer.validate() if ended or trainer.step % trainer.steps_per_epoch == 0 else None
        trainer.seconds = time.monotonic() - began
        if validation:
            loss = sum(losses) / len(losses)
            trainer.history.append({"step": trainer.step, "loss": loss, **asdict(validation)})
        if ended or validation or time.monotonic() - saved > CHECKPOINT_EVERY_S:
            checkpoints.save(out, trainer.snapshot())
            saved = time.monotonic()
        if progress and (validation or trainer.step % REPORT_EVERY_STEPS == 0):
            progress(_progress(trainer, losses, validation))
            losses = []


def _progress(trainer: Trainer, losses: list[float], validation: Scores | None) -> Progress:
    return Progress(
        epoch=trainer.step / trainer.steps_per_epoch,
        step=trainer.step,
        seconds=trainer.seconds,
        share_done=min(trainer.share_done(), 1.0),
        loss=sum(losses) / len(losses),
        validation=validation,
    )


def _new_record(survey: Survey, parts: Split, config: NetworkConfig) -> Record:
    if len(parts.train) < 2:
        raise SurveyError(
            f"{survey.path} has {len(survey)} rows, {len(parts.train)} of them to train with; expected thousands - "
            "train on a larger survey"
        )
    return Record(
        config=config,
        recipe=Recipe(),
        epochs=DEFAULT_EPOCHS,
        minutes=None,
        seed=DEFAULT_SEED,
        survey=survey.path.name,
        survey_name=survey.metadata.get("survey", survey.path.stem),
        bands=survey.metadata.get("bands", ""),
        pixel_scale_arcsec=survey.metadata.get("pixel_scale_arcsec", ""),
        training_rows=len(parts.train),
        valid_range=measure_range(survey, parts.train),
        step=0,
        seconds=0.0,
        history=[],
    )


def _continued(record: Record, epochs: float | None, minutes: float | None) -> Record:
    _check_length(epochs, minutes)
    return record if epochs is None and minutes is None else replace(record, epochs=epochs, minutes=minutes)


def _check_length(epochs: float | None, minutes: float | None) -> None:
    for name, value in (("epochs", epochs), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value}, expected a number above 0 - say how long to train")


def _check_resumed(
    out: Path, record: Record, *, config: NetworkConfig | None, seed: int | None, recipe: Recipe | None
) -> None:
    for name, asked, stored in (
        ("size", config, record.config),
        ("seed", seed, record.seed),
        ("recipe", recipe, record.recipe),
    ):
        if asked is not None and asked != stored:
            raise ModelError(
                f"{out} was started with {name} {stored}, but {asked} is asked for - leave the {name} out to go on "
                "with it, or train to another file"
            )
