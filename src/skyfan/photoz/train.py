"""Trains the network: one loop, the same from the start or from any step of it."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from skyfan.errors import InputError, ModelError, SurveyError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz.calibration import calibrate
from skyfan.photoz.checkpoint import Checkpoint, Pretraining, Recipe, Record
from skyfan.photoz.dataset import Split, Survey, ids_sha256, measure_range, open_survey, split
from skyfan.photoz.metrics import Scores
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.pretrain import Pretrainer
from skyfan.photoz.trainer import Progress, Trainer

DEFAULT_EPOCHS = 10.0
DEFAULT_SEED = 1
LARGEST_SEED = 2**30 - 1
"""Above, a pretraining would draw another seed's numbers."""
CHECKPOINT_EVERY_S = 600.0
REPORT_EVERY_STEPS = 50
PRECISIONS = ("float32", "bfloat16")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_Rule = tuple[str, Callable[[Any], bool]]
_COUNT: _Rule = ("a whole number above 0", lambda value: _is_whole(value) and value > 0)
_POSITIVE: _Rule = ("a finite number above 0", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE: _Rule = ("a finite number, 0 or more", lambda value: _is_number(value) and value >= 0)
_RULES: dict[str, _Rule] = {
    "epochs": _POSITIVE,
    "minutes": _POSITIVE,
    "pretrain": _POSITIVE,
    "seed": (f"a whole number from 0 to {LARGEST_SEED}", lambda value: _is_whole(value) and 0 <= value <= LARGEST_SEED),
    "batch_size": _COUNT,
    "learning_rate": _POSITIVE,
    "warmup_steps": _COUNT,
    "weight_decay": _NOT_NEGATIVE,
    "gradient_norm": _POSITIVE,
    "average_decay": ("a number from 0 to less than 1", lambda value: _is_number(value) and 0 <= value < 1),
    "crps_weight": _NOT_NEGATIVE,
    "precision": (f"one of {', '.join(PRECISIONS)}", lambda value: value in PRECISIONS),
}
"""What every argument that is a number, and everything in a recipe, must be."""


def train(
    survey: Path,
    out: Path,
    *,
    config: NetworkConfig | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    pretrain: float | None = None,
    seed: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    recipe: Recipe | Mapping[str, float | str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a network on a survey with true redshifts.

    90 % of the objects are learnt from, 5 % give the validation metrics and the calibration, 5 % are left for tests.
    With `epochs`, the same seed on the same machine gives the same weights, interrupted or not; with `minutes` the
    clock decides.

    Parameters
    ----------
    survey : Path
        Safetensors file with `object_id`, `redshift`, `image` and `magnitude`, as `skyfan simulate` writes it.
    out : Path
        Checkpoint to write, at every epoch's end and every ten minutes: safetensors, with its record in JSON beside it.
    config : NetworkConfig, optional
        Size of the network, by default `NetworkConfig.small()`.
    epochs, minutes : float, optional
        How long: passes over the training rows, time in the loop, or both for whichever ends first; by default 10
        epochs. The learning rate falls to zero by then.
    pretrain : float, optional
        Epochs in which the encoder first learns as a masked autoencoder, on top of `epochs` and `minutes`; by default
        none.
    seed : int, optional
        Of weights, order, augmentation and dropout; 1 by default.
    device : str
        "cpu" or "cuda".
    resume : bool
        Go on from `out` if it exists, with its size, seed, pretraining and recipe; `epochs` and `minutes` may be given
        anew. Of a training that is at its end the calibration is measured again.
    overwrite : bool
        Replace `out` if it exists.
    recipe : Recipe or mapping, optional
        Everything else about the optimisation, or those numbers of it that are not to be as suits the size.
    progress : callable, optional
        Called every 50 steps, and with validation metrics at every epoch's end.

    Returns
    -------
    path : Path
        `out`.

    Raises
    ------
    InputError
        The survey or the checkpoint cannot be used, a number is out of its range, or there is no such device.
    """
    _check_place(out, device, resume=resume, overwrite=overwrite)
    asked = {"epochs": epochs, "minutes": minutes, "pretrain": pretrain, "seed": seed}
    _check_numbers({name: value for name, value in asked.items() if value is not None})
    start = checkpoints.load(out) if resume and out.exists() else None
    config = config or (start.record.config if start else NetworkConfig.small())
    recipe = _recipe(recipe, start.record.recipe if start else Recipe.suited(config))
    if start:
        _check_resumed(out, start.record, config=config, recipe=recipe, seed=seed, pretrain=pretrain)
    data = open_survey(survey, config)
    parts = split(data.object_id)
    if start:
        _check_survey(data, parts, start.record, out)
        record = replace(start.record, training_ids_sha256=ids_sha256(data.object_id[parts.train]))
    else:
        record = _new_record(data, parts, config=config, recipe=recipe, seed=DEFAULT_SEED if seed is None else seed)
        record = replace(record, pretraining=Pretraining(pretrain) if pretrain else None)
    if epochs is not None or minutes is not None:
        record = replace(record, epochs=epochs, minutes=minutes)
    _run(Trainer(data, parts, record, device), out, start, progress)
    return out


def _run(trainer: Trainer, out: Path, start: Checkpoint | None, progress: Callable[[Progress], None] | None) -> None:
    """Pretrain if asked to, train, calibrate: what of it is not done yet."""
    record = trainer.record
    if record.pretraining and not record.step:
        pretrainer = Pretrainer(trainer, record.pretraining)
        if start:
            pretrainer.restore(start)
        _learn(pretrainer, out, progress)
        trainer.start_from(pretrainer.record())
    elif start:
        trainer.restore(start)
    _learn(trainer, out, progress)
    _calibrate(trainer, out)


def _calibrate(trainer: Trainer, out: Path) -> None:
    """Measure how honest the averaged network's PDFs are, if there are rows to do it with, and save it all."""
    found = calibrate(trainer.average, trainer.record.config, trainer.survey, trainer.parts, trainer.device)
    checkpoints.save(out, replace(trainer.snapshot(), calibration=found.tensors() if found else {}))


def _learn(learner: Trainer | Pretrainer, out: Path, progress: Callable[[Progress], None] | None) -> None:
    """Take steps until the end, saving and reporting on the way."""
    began = time.monotonic() - learner.seconds
    saved = time.monotonic()
    of_epoch: list[float] = []
    of_report: list[float] = []
    while (share := learner.share_done()) < 1.0:
        loss = learner.learn(share)
        of_epoch.append(loss)
        of_report.append(loss)
        learner.seconds = time.monotonic() - began
        epoch_ended = learner.share_done() >= 1.0 or learner.step % learner.steps_per_epoch == 0
        validation = None
        if epoch_ended:
            validation = learner.validate()
            learner.seconds = time.monotonic() - began
            metrics = asdict(validation) if validation else {}
            learner.history.append({"step": learner.step, "loss": sum(of_epoch) / len(of_epoch), **metrics})
            of_epoch = []
        if epoch_ended or time.monotonic() - saved > CHECKPOINT_EVERY_S:
            checkpoints.save(out, learner.snapshot())
            saved = time.monotonic()
        if progress and (epoch_ended or learner.step % REPORT_EVERY_STEPS == 0):
            progress(_progress(learner, sum(of_report) / len(of_report), validation))
            of_report = []


def _progress(learner: Trainer | Pretrainer, loss: float, validation: Scores | None) -> Progress:
    return Progress(
        epoch=learner.step / learner.steps_per_epoch,
        step=learner.step,
        seconds=learner.seconds,
        share_done=min(learner.share_done(), 1.0),
        loss=loss,
        validation=validation,
        pretraining=isinstance(learner, Pretrainer),
    )


def _recipe(asked: Recipe | Mapping[str, float | str] | None, base: Recipe) -> Recipe:
    """Return the recipe asked for, or `base` with the numbers asked for."""
    if isinstance(asked, Recipe):
        recipe = asked
    else:
        known = [part.name for part in fields(Recipe)]
        if unknown := [name for name in asked or {} if name not in known]:
            raise InputError(f"recipe has no {unknown[0]!r}; expected one of {', '.join(known)} - correct the name")
        recipe = replace(base, **(asked or {}))  # type: ignore[arg-type]
    _check_numbers(vars(recipe))
    return recipe


def _new_record(survey: Survey, parts: Split, *, config: NetworkConfig, recipe: Recipe, seed: int) -> Record:
    if len(parts.train) < 2:
        raise SurveyError(
            f"{survey.path} has {len(survey)} rows, {len(parts.train)} of them to train with; expected thousands - "
            "train on a larger survey"
        )
    return Record(
        config=config,
        recipe=recipe,
        epochs=DEFAULT_EPOCHS,
        minutes=None,
        seed=seed,
        survey=survey.path.name,
        survey_name=survey.name,
        bands=survey.metadata.get("bands", ""),
        pixel_scale_arcsec=survey.metadata.get("pixel_scale_arcsec", ""),
        training_rows=len(parts.train),
        valid_range=measure_range(survey, parts.train),
        step=0,
        seconds=0.0,
        history=[],
        training_ids_sha256=ids_sha256(survey.object_id[parts.train]),
    )


def _check_place(out: Path, device: str, *, resume: bool, overwrite: bool) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but torch sees no CUDA here; expected 'cpu' - train on the CPU")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(
            f"{out} cannot be written; expected the name of a file in a folder that exists - make it first"
        )
    if resume and overwrite:
        raise InputError(
            "resume and overwrite are both asked for; expected one of them - to go on, leave overwrite out"
        )
    if out.exists() and not (resume or overwrite):
        raise ModelError(
            f"{out} exists; expected the name of a new checkpoint - go on with it with --resume (resume=True), or "
            "replace it with --overwrite (overwrite=True)"
        )


def _check_numbers(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        expected, fits = _RULES[name]
        if not fits(value):
            raise InputError(f"{name} is {value!r}, expected {expected} - leave it out for its default")


def _check_resumed(
    out: Path, record: Record, *, config: NetworkConfig, recipe: Recipe, seed: int | None, pretrain: float | None
) -> None:
    """Refuse to go on with another network, seed, pretraining or recipe than a training was started with."""
    pairs: list[tuple[str, object, object]] = [
        ("size", config, record.config),
        ("seed", seed, record.seed),
        ("pretrain", pretrain, record.pretrain_epochs),
    ]
    pairs += [(part.name, getattr(recipe, part.name), getattr(record.recipe, part.name)) for part in fields(Recipe)]
    for name, asked, stored in pairs:
        if asked is not None and asked != stored:
            raise ModelError(
                f"{out} was started with {name} {stored}, but {asked} is asked for - leave the {name} out to go on "
                "with it, or train to another file"
            )


def _check_survey(survey: Survey, parts: Split, record: Record, out: Path) -> None:
    """Refuse to go on with other rows than a training was started with, as far as its record tells."""
    same = "the same objects"
    others = record.training_ids_sha256 and not record.learnt_from(survey, parts)
    pairs: list[tuple[str, object, object]] = [
        ("survey name", survey.metadata.get("survey", record.survey_name), record.survey_name),
        ("rows to train with", len(parts.train), record.training_rows),
        ("object_id", "others" if others else same, same),
    ]
    for what, found, expected in pairs:
        if found != expected:
            raise SurveyError(
                f"{survey.path} differs from the survey that {out} was started with: {what} {found}, expected "
                f"{expected} - resume with {record.survey} as it was, or train to another file"
            )
