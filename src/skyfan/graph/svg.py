"""The picture as SVG: one file that needs nothing else, for light and dark, to be read by eye or aloud."""

import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from skyfan.graph.boxes import (
    HEIGHTS,
    ICON,
    INDENT,
    LABEL_HEIGHT,
    LABEL_PAD,
    LABEL_SIZE,
    PAD,
    SIZES,
    TEXT_LEFT,
    Content,
    Label,
    edge_text,
)
from skyfan.graph.layout import lay_out
from skyfan.graph.lettering import printable
from skyfan.graph.machine import Edge, Machine, State
from skyfan.graph.marks import StateMark
from skyfan.graph.palette import style
from skyfan.graph.phrases import errors_text, retry_sentence
from skyfan.graph.picture import Box, Frame, Point, Route
from skyfan.graph.signs import KINDS, RETRY, STATUSES
from skyfan.wording import counted

TIP = (4.5, 8.0)
"""Half of an arrow's width, and its length, px."""
SHEET = 5.0
"""Between the sheets behind a Map, px."""
STRAIGHT = 1.5
"""What an edge may go sideways and still be drawn as a line, px."""
TITLE = "State machine"


def draw_svg(machine: Machine, *, states: Mapping[str, StateMark] | None = None, title: str = TITLE) -> str:
    """Return the picture of a state machine as an SVG document.

    Parameters
    ----------
    machine : Machine
    states : mapping of str to StateMark, optional
        What an execution did, by name of the state; states that are not in it are drawn without a mark.
    title : str, optional
        Its accessible name.

    Returns
    -------
    str
        It can be a file, or stand inside an HTML page, whose own colours it takes where they are set as
        `--skyfan-paper`, `--skyfan-ink` and so on (`skyfan.graph.palette` has the names).

    Raises
    ------
    InputError
        If a mark is of a state that there is not, or the machine is too large to be laid out.
    """
    marks = states or {}
    picture = lay_out(machine, marks)
    body = "\n".join([*(_box(box, marks) for box in picture.boxes), *map(_route, picture.routes)])
    described = _text(_description(machine, marks))
    key = hashlib.sha256(f"{title}{described}{body}".encode()).hexdigest()[:10]
    width, height = _number(picture.width), _number(picture.height)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" class="skyfan-graph" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}" role="img" aria-labelledby="t{key} d{key}">
<title id="t{key}">{_text(title)}</title>
<desc id="d{key}">{described}</desc>
<style>
{style()}
</style>
<rect class="paper" width="{width}" height="{height}"/>
{body}
</svg>
"""


def _box(box: Box, marks: Mapping[str, StateMark]) -> str:
    if box.state is None or box.content is None:
        return _terminal(box)
    mark = marks.get(box.state.name)
    kind = box.state.kind.lower()
    classes = f"state {kind}{f' marked {mark.status}' if mark else ''}"
    parts = [f'<g class="{classes}">', f"<title>{_text(state_sentence(box.state, mark))}</title>"]
    shape = "cluster" if box.state.inner else "box"
    if box.stack:
        parts += [_rect(box.frame.moved(by, by), shape, 10) for by in (2 * SHEET, SHEET)]
    parts.append(_rect(box.frame, shape, 10))
    parts += [_rect(branch, "branch", 8) for branch in box.branches]
    parts += [_icon(box.frame, box.state), *_lines(box, box.content, mark), "</g>"]
    return "\n".join(parts)


def _terminal(box: Box) -> str:
    frame = box.frame
    x, y = frame.x + frame.width / 2, frame.y + frame.height / 2
    if box.depth == 0:
        word = "Start" if box.role == "start" else "End"
        shape = f'<rect class="terminal" {_at(frame)} rx="{_number(frame.height / 2)}"/>'
        return (
            f'<g>{shape}<text class="terminal-text" x="{_number(x)}" y="{_number(y + 4.5)}" '
            f'font-size="13" text-anchor="middle">{word}</text></g>'
        )
    at, radius = f'cx="{_number(x)}" cy="{_number(y)}"', frame.width / 2
    if box.role == "start":
        return f'<g><title>Start</title><circle class="terminal" {at} r="{_number(radius - 1)}"/></g>'
    return (
        f'<g><title>End</title><circle class="ring" {at} r="{_number(radius - 1)}"/>'
        f'<circle class="terminal" {at} r="{_number(radius - 4.5)}"/></g>'
    )


def _icon(frame: Frame, state: State) -> str:
    name = "Service" if state.kind == "Task" and not state.detail.startswith("Lambda: ") else state.kind
    x, y = _number(frame.x + PAD), _number(frame.y + PAD)
    size = _number(ICON)
    return (
        f'<g transform="translate({x} {y})"><rect class="icon" width="{size}" height="{size}" rx="7"/>'
        f'<path class="sign" d="{KINDS[name]}"/></g>'
    )


def _lines(box: Box, content: Content, mark: StateMark | None) -> list[str]:
    x, y = box.frame.x + TEXT_LEFT, box.frame.y + PAD - 2
    if len(content.lines) == 1:
        y += (ICON - HEIGHTS["name"]) / 2 + 2
    parts = []
    for line in content.lines:
        height, size = HEIGHTS[line.style], SIZES[line.style]
        base = y + height / 2 + 0.36 * size
        if line.style == "retry":
            parts.append(_sign("tick retry-sign", RETRY, x, base - 9.5))
        if line.style == "mark" and mark:
            parts.append(_sign("tick", STATUSES[mark.status], x, base - 11))
        parts.append(
            f'<text class="{line.style}" x="{_number(x + INDENT[line.style])}" y="{_number(base)}" '
            f'font-size="{_number(size)}">{_text(line.text)}</text>'
        )
        y += height
    return parts


def _route(route: Route) -> str:
    kinds = {edge.kind for edge in route.edges}
    (x, y), before = route.points[-1], route.points[-2]
    down = (0.0, 0.0) if route.loop else (0.0, 1.0 if y > before[1] else -1.0)
    parts = [f'<g class="edge{" catch" if kinds == {"catch"} else ""}">']
    if route.edges:
        parts.append(f"<title>{_text(' '.join(map(edge_sentence, route.edges)))}</title>")
    parts += [f'<path class="way" d="{_path(route)}"/>', _tip(x, y, down[1], route.loop)]
    if route.label:
        parts += _label(route.label, route.label_at)
    return "\n".join([*parts, "</g>"])


def _path(route: Route) -> str:
    (x, y), *rest = route.points
    end_x, end_y = rest[-1]
    if route.loop:
        reach = x + 1.4 * 28
        return (
            f"M{_number(x)} {_number(y)} C{_number(reach)} {_number(y)} {_number(reach)} {_number(end_y)} "
            f"{_number(end_x + TIP[1] - 1)} {_number(end_y)}"
        )
    back = TIP[1] - 1 if end_y > route.points[-2][1] else 1 - TIP[1]
    rest[-1] = (end_x, end_y - back)
    parts = [f"M{_number(x)} {_number(y)}"]
    for to_x, to_y in rest:
        if abs(to_x - x) < STRAIGHT:
            line = f"L{_number(to_x)} "
            if parts[-1].startswith(line):  # a long edge is one line, not one per row
                parts.pop()
            parts.append(line + _number(to_y))
        else:
            middle = _number((y + to_y) / 2)
            parts.append(f"C{_number(x)} {middle} {_number(to_x)} {middle} {_number(to_x)} {_number(to_y)}")
        x, y = to_x, to_y
    return " ".join(parts)


def _tip(x: float, y: float, down: float, loop: bool) -> str:
    half, length = TIP
    if loop:
        corners = [(x, y), (x + length, y - half), (x + length, y + half)]
    else:
        corners = [(x, y), (x - half, y - down * length), (x + half, y - down * length)]
    return f'<path class="tip" d="M{" L".join(f"{_number(a)} {_number(b)}" for a, b in corners)} Z"/>'


def _label(label: Label, at: Point) -> list[str]:
    x, y = at
    plate = Frame(x - label.width / 2, y - label.height / 2, label.width, label.height)
    parts = [_rect(plate, "plate", min(label.height / 2, 10.0))]
    for number, line in enumerate(label.lines):
        base = plate.y + LABEL_PAD[1] + (number + 0.5) * LABEL_HEIGHT + 0.36 * LABEL_SIZE
        parts.append(
            f'<text x="{_number(x)}" y="{_number(base)}" font-size="{LABEL_SIZE}" '
            f'text-anchor="middle">{_text(line)}</text>'
        )
    return parts


def state_sentence(state: State, mark: StateMark | None) -> str:
    """Return all that is known of a state, none of it cut."""
    parts = [f"{state.name}: {state.kind}{f', {state.detail}' if state.detail else ''}."]
    parts += [f"{', '.join(state.notes)}."] if state.notes else []
    parts += map(retry_sentence, state.retries)
    parts += [state.comment] if state.comment else []
    parts += [f"{mark.status}{f', {mark.text}' if mark.text else ''}."] if mark else []
    return " ".join(parts)


def edge_sentence(edge: Edge) -> str:
    """Return an edge in words, none of them cut."""
    reason = edge_text(edge)
    if edge.kind == "catch":
        reason = f"after {errors_text(edge.errors, len(edge.errors))}"
    return f"{edge.source} leads to {edge.target}{f', {reason}' if reason else ''}."


def _description(machine: Machine, marks: Mapping[str, StateMark]) -> str:
    """Return the picture in words, for who cannot see it."""
    total = sum(1 for _ in machine.every_state())
    parts = [machine.comment, f"{counted(total, 'state')}, from {machine.start}.", *_walk(machine)]
    parts += [f"{name} {mark.status}{f', {mark.text}' if mark.text else ''}." for name, mark in marks.items()]
    return " ".join(part for part in parts if part)


def _walk(machine: Machine) -> Iterable[str]:
    for state in machine.states:
        yield from (edge_sentence(edge) for edge in machine.edges if edge.source == state.name)
        if state.ends:
            yield f"{state.name} ends."
        for inner in state.inner:
            yield f"Inside {state.name}, from {inner.start}:"
            yield from _walk(inner)


def _sign(classes: str, path: str, x: float, y: float) -> str:
    return f'<path class="{classes}" transform="translate({_number(x)} {_number(y)})" d="{path}"/>'


def _rect(frame: Frame, classes: str, radius: float) -> str:
    return f'<rect class="{classes}" {_at(frame)} rx="{_number(radius)}"/>'


def _at(frame: Frame) -> str:
    x, y, width, height = map(_number, (frame.x, frame.y, frame.width, frame.height))
    return f'x="{x}" y="{y}" width="{width}" height="{height}"'


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return escape(printable(text))
