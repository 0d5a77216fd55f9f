"""Where each cell of a layer stands from left to right: edges as straight as the cells' widths allow.

Sweeps down and up move each layer to where its neighbours pull it. The best places that its cells' widths allow are
those of an isotonic regression, which the pooling of adjacent violators solves exactly (Barlow et al. 1972): no two
cells can overlap.
"""

import itertools
from collections.abc import Mapping, Sequence

from msgspec import Struct

from skyfan.graph.layering import Chain, Layers

FIRST_SWEEPS, SWEEPS, FEWEST_SWEEPS = 8, 240, 16
"""Sweeps in which a cell follows only one side's neighbours, then both sides'; the least where there are many cells."""
MOST_MOVES = 150_000
RELAX = 1.6
"""How far beyond its neighbours' pull a cell is moved: successive over-relaxation, which settles in fewer sweeps."""
FAR, NEAR = 100.0, 0.3
"""Within this distance, px, a pull grows with it, beyond it does not. It shrinks from sweep to sweep: from least
squares, which are even, to least absolute differences, which leave most edges wholly straight."""
PORT_STEP = 30.0
"""Between the ends of edges on one side of a box, px at most."""
STRAIGHT = (1.0, 2.0, 8.0)
"""How much a link wants to be straight that touches two boxes, one, none."""
WEAK = 1e-6


class Extent(Struct, frozen=True):
    """How far a cell reaches from its middle, and how far another must stay away, px."""

    left: float
    right: float
    gap: float
    side: float = 0.0
    """How much of the upper and lower side edges may end at."""


class Pull(Struct, frozen=True):
    """Where a neighbour wants a cell: `other`'s place + `shift`."""

    other: int
    shift: float
    weight: float


def ports(layers: Layers, extents: Mapping[int, Extent]) -> tuple[list[float], list[float]]:
    """Return how far from its box's middle each chain begins, at the bottom side, and ends, at the top side.

    The chain that wants most to be straight has the middle, so that a machine's main way leads straight down.
    """
    place = {cell: number for row in layers.rows for number, cell in enumerate(row)}
    begins, ends = [0.0] * len(layers.chains), [0.0] * len(layers.chains)
    for found, end, beside in ((begins, 0, 1), (ends, -1, -2)):
        sides: dict[int, list[int]] = {}
        for number, chain in enumerate(layers.chains):
            sides.setdefault(chain.cells[end], []).append(number)
        for cell, numbers in sides.items():
            numbers.sort(key=lambda number: place[layers.chains[number].cells[beside]])
            middle = _middle([layers.chains[number].weight for number in numbers])
            reach = max(middle, len(numbers) - 1 - middle)
            step = min(PORT_STEP, extents[cell].side / 2 / reach) if reach else 0.0
            for rank, number in enumerate(numbers):
                found[number] = (rank - middle) * step
    return begins, ends


def _middle(weights: Sequence[float]) -> float:
    """Return the rank of the largest weight, or the middle rank if it is not alone."""
    most = max(weights)
    return weights.index(most) if weights.count(most) == 1 else (len(weights) - 1) / 2


def places(
    layers: Layers, extents: Mapping[int, Extent], begins: Sequence[float], ends: Sequence[float]
) -> dict[int, float]:
    """Return the place of each cell's middle, px; the leftmost cell reaches 0."""
    above, below = _pulls(layers.chains, begins, ends)
    x = dict.fromkeys((cell for row in layers.rows for cell in row), 0.0)
    for row in layers.rows:
        _settle(row, extents, x, dict.fromkeys(row, (0.0, 1.0)))
    both = {cell: above.get(cell, []) + below.get(cell, []) for cell in x}
    sweeps = min(SWEEPS, max(FEWEST_SWEEPS, MOST_MOVES // len(x)))
    for sweep in range(FIRST_SWEEPS + sweeps):
        down, first = sweep % 2 == 0, sweep < FIRST_SWEEPS
        pulls, relax = ((above if down else below), 1.0) if first else (both, RELAX)
        near = max(FAR * (NEAR / FAR) ** (sweep / sweeps), NEAR)
        for row in layers.rows if down else layers.rows[::-1]:
            _settle(row, extents, x, {cell: _wanted(pulls.get(cell, []), x, x[cell], relax, near) for cell in row})
    left = min(x[cell] - extents[cell].left for cell in x)
    return {cell: place - left for cell, place in x.items()}


def _pulls(
    chains: Sequence[Chain], begins: Sequence[float], ends: Sequence[float]
) -> tuple[dict[int, list[Pull]], dict[int, list[Pull]]]:
    """Return how each cell is pulled by those above and by those below."""
    above: dict[int, list[Pull]] = {}
    below: dict[int, list[Pull]] = {}
    for chain, begin, end in zip(chains, begins, ends, strict=True):
        last = len(chain.cells) - 2
        for number, (top, bottom) in enumerate(itertools.pairwise(chain.cells)):
            shift = (begin if number == 0 else 0.0) - (end if number == last else 0.0)
            weight = chain.weight * STRAIGHT[(number > 0) + (number < last)]
            above.setdefault(bottom, []).append(Pull(top, shift, weight))
            below.setdefault(top, []).append(Pull(bottom, -shift, weight))
    return above, below


def _wanted(
    pulls: Sequence[Pull], x: Mapping[int, float], now: float, relax: float, near: float
) -> tuple[float, float]:
    """Return where a cell is pulled, and how strongly; where it is if nothing pulls."""
    if not pulls:
        return now, WEAK
    total = mean = 0.0
    for pull in pulls:
        place = x[pull.other] + pull.shift
        weight = pull.weight / (abs(place - now) + near)
        total += weight
        mean += weight * place
    return now + relax * (mean / total - now), total


def _settle(
    row: Sequence[int], extents: Mapping[int, Extent], x: dict[int, float], wanted: Mapping[int, tuple[float, float]]
) -> None:
    """Put the cells of a layer as near to where they are wanted as their order and widths allow."""
    offsets = [0.0]
    for one, other in itertools.pairwise(row):
        gap = max(extents[one].gap, extents[other].gap)
        offsets.append(offsets[-1] + extents[one].right + gap + extents[other].left)
    pools: list[tuple[float, float, int]] = []  # mean, weight, number of cells
    for cell, offset in zip(row, offsets, strict=True):
        mean, weight, count = wanted[cell][0] - offset, wanted[cell][1], 1
        while pools and pools[-1][0] >= mean:
            before, heavy, many = pools.pop()
            mean = (before * heavy + mean * weight) / (heavy + weight)
            weight, count = heavy + weight, count + many
        pools.append((mean, weight, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    for cell, offset, mean in zip(row, offsets, means, strict=True):
        x[cell] = mean + offset
