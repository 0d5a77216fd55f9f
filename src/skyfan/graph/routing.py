"""Boxes and labels at their places, and the edges between them: upright through each row, curved between rows.

Nothing stands between rows, and in a row each edge has a cell of its own: no edge crosses a box or another's label.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from skyfan.graph.boxes import Label
from skyfan.graph.layering import Layers, Link, layered
from skyfan.graph.picture import Point
from skyfan.graph.placing import Extent, places, ports

BOX_GAP = 30.0
CELL_GAP = 16.0
ROW_GAP = 38.0
"""Between rows of boxes with no label between them."""
LABEL_ABOVE, LABEL_BELOW = 15.0, 23.0
SLANT, SLANT_MOST = 0.08, 40.0
"""How much farther apart two rows are for each px that an edge goes sideways between them, and at most."""


class Size(Struct, frozen=True):
    """A box without a place."""

    width: float
    height: float
    right: float = 0.0
    """Room that it needs beyond its right side: for the sheets of a Map, for an edge to itself."""
    below: float = 0.0
    """The same beyond its lower side."""
    side: float = 0.0
    """How much of its upper and lower side edges may end at; 0: all of them in the middle."""


class Course(Struct, frozen=True):
    """Where an edge leads along, from source to target."""

    points: tuple[Point, ...]
    label_at: Point


class Arrangement(Struct, frozen=True):
    """Places for boxes and edges, in the order in which they were given."""

    corners: tuple[Point, ...]
    """Upper left ones of the boxes."""
    courses: tuple[Course, ...]
    width: float
    height: float


class _Grid(Struct, frozen=True):
    """Every cell, from left to right at its place."""

    layers: Layers
    sizes: Sequence[Size]
    labels: Sequence[Label | None]
    x: Mapping[int, float]
    begins: Sequence[float]
    ends: Sequence[float]
    row_of: Mapping[int, int]


class _Rows(Struct, frozen=True):
    """Where each row lies."""

    tops: tuple[float, ...]
    heights: tuple[float, ...]


def arrange(sizes: Sequence[Size], links: Sequence[Link], labels: Sequence[Label | None]) -> Arrangement:
    """Return places for boxes, the first of which is the start, and for the links between them.

    Parameters
    ----------
    sizes : sequence of Size
    links : sequence of Link
        Between numbers of boxes; labelled where `labels` has one.
    labels : sequence of Label or None
    """
    layers = layered(len(sizes), links)
    extents = _extents(layers, sizes, labels)
    begins, ends = ports(layers, extents)
    x = places(layers, extents, begins, ends)
    row_of = {cell: number for number, row in enumerate(layers.rows) for cell in row}
    grid = _Grid(layers, sizes, labels, x, begins, ends, row_of)
    rows = _rows(grid)
    corners = []
    for number, size in enumerate(sizes):
        row = row_of[number]
        spare = rows.heights[row] - size.height - size.below
        corners.append((x[number] - size.width / 2, rows.tops[row] + spare / 2))
    courses = tuple(_course(grid, number, rows, corners) for number in range(len(links)))
    width = max(x[cell] + extents[cell].right for cell in x)
    return Arrangement(tuple(corners), courses, width, rows.tops[-1] + rows.heights[-1])


def _extents(layers: Layers, sizes: Sequence[Size], labels: Sequence[Label | None]) -> dict[int, Extent]:
    extents = {
        number: Extent(size.width / 2, size.width / 2 + size.right, BOX_GAP, size.side)
        for number, size in enumerate(sizes)
    }
    for chain, label in zip(layers.chains, labels, strict=True):
        for cell in chain.cells[1:-1]:
            half = label.width / 2 if label and cell == chain.label else 1.0
            extents[cell] = Extent(half, half, CELL_GAP)
    return extents


def _rows(grid: _Grid) -> _Rows:
    """Return where rows lie: each as high as what is in it, farther from the next where edges go far sideways."""
    tall = {number: size.height + size.below for number, size in enumerate(grid.sizes)}
    for chain, label in zip(grid.layers.chains, grid.labels, strict=True):
        if label and chain.label is not None:
            tall[chain.label] = label.height
    heights = [max((tall.get(cell, 0.0) for cell in row), default=0.0) for row in grid.layers.rows]
    tops, y, slants = [], 0.0, _slants(grid)
    for number, height in enumerate(heights):
        tops.append(y)
        boxes = number % 2 == 0
        beside = number + 1 if boxes else number  # the row of labels above or below the gap
        labelled = beside < len(heights) and heights[beside] > 0
        gap = (LABEL_ABOVE if boxes else LABEL_BELOW) if labelled else ROW_GAP / 2
        y += height + gap + min(SLANT_MOST, SLANT * slants[number])
    return _Rows(tuple(tops), tuple(heights))


def _slants(grid: _Grid) -> list[float]:
    """Return how far edges go sideways below each row."""
    slants, row_of = [0.0] * len(grid.layers.rows), grid.row_of
    for chain, begin, end in zip(grid.layers.chains, grid.begins, grid.ends, strict=True):
        across = [grid.x[cell] for cell in chain.cells]
        across[0], across[-1] = across[0] + begin, across[-1] + end
        for cell, one, other in zip(chain.cells[:-1], across[:-1], across[1:], strict=True):
            slants[row_of[cell]] = max(slants[row_of[cell]], abs(other - one))
    return slants


def _course(grid: _Grid, number: int, rows: _Rows, corners: Sequence[Point]) -> Course:
    chain, row_of = grid.layers.chains[number], grid.row_of
    top, bottom = chain.cells[0], chain.cells[-1]
    first, last = row_of[top], row_of[bottom]
    size = grid.sizes[top]
    begin, end = grid.x[top] + grid.begins[number], grid.x[bottom] + grid.ends[number]
    points = [(begin, corners[top][1] + size.height + size.below), (begin, rows.tops[first] + rows.heights[first])]
    label_at = (0.0, 0.0)
    for cell in chain.cells[1:-1]:
        x, above, height = grid.x[cell], rows.tops[row_of[cell]], rows.heights[row_of[cell]]
        if height:  # where nothing stands, nothing is in the way
            points += [(x, above), (x, above + height)]
        if cell == chain.label:
            label_at = (x, above + height / 2)
    points += [(end, rows.tops[last]), (end, corners[bottom][1])]
    points = [point for point, before in zip(points, [None, *points], strict=False) if point != before]
    return Course(tuple(points[::-1] if chain.upwards else points), label_at)
