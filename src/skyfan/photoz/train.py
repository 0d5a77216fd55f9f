"""Trains the network: one loop, the same from the start or from any step of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch

from skyfan.errors import InputError, ModelError, SurveyError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz.calibration import calibrate
from skyfan.photoz.checkpoint import Checkpoint, Pretraining, Recipe, Record
from skyfan.photoz.dataset import Split, Survey, measure_range, open_survey, split
from skyfan.photoz.metrics import Scores
from skyfan.photoz.network import NetworkConfig
from skyfan.photoz.pretrain import Pretrainer
from skyfan.photoz.trainer import Trainer

DEFAULT_EPOCHS = 10.0
DEFAULT_SEED = 1
LARGEST_SEED = 2**30 - 1
"""Above, a pretraining would draw another seed's numbers."""
CHECKPOINT_EVERY_S = 600.0
REPORT_EVERY_STEPS = 50
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Progress:
    """Where a training, or the pretraining before it, stands."""

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
    pretraining: bool
    """Whether this is the pretraining."""


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
        How long; whichever ends first, by default 10 epochs. The learning rate falls to zero by then.
    pretrain : float, optional
        Epochs in which the encoder first learns as a masked autoencoder, on top of `epochs` and `minutes`; by default
        none.
    seed : int, optional
        Of weights, order, augmentation and dropout; 1 by default.
    device : str
        "cpu" or "cuda".
    resume : bool
        Go on from `out` if it exists, with its size, seed, pretraining and recipe; `epochs` and `minutes` may be given
        anew.
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
        The survey or the checkpoint cannot be used, or there is no such device.
    """
    _check_place(out, device)
    _check_positive(epochs=epochs, minutes=minutes, pretrain=pretrain)
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed is {seed}, expected one from 0 to {LARGEST_SEED}")
    start = checkpoints.load(out) if resume and out.exists() else None
    config = config or (start.record.config if start else NetworkConfig.small())
    recipe = _recipe(recipe, start.record.recipe if start else Recipe.suited(config))
    if start:
        _check_resumed(out, start.record, config=config, recipe=recipe, seed=seed, pretrain=pretrain)
    data = open_survey(survey, config)
    parts = split(data.object_id)
    if start:
        _check_survey(data, parts, start.record, out)
        record = start.record
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
    if not (start and start.calibration and start.record.step == trainer.step):
        _calibrate(trainer, out)


def _calibrate(trainer: Trainer, out: Path) -> None:
    """Measure how honest the averaged network's PDFs are, if there are rows to do it with, and add that to `out`."""
    found = calibrate(trainer.average, trainer.record.config, trainer.survey, trainer.parts, trainer.device)
    if found:
        checkpoints.save(out, replace(trainer.snapshot(), calibration=found.tensors()))


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
        validation = learner.validate() if epoch_ended else None
        learner.seconds = time.monotonic() - began
        if epoch_ended:
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
            raise InputError(f"recipe has no {unknown[0]!r}; expected one of {', '.join(known)}")
        recipe = replace(base, **(asked or {}))  # type: ignore[arg-type]
    _check_positive(batch_size=recipe.batch_size, learning_rate=recipe.learning_rate, warmup_steps=recipe.warmup_steps)
    if recipe.precision not in PRECISIONS:
        raise InputError(f"precision is {recipe.precision!r}, expected one of {', '.join(PRECISIONS)}")
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
        survey_name=survey.metadata.get("survey", survey.path.stem),
        bands=survey.metadata.get("bands", ""),
        pixel_scale_arcsec=survey.metadata.get("pixel_scale_arcsec", ""),
        training_rows=len(parts.train),
        valid_range=measure_range(survey, parts.train),
        step=0,
        seconds=0.0,
        history=[],
    )


def _check_place(out: Path, device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but torch sees no CUDA here; expected 'cpu' - train on the CPU")
    if out.is_dir() or not out.parent.is_dir():
        raise InputError(
            f"{out} cannot be written; expected the name of a file in a folder that exists - make it first"
        )


def _check_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value}, expected a number above 0 - leave it out for its default")


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
    if len(parts.train) != record.training_rows:
        raise SurveyError(
            f"{survey.path} has {len(parts.train)} rows to train with, expected {record.training_rows} as when {out} "
            f"was started - resume with the survey {record.survey}"
        )
