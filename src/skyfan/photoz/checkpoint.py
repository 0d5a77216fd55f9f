"""What training leaves behind: one safetensors file with every tensor, and its record as JSON in the header."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skyfan.errors import ModelError
from skyfan.photoz.dataset import InputRange
from skyfan.photoz.network import Network, NetworkConfig

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
    """One entry an epoch: step, loss and validation metrics."""


@dataclass(frozen=True)
class Checkpoint:
    """A training at some step."""

    record: Record
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    moments: dict[str, Tensor]
    """AdamW's two moments of every parameter, by `first.` or `second.` and its name."""

    def averaged_network(self) -> Network:
        """Return the network with averaged weights, ready to predict."""
        network = Network(self.record.config)
        network.load_state_dict(self.average)
        return network.eval()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, and its record beside it for people to read; either the old or the new is always whole.

    Raises
    ------
    ModelError
        It cannot be written.
    """
    groups = {"network": checkpoint.network, "average": checkpoint.average, "moments": checkpoint.moments}
    tensors = {f"{group}/{name}": t.contiguous() for group, part in groups.items() for name, t in part.items()}
    record = json.dumps(asdict(checkpoint.record), indent=2)
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, partial, metadata={"kind": _KIND, "record": record})
        partial.replace(path)
        path.with_suffix(".json").write_text(record + "\n")
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
        There is no such file, or it was not written by `skyfan train`.
    """
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
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "moments": {}}
    for full_name, tensor in tensors.items():
        group, name = full_name.split("/", 1)
        parts[group][name] = tensor
    return Checkpoint(_record(path, json.loads(metadata["record"])), **parts)


def _record(path: Path, values: dict[str, Any]) -> Record:
    known = {field.name for field in fields(Record)}
    if set(values) != known:
        raise ModelError(
            f"the record of {path} has fields {sorted(set(values) ^ known)} too few or too many; it is of another "
            "version of skyfan - train again"
        )
    config = values["config"] | {"inception_channels": tuple(values["config"]["inception_channels"])}
    ranges = values["valid_range"]
    return Record(
        **values
        | {
            "config": NetworkConfig(**config),
            "recipe": Recipe(**values["recipe"]),
            "valid_range": InputRange(tuple(ranges["image"]), tuple(ranges["magnitude"])),
        }
    )
