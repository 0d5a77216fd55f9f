"""Nodes into layers and into an order in each, so that edges lead down and cross seldom.

After Sugiyama, Tagawa & Toda 1981, "Methods for visual understanding of hierarchical system structures": cycles are
opened, layers are longest paths from the start, long edges are cut into cells of one layer each, and barycentres give
the order. An edge's label is a cell too, in a layer between those of boxes: thus labels have room as boxes have.
"""

import itertools
from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence

from msgspec import Struct

from skyfan.errors import InputError
from skyfan.wording import counted

MAX_CELLS = 60_000
"""What can be laid out in a fraction of a minute: about 240 states in a row that all catch to the last one."""
ROUNDS = 8
"""Sweeps down and up; the best order seen is kept."""


class Link(Struct, frozen=True):
    """An edge to be laid out."""

    source: int
    target: int
    labelled: bool = False
    weight: float = 1.0
    """How much it wants to be straight."""
    long_weight: float = 1.0
    """The same if it passes a layer of boxes."""


class Chain(Struct, frozen=True):
    """What became of an edge: the cells that it passes, from top to bottom."""

    cells: tuple[int, ...]
    """First and last are nodes; those between belong to this edge alone."""
    upwards: bool
    """Whether the edge leads from the last cell to the first: one that closes a cycle."""
    label: int | None
    """The cell that holds the label."""
    weight: float


class Layers(Struct, frozen=True):
    """Every cell, layer by layer, each layer from left to right. Nodes lie in even layers, labels in odd ones."""

    rows: tuple[tuple[int, ...], ...]
    chains: tuple[Chain, ...]
    """One for each edge, in the edges' order."""


def layered(nodes: int, links: Sequence[Link]) -> Layers:
    """Return nodes 0 to `nodes` - 1 in layers; node 0 is the start. No link may lead from a node to itself.

    Raises
    ------
    InputError
        If there are too many cells.
    """
    upwards = _closing(nodes, links)
    levels = _levels(nodes, links, upwards)
    chains, layer_of = _chains(links, upwards, levels)
    rows = _first_order(nodes, chains, layer_of)
    return Layers(tuple(map(tuple, _untangled(rows, chains))), tuple(chains))


def _closing(nodes: int, links: Sequence[Link]) -> set[int]:
    """Return the links that close a cycle: those to a node that the depth-first walk has come through."""
    leaving = _leaving(nodes, links)
    closing: set[int] = set()
    entered, left = [False] * nodes, [False] * nodes
    for root in range(nodes):
        stack = [] if entered[root] else [(root, iter(leaving[root]))]
        entered[root] = True
        while stack:
            node, rest = stack[-1]
            number = next(rest, None)
            if number is None:
                left[node] = True
                stack.pop()
                continue
            target = links[number].target
            if not entered[target]:
                entered[target] = True
                stack.append((target, iter(leaving[target])))
            elif not left[target]:
                closing.add(number)
    return closing


def _levels(nodes: int, links: Sequence[Link], upwards: set[int]) -> list[int]:
    """Return each node's level: the longest path that leads to it; what nothing leads to stands below the start."""
    levels = [0] + [1] * (nodes - 1)
    below: list[list[int]] = [[] for _ in range(nodes)]
    waiting = [0] * nodes
    for number, link in enumerate(links):
        top, bottom = _ends(link, number in upwards)
        below[top].append(bottom)
        waiting[bottom] += 1
    ready = [node for node in range(nodes) if not waiting[node]]
    for node in ready:
        for other in below[node]:
            levels[other] = max(levels[other], levels[node] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)  # the queue is read while it grows
    return levels


def _chains(links: Sequence[Link], upwards: set[int], levels: Sequence[int]) -> tuple[list[Chain], dict[int, int]]:
    """Cut each link into cells, one per layer; return the chains, and each cell's layer."""
    layer_of = {node: 2 * level for node, level in enumerate(levels)}
    chains = []
    for number, link in enumerate(links):
        turned = number in upwards
        top, bottom = _ends(link, turned)
        between = range(layer_of[top] + 1, layer_of[bottom])
        first = len(layer_of)
        cells = range(first, first + len(between))
        if first + len(between) > MAX_CELLS:
            raise InputError(
                f"the definition has {counted(len(links), 'transition')} that pass so many states that no picture of "
                "them could be read; expected a smaller one: draw its parts, or take the format mermaid"
            )
        layer_of.update(zip(cells, between, strict=True))
        label = cells[-1 if turned else 0] if link.labelled else None
        weight = link.weight if len(between) == 1 else link.long_weight
        chains.append(Chain((top, *cells, bottom), turned, label, weight))
    return chains, layer_of


def _first_order(nodes: int, chains: Sequence[Chain], layer_of: Mapping[int, int]) -> list[list[int]]:
    """Return the layers in the order of a depth-first walk, in which a state's first edge is the leftmost."""
    rows: list[list[int]] = [[] for _ in range(max(layer_of.values()) + 1)]
    from_top: list[list[Chain]] = [[] for _ in range(nodes)]
    for chain in chains:
        from_top[chain.cells[0]].append(chain)
    seen = [False] * nodes
    for root in range(nodes):
        stack: list[tuple[int, ...]] = [(root,)]
        while stack:
            *between, node = stack.pop()
            for cell in between:
                rows[layer_of[cell]].append(cell)
            if not seen[node]:
                seen[node] = True
                rows[layer_of[node]].append(node)
                stack += [chain.cells[1:] for chain in reversed(from_top[node])]
    return rows


def _untangled(rows: list[list[int]], chains: Sequence[Chain]) -> list[list[int]]:
    """Return the layers in an order with few crossings.

    The layers of boxes are ordered first. In one of labels, each cell has one neighbour above and one below, and goes
    by them.
    """
    found = list(rows)
    found[::2] = _swept(rows[::2], [chain.cells[::2] for chain in chains])
    place = {cell: number for row in found[::2] for number, cell in enumerate(row)}
    beside = {
        cell: (place[above], place[below])
        for chain in chains
        for above, cell, below in zip(chain.cells[::2], chain.cells[1::2], chain.cells[2::2], strict=False)
    }
    found[1::2] = [sorted(row, key=beside.__getitem__) for row in rows[1::2]]
    return found


def _swept(rows: list[list[int]], paths: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Return the order with the fewest crossings of those that sweeps of barycentres give."""
    above, below = _neighbours(paths)
    best, fewest = rows, _crossings(rows, below)
    for turn in range(2 * ROUNDS):
        if not fewest:
            break
        rows = [list(row) for row in rows]
        down, flip = turn % 2 == 0, turn % 4 >= 2
        numbers = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        for number in numbers:
            beside = {cell: place for place, cell in enumerate(rows[number - 1 if down else number + 1])}
            _sort_by_centre(rows[number], beside, above if down else below, flip=flip)
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _sort_by_centre(
    row: list[int], beside: Mapping[int, int], touching: Mapping[int, Sequence[int]], *, flip: bool
) -> None:
    """Sort a layer by the mean place of each cell's neighbours; one without any keeps its own.

    Where two have the same, `flip` turns them about: else a crossing between them would stay for ever.
    """
    centres = {}
    for place, cell in enumerate(row):
        places = [beside[other] for other in touching.get(cell, ()) if other in beside]
        centres[cell] = (sum(places) / len(places) if places else float(place), -place if flip else place)
    row.sort(key=centres.__getitem__)


def _crossings(rows: Sequence[Sequence[int]], below: Mapping[int, Sequence[int]]) -> int:
    """Return how often links cross."""
    total = 0
    for row, under in itertools.pairwise(rows):
        place = {cell: number for number, cell in enumerate(under)}
        passed: list[int] = []
        for cell in row:
            ends = sorted(place[other] for other in below.get(cell, ()))
            total += sum(len(passed) - bisect_right(passed, end) for end in ends)
            for end in ends:
                insort(passed, end)
    return total


def _neighbours(paths: Sequence[tuple[int, ...]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return for each cell those that it is linked to in the layer above, and in that below."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for path in paths:
        for top, bottom in itertools.pairwise(path):
            below.setdefault(top, []).append(bottom)
            above.setdefault(bottom, []).append(top)
    return above, below


def _leaving(nodes: int, links: Sequence[Link]) -> list[list[int]]:
    leaving: list[list[int]] = [[] for _ in range(nodes)]
    for number, link in enumerate(links):
        leaving[link.source].append(number)
    return leaving


def _ends(link: Link, turned: bool) -> tuple[int, int]:
    return (link.target, link.source) if turned else (link.source, link.target)
