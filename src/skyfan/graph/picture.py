"""A picture before it is written down: boxes and edges at their places. All lengths are in px, y leads down."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from skyfan.graph.boxes import Content, Label
from skyfan.graph.machine import Edge, State

Point = tuple[float, float]
STACK = 10.0
"""How far the sheets behind a Map reach below and right of it."""


class Frame(Struct, frozen=True):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower side."""
        return self.y + self.height

    def moved(self, dx: float, dy: float) -> "Frame":
        """Return it elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy)


class Box(Struct, frozen=True):
    """A state, or the start or end of a machine."""

    role: Literal["state", "start", "end"]
    frame: Frame
    depth: int = 0
    """How many Maps and Parallels it lies in."""
    state: State | None = None
    content: Content | None = None
    branches: tuple[Frame, ...] = ()
    """Where the branches of a Parallel lie."""

    @property
    def stack(self) -> float:
        """How far it reaches beyond its frame, below and right."""
        return STACK if self.state is not None and self.state.kind == "Map" else 0.0

    def moved(self, dx: float, dy: float) -> "Box":
        """Return it elsewhere."""
        branches = tuple(branch.moved(dx, dy) for branch in self.branches)
        return replace(self, frame=self.frame.moved(dx, dy), branches=branches)


class Route(Struct, frozen=True):
    """An edge, from its source to its target."""

    points: tuple[Point, ...]
    """Between two of one x it is straight, else a curve that begins and ends upright."""
    source: Box
    target: Box
    edges: tuple[Edge, ...] = ()
    """None for what leads from the start or to the end; several where a state leads to itself in several ways."""
    label: Label | None = None
    label_at: Point = (0.0, 0.0)
    """The label's middle."""
    loop: bool = False
    """Whether it leads from the right side of a box to the same side."""

    def moved(self, dx: float, dy: float) -> "Route":
        """Return it elsewhere."""
        return replace(
            self,
            points=tuple((x + dx, y + dy) for x, y in self.points),
            label_at=(self.label_at[0] + dx, self.label_at[1] + dy),
            source=self.source.moved(dx, dy),
            target=self.target.moved(dx, dy),
        )


class Picture(Struct, frozen=True):
    """Everything, in the order in which it is drawn: what lies in a box comes after it."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    routes: tuple[Route, ...]

    def moved(self, dx: float, dy: float) -> "Picture":
        """Return it elsewhere, as part of a larger one."""
        boxes = tuple(box.moved(dx, dy) for box in self.boxes)
        return replace(self, boxes=boxes, routes=tuple(route.moved(dx, dy) for route in self.routes))


def joined(pictures: Iterable[Picture]) -> tuple[tuple[Box, ...], tuple[Route, ...]]:
    """Return the boxes and routes of several pictures."""
    found = list(pictures)
    boxes = tuple(box for picture in found for box in picture.boxes)
    return boxes, tuple(route for picture in found for route in picture.routes)
