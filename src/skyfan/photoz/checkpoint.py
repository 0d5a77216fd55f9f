"""What training leaves behind: one safetensors file with every tensor, and its record as JSON in the header."""

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skyfan.errors import ModelError
from skyfan.photoz.dataset import InputRange, Split, Survey, ids_sha256
from skyfan.photoz.network import Network, NetworkConfig

T = TypeVar("T")

_KIND = "skyfan-photoz-checkpoint-1"


@dataclass(frozen=True)
class Recipe:
    """The numbers of the optimisation."""

    batch_size: int = 128
    learning_rate: float = 2e-3
    """At its peak."""
    warmup_steps: int = 200
    weight_decay: float = 0.02
    gradient_norm: float = 2.0
    """Larger gradients are scaled down to this."""
    average_decay: float = 0.998
    """Of the exponential moving average of the weights, which is what is evaluated and exported."""
    crps_weight: float = 0.3
    precision: str = "float32"
    """Of the matrix products in training, "float32" or "bfloat16"; weights and their average are float32 always."""

    @classmethod
    def suited(cls, config: NetworkConfig) -> "Recipe":
        """Return the recipe for a network of this size: one as wide as AstroMAE's wants smaller steps."""
        if config.width < NetworkConfig().width:
            return cls()
        return cls(learning_rate=6e-4, warmup_steps=500, weight_decay=0.05)


@dataclass(frozen=True)
class Pretraining:
    """The masked autoencoder that the encoder learns in first, and how far it is."""

    epochs: float
    """Passes over the training rows asked for."""
    masked_share: float = 0.75
    """Of an image's patches, hidden from the encoder."""
    decoder_width: int = 64
    decoder_depth: int = 2
    decoder_heads: int = 4
    step: int = 0
    """Optimiser steps taken."""
    seconds: float = 0.0
    """Wall-clock time in the loop so far."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One entry an epoch: step and loss, as in `Record.history`."""


@dataclass(frozen=True)
class Record:
    """Everything about a training but its tensors."""

    config: NetworkConfig
    recipe: Recipe
    epochs: float | None
    """Passes over the training rows asked for; with `minutes` too, whichever ends first."""
    minutes: float | None
    """Wall-clock time in the loop asked for."""
    seed: int
    survey: str
    """Name of the survey's file."""
    survey_name: str
    """From the survey's metadata."""
    bands: str
    pixel_scale_arcsec: str
    training_rows: int
    valid_range: InputRange
    step: int
    """Optimiser steps taken."""
    seconds: float
    """Wall-clock time in the loop so far, validation included."""
    history: list[dict[str, float]]
    """One entry an epoch: step, loss and validation metrics.

    The loss is the mean over the epoch's steps; where a training was taken up in its midst, over those since then.
    """
    pretraining: Pretraining | None = None
    """Before the first step; nothing if the encoder starts from random weights."""
    training_ids_sha256: str = ""
    """`skyfan.photoz.dataset.ids_sha256` of the training rows; nothing from a skyfan that did not note it yet."""

    @property
    def pretrain_epochs(self) -> float:
        """Passes of pretraining asked for, 0 for none."""
        return self.pretraining.epochs if self.pretraining else 0

    def learnt_from(self, survey: Survey, parts: Split) -> bool:
        """Whether the training rows of a survey are those that were trained on.

        Told by their ids or, where those were not noted, by the names of file and survey and the number of rows.
        """
        if self.training_ids_sha256:
            return self.training_ids_sha256 == ids_sha256(survey.object_id[parts.train])
        found = (survey.path.name, survey.name, len(parts.train))
        return found == (self.survey, self.survey_name, self.training_rows)


@dataclass(frozen=True)
class Checkpoint:
    """A training at some step, or its pretraining while `record.step` is 0."""

    record: Record
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    """Of the weights; empty in the pretraining."""
    moments: dict[str, Tensor]
    """AdamW's two moments of every parameter, by `first.` or `second.` and its name."""
    decoder: dict[str, Tensor] = field(default_factory=dict)
    """Of the masked autoencoder; empty after the pretraining."""
    calibration: dict[str, Tensor] = field(default_factory=dict)
    """Of `skyfan.photoz.posterior.Calibration`, fitted at the training's end; empty before, or with too few rows."""

    def averaged_network(self) -> Network:
        """Return the network with averaged weights, ready to predict.

        Raises
        ------
        ModelError
            It has learnt no redshifts yet.
        """
        if not self.average:
            raise ModelError(
                "it is in its pretraining; expected a checkpoint that has learnt redshifts - go on with "
                "skyfan train --resume"
            )
        network = Network(self.record.config)
        network.load_state_dict(self.average)
        return network.eval()


_GROUPS = tuple(part.name for part in fields(Checkpoint) if part.name != "record")


def record_path(path: Path) -> Path:
    """Return where the record of a checkpoint is for people to read: beside it, `photoz.safetensors.json`."""
    return path.with_name(f"{path.name}.json")


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, and its record beside it for people to read; either the old or the new is always whole.

    Raises
    ------
    ModelError
        It cannot be written.
    """
    groups = {group: getattr(checkpoint, group) for group in _GROUPS}
    tensors = {f"{group}/{name}": t.contiguous() for group, part in groups.items() for name, t in part.items()}
    record = json.dumps(asdict(checkpoint.record), indent=2)
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial, metadata={"kind": _KIND, "record": record})
        partial.replace(path)
        record_path(path).write_text(record + "\n")
    except (OSError, SafetensorError) as e:
        partial.unlink(missing_ok=True)
        raise ModelError(
            f"cannot write the checkpoint {path} ({e}); expected a folder with room - free some, then train with resume"
        ) from e


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ModelError
        There is no such file, it was not written by `skyfan train`, or its tensors are not those of its network.
    """
    record, tensors = _read(path)
    parts: dict[str, dict[str, Tensor]] = {group: {} for group in _GROUPS}
    for full_name, tensor in tensors.items():
        group, _, name = full_name.partition("/")
        if group not in parts:
            raise ModelError(
                f"{path} has a tensor {full_name}; expected names that begin with one of {', '.join(_GROUPS)} - it is "
                "of another version of skyfan: train again"
            )
        parts[group][name] = tensor
    _check_tensors(path, record, parts)
    return Checkpoint(record, **parts)


def _read(path: Path) -> tuple[Record, dict[str, Tensor]]:
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}; expected a file of skyfan train - check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as e:
        raise ModelError(f"{path} is not a safetensors file ({e}); expected a checkpoint - check the path") from e
    if metadata.get("kind") != _KIND:
        raise ModelError(
            f"{path} is of kind {metadata.get('kind')!r}; expected {_KIND!r} - give a file that skyfan train wrote"
        )
    return _record(path, json.loads(metadata["record"])), tensors


def _check_tensors(path: Path, record: Record, parts: dict[str, dict[str, Tensor]]) -> None:
    """Hold weights, and in a training their average, against the network that the record describes."""
    with torch.device("meta"):  # shapes alone
        network = Network(record.config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for group in ("network", "average") if record.step else ("network",):
        found = {name: tuple(tensor.shape) for name, tensor in parts[group].items()}
        for name in [*expected, *found]:
            if found.get(name) != expected.get(name):
                raise ModelError(
                    f"{path} has {group}/{name} of shape {found.get(name, 'none')}; expected "
                    f"{expected.get(name, 'none')}, as in the network that its record describes - it is of another "
                    "network: train again"
                )


def _record(path: Path, values: dict[str, Any]) -> Record:
    config = dict(values.get("config", {}))
    if "inception_channels" in config:
        config["inception_channels"] = tuple(config["inception_channels"])
    ranges = values.get("valid_range", {})
    pretraining = values.get("pretraining")
    return _filled(
        Record,
        path,
        values
        | {
            "config": _filled(NetworkConfig, path, config),
            "recipe": _filled(Recipe, path, values.get("recipe", {})),
            "valid_range": _filled(InputRange, path, {name: tuple(pair) for name, pair in ranges.items()}),
            "pretraining": _filled(Pretraining, path, pretraining) if pretraining else None,
        },
    )


def _filled(kind: type[T], path: Path, values: dict[str, Any]) -> T:
    """Return a dataclass of these values, with defaults for what an older version of skyfan did not know."""
    known = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]
    needed = {name for name, part in known.items() if part.default is MISSING and part.default_factory is MISSING}
    for what, why, wrong in (
        ("has", "does not know", values.keys() - known),
        ("lacks", "needs", needed - values.keys()),
    ):
        if wrong:
            raise ModelError(
                f"the record of {path} {what} {', '.join(sorted(wrong))} in its {kind.__name__}, which this version of "
                f"skyfan {why} - use the version that wrote it, or train again"
            )
    return kind(**values)
