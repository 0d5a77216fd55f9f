"""From a machine to its picture: each Map and Parallel is as large as what is inside of it."""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from skyfan.graph.boxes import PAD, TEXT_LEFT, Content, Label, content_of, label_of
from skyfan.graph.layering import Link
from skyfan.graph.machine import Edge, EdgeKind, Machine, State
from skyfan.graph.marks import StateMark, check_marks
from skyfan.graph.picture import Box, Frame, Picture, Route, joined
from skyfan.graph.routing import Size, arrange

MARGIN = 20.0
PILL, DOT = (72.0, 30.0), (16.0, 16.0)
"""Start and end, outside and inside of a state."""
PORT_SHARE = 0.7
"""Of a state's width that the ends of edges may take."""
BRANCH_PAD = 14.0
BRANCH_GAP = 16.0
LOOP, LOOP_LABEL = 28.0, 14.0
"""How far an edge from a state to itself reaches, and where its label begins."""
WEIGHTS: dict[EdgeKind, tuple[float, float]] = {
    "next": (100.0, 100.0),
    "choice": (30.0, 8.0),
    "default": (30.0, 8.0),
    "catch": (1.0, 1.0),
}
"""How much an edge wants to be straight: one to the next layer, one that passes some."""

Marks = Mapping[str, StateMark]


class _Node(Struct, frozen=True):
    """A box at no place yet, what lies inside of it, and its edges to itself."""

    box: Box
    inside: tuple[Picture, ...] = ()
    loops: tuple[Edge, ...] = ()
    loop_label: Label | None = None


class _Way(Struct, frozen=True):
    """What leads from one node, by number, to another."""

    source: int
    target: int
    kind: EdgeKind = "next"
    edges: tuple[Edge, ...] = ()
    label: Label | None = None


def lay_out(machine: Machine, marks: Marks) -> Picture:
    """Return the picture of a machine; the same machine gives the same picture.

    Raises
    ------
    InputError
        If a mark is of no state, or the machine is too large.
    """
    check_marks(machine, marks)
    inside = _arranged(machine, marks, 0)
    return replace(inside.moved(MARGIN, MARGIN), width=inside.width + 2 * MARGIN, height=inside.height + 2 * MARGIN)


def _arranged(machine: Machine, marks: Marks, depth: int) -> Picture:
    """Return a machine's picture without a margin."""
    states = machine.states
    nodes = [_terminal("start", depth), *(_node(machine, state, marks, depth) for state in states)]
    number = {state.name: rank for rank, state in enumerate(states, 1)}
    ways = [_Way(0, number[machine.start])]
    ways += [
        _Way(number[edge.source], number[edge.target], edge.kind, (edge,), label_of([edge]))
        for edge in machine.edges
        if edge.source != edge.target
    ]
    ending = [number[state.name] for state in states if state.ends]
    if ending:
        ways += [_Way(source, len(nodes)) for source in ending]
        nodes.append(_terminal("end", depth))
    ways.sort(key=lambda way: way.kind == "catch")  # what is caught leads off at the right
    return _drawn(nodes, ways)


def _drawn(nodes: Sequence[_Node], ways: Sequence[_Way]) -> Picture:
    links = [Link(way.source, way.target, way.label is not None, *WEIGHTS[way.kind]) for way in ways]
    found = arrange([_size(node) for node in nodes], links, [way.label for way in ways])
    boxes = [node.box.moved(*corner) for node, corner in zip(nodes, found.corners, strict=True)]
    routes = [
        Route(course.points, boxes[way.source], boxes[way.target], way.edges, way.label, course.label_at)
        for way, course in zip(ways, found.courses, strict=True)
    ]
    routes += [_loop(box, node) for box, node in zip(boxes, nodes, strict=True) if node.loops]
    inside = [part.moved(*corner) for node, corner in zip(nodes, found.corners, strict=True) for part in node.inside]
    inner_boxes, inner_routes = joined(inside)
    return Picture(found.width, found.height, (*boxes, *inner_boxes), (*routes, *inner_routes))


def _terminal(role: str, depth: int) -> _Node:
    width, height = DOT if depth else PILL
    return _Node(Box("start" if role == "start" else "end", Frame(0.0, 0.0, width, height), depth))


def _node(machine: Machine, state: State, marks: Marks, depth: int) -> _Node:
    loops = tuple(edge for edge in machine.edges if edge.source == edge.target == state.name)
    label = label_of(loops)
    inside = [_arranged(inner, marks, depth + 1) for inner in state.inner]
    room = sum(part.width + 2 * BRANCH_PAD for part in inside) - TEXT_LEFT
    box, placed = _cluster(state, content_of(state, marks.get(state.name), room), inside, depth)
    if label and box.frame.height < label.height + 2 * PAD:  # its edge begins above the label and ends below it
        box = replace(box, frame=replace(box.frame, height=label.height + 2 * PAD))
    return _Node(box, placed, loops, label)


def _cluster(state: State, content: Content, inside: Sequence[Picture], depth: int) -> tuple[Box, tuple[Picture, ...]]:
    """Return a state's box with room for what lies inside, side by side below its text."""
    if not inside:
        frame = Frame(0.0, 0.0, content.width, content.height)
        return Box("state", frame, depth, state, content), ()
    widths = [part.width + 2 * BRANCH_PAD for part in inside]
    height = max(part.height for part in inside) + 2 * BRANCH_PAD
    needed = sum(widths) + BRANCH_GAP * (len(widths) - 1)
    width = max(content.width, needed + 2 * PAD)
    x, branches, placed = (width - needed) / 2, [], []
    for part, wide in zip(inside, widths, strict=True):
        branches.append(Frame(x, content.height, wide, height))
        placed.append(part.moved(x + BRANCH_PAD, content.height + BRANCH_PAD))
        x += wide + BRANCH_GAP
    frame = Frame(0.0, 0.0, width, content.height + height + PAD)
    shown = tuple(branches) if state.kind == "Parallel" else ()
    return Box("state", frame, depth, state, content, shown), tuple(placed)


def _size(node: _Node) -> Size:
    """Return the room that a node takes."""
    frame, stack = node.box.frame, node.box.stack
    loop = 0.0
    if node.loops:
        loop = LOOP if node.loop_label is None else max(LOOP, LOOP_LABEL + node.loop_label.width)
    side = PORT_SHARE * frame.width if node.box.state else 0.0
    return Size(frame.width, frame.height, stack + loop, stack, side)


def _loop(box: Box, node: _Node) -> Route:
    """Return the edge of a state to itself."""
    right, middle = box.frame.right + box.stack, box.frame.y + box.frame.height / 2
    label = node.loop_label
    half = (label.height if label else 16.0) / 2 + 6.0
    at = (right + LOOP_LABEL + label.width / 2, middle) if label else (right, middle)
    return Route(((right, middle - half), (right, middle + half)), box, box, node.loops, label, at, loop=True)
