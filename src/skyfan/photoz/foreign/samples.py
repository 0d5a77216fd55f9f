"""Rows that torch and the file are compared on: random ones, and those of a test survey."""

from collections.abc import Mapping

import numpy as np

from skyfan.errors import ModelError
from skyfan.partitions import Partition
from skyfan.photoz.foreign.exchange import Arrays

_BLOCK_ROWS = 256

INPUTS: Mapping[str, tuple[int, ...]] = {"image": (5, 32, 32), "magnitude": (5,)}
"""What a network is taken to want where nothing else is said: the shape of one row of each input."""
COMPARED_ROWS = 64
"""Of each kind, at most."""


def usual_shapes(survey: Partition | None) -> dict[str, tuple[int, ...]]:
    """Return `INPUTS`, as they are in the survey if it has them."""
    if survey is None:
        return dict(INPUTS)
    return {name: survey.tensors[name].shape[1:] for name in INPUTS if name in survey.tensors} or dict(INPUTS)


def draw_samples(shapes: Mapping[str, tuple[int, ...]], survey: Partition | None) -> Arrays:
    """Return rows to compare on, as `random/image` or `real/image`, float32.

    Raises
    ------
    ModelError
        The survey has not what is needed, or no row of it is finite.
    """
    rng = np.random.default_rng(0)
    samples: Arrays = {}
    for name, shape in shapes.items():
        size = (COMPARED_ROWS, *shape)
        is_magnitude = name == "magnitude"
        random = rng.random(size, np.float32) * 10 + 14 if is_magnitude else rng.standard_normal(size, np.float32)
        samples[f"random/{name}"] = random.astype(np.float32, copy=False)
    if survey is None:
        return samples
    real = _finite_rows(shapes, survey)
    return samples | {f"real/{name}": rows for name, rows in real.items()}


def _finite_rows(shapes: Mapping[str, tuple[int, ...]], survey: Partition) -> Arrays:
    """Return the first rows of a survey that are finite in all inputs, `COMPARED_ROWS` at most, float32."""
    for name, shape in shapes.items():
        if name not in survey.tensors or survey.tensors[name].shape[1:] != shape:
            there = {key: tensor.shape[1:] for key, tensor in survey.tensors.items()}
            raise ModelError(f"{survey.name}: has no {name} of the shape {shape} a row, it has {there}; set --input")
    found: list[Arrays] = []
    wanted = COMPARED_ROWS
    for start in range(0, survey.rows, _BLOCK_ROWS):
        read = survey.read(shapes, start, min(start + _BLOCK_ROWS, survey.rows))
        with np.errstate(over="ignore"):
            block = {name: array.astype(np.float32) for name, array in read.items()}
        good = np.all([np.isfinite(array.reshape(len(array), -1)).all(axis=1) for array in block.values()], axis=0)
        rows = np.flatnonzero(good)[:wanted]
        found.append({name: array[rows] for name, array in block.items()})
        wanted -= len(rows)
        if not wanted:
            break
    if wanted == COMPARED_ROWS:
        raise ModelError(
            f"{survey.name}: none of its {survey.rows} rows is finite in {', '.join(shapes)}; expected some to compare "
            "on - give another survey, or leave --test away"
        )
    return {name: np.concatenate([block[name] for block in found]) for name in shapes}
