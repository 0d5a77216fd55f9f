"""What stands in a state's box, line by line, and how large that makes it. All lengths are in px."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from skyfan.graph.lettering import balanced, cut, printable, width, wrapped
from skyfan.graph.machine import Edge, Retry, State
from skyfan.graph.marks import StateMark
from skyfan.graph.phrases import errors_text, retry_text

Style = Literal["name", "detail", "note", "retry", "mark"]

SIZES: dict[Style, float] = {"name": 14, "detail": 12, "note": 11.5, "retry": 11.5, "mark": 12}
"""Of the letters."""
HEIGHTS: dict[Style, float] = {"name": 19, "detail": 17, "note": 17, "retry": 17, "mark": 22}
"""Of a line."""
BOLD: tuple[Style, ...] = ("name", "mark")
INDENT: dict[Style, float] = {"name": 0, "detail": 0, "note": 0, "retry": 17, "mark": 20}
"""Room for a sign before the text."""

PAD = 12.0
ICON = 28.0
TEXT_LEFT = PAD + ICON + 10
LINE_LIMIT = 285.0
MIN_WIDTH = 150.0
MIN_HEIGHT = ICON + 2 * PAD
MOST_RETRIES = 6

LABEL_SIZE = 11.5
LABEL_HEIGHT = 15.0
LABEL_LIMIT = 190.0
LABEL_PAD = (8.0, 3.0)


class Line(Struct, frozen=True):
    """One line of text in a box."""

    text: str
    style: Style

    @property
    def extent(self) -> float:
        """Its width with the room for its sign."""
        return INDENT[self.style] + width(self.text, SIZES[self.style], bold=self.style in BOLD)


class Content(Struct, frozen=True):
    """The text of a box, and the room that it needs."""

    lines: tuple[Line, ...]
    width: float
    height: float


class Label(Struct, frozen=True):
    """The text on an edge, and the room that it needs."""

    lines: tuple[str, ...]
    width: float
    height: float


def content_of(state: State, mark: StateMark | None, room: float = 0.0) -> Content:
    """Return what stands in a state's box, in lines as wide as what lies inside of it, `room`, if that is wide."""
    limit = max(LINE_LIMIT, room)
    lines = _lines(state.name, "name", limit)
    lines += _lines(kind_text(state), "detail", limit)
    lines += _lines(" · ".join(state.notes), "note", limit)
    retries = [_retry_line(retry, limit) for retry in state.retries]
    rest = len(retries) - MOST_RETRIES
    lines += retries if rest <= 0 else [*retries[:MOST_RETRIES], Line(f"{rest} more", "retry")]
    if mark:
        lines += _lines(f"{mark.status}{f': {mark.text}' if mark.text else ''}", "mark", limit, 1)
    widest = max(line.extent for line in lines)
    height = sum(HEIGHTS[line.style] for line in lines) + 2 * PAD - 4
    return Content(tuple(lines), max(MIN_WIDTH, TEXT_LEFT + widest + PAD + 2), max(MIN_HEIGHT, height))


def label_of(edges: Iterable[Edge]) -> Label | None:
    """Return the label of edges that are drawn as one; None where there is nothing to say."""
    lines = [line for edge in edges for line in balanced(edge_text(edge), LABEL_SIZE, LABEL_LIMIT, 3) if line]
    if not lines:
        return None
    across, down = LABEL_PAD
    widest = max(width(line, LABEL_SIZE) for line in lines)
    return Label(tuple(lines), widest + 2 * across, len(lines) * LABEL_HEIGHT + 2 * down)


def edge_text(edge: Edge) -> str:
    """Return what an edge's label says."""
    if edge.kind == "catch":
        return printable(errors_text(edge.errors))
    return "otherwise" if edge.kind == "default" else printable(edge.condition)


def kind_text(state: State) -> str:
    """Return a state's kind and what it does."""
    if not state.detail:
        return state.kind
    return state.detail if state.kind == "Map" else f"{state.kind} · {state.detail}"


def _lines(text: str, style: Style, limit: float, most: int = 3) -> list[Line]:
    shown = printable(text)
    found = wrapped(shown, SIZES[style], limit - INDENT[style], most, bold=style in BOLD)
    return [Line(part, style) for part in found if part]


def _retry_line(retry: Retry, limit: float) -> Line:
    """Return a rule of a Retry with as many of its errors as there is room for."""
    room = limit - INDENT["retry"]
    texts = [printable(retry_text(retry, shown)) for shown in range(len(retry.errors), 0, -1)]
    fitting = (text for text in texts if width(text, SIZES["retry"]) <= room)
    return Line(next(fitting, cut(texts[-1], SIZES["retry"], room)), "retry")
