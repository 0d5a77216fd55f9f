"""Rows that torch and the file are compared on: random ones, and those of a test survey."""

from collections.abc import Mapping

import numpy as np

from skyfan.errors import ModelError
from skyfan.partitions import Partition
from skyfan.photoz.foreign.exchange import Arrays

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
    """Return rows to compare on, as `random/image` or `real/image`, float32."""
    rng = np.random.default_rng(0)
    samples: Arrays = {}
    for name, shape in shapes.items():
        size = (COMPARED_ROWS, *shape)
        random = rng.uniform(14, 24, size) if name == "magnitude" else rng.normal(size=size)
        samples[f"random/{name}"] = random.astype(np.float32)
    if survey is None:
        return samples
    for name, shape in shapes.items():
        if name not in survey.tensors or survey.tensors[name].shape[1:] != shape:
            there = {key: tensor.shape[1:] for key, tensor in survey.tensors.items()}
            raise ModelError(f"{survey.name}: has no {name} of the shape {shape} a row, it has {there}; set --input")
    real = {name: array.astype(np.float32) for name, array in survey.read(shapes, 0, min(4096, survey.rows)).items()}
    good = np.all([np.isfinite(array.reshape(len(array), -1)).all(axis=1) for array in real.values()], axis=0)
    rows = np.flatnonzero(good)[:COMPARED_ROWS]
    return samples | ({f"real/{name}": array[rows] for name, array in real.items()} if len(rows) else {})
