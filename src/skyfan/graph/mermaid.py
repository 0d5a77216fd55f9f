"""The picture as Mermaid text, which GitHub and many editors draw.

A flowchart, not a `stateDiagram-v2`, which has no dashed edges and no names on its choices. Nodes are called s1, s2,
...; names stand in quotes only, where every sign that Mermaid could read is a number. It keeps one line of room for the
title of a Map or Parallel, so that their limits and retries are left out.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping

from msgspec import Struct

from skyfan.graph.boxes import edge_text, kind_text
from skyfan.graph.lettering import ELLIPSIS, printable
from skyfan.graph.machine import Edge, Machine, State
from skyfan.graph.palette import LIGHT
from skyfan.graph.phrases import TIMES, retry_text

MOST = 200
"""Letters of a line of text; what is longer is cut."""
PLAIN = f" .,:+-=()/%·≤≥≠…{TIMES}"
"""What may stand in quotes as it is, beside letters and digits."""
SHAPES = {"Choice": ('{"', '"}'), "Succeed": ('(["', '"])'), "Fail": ('(["', '"])')}

_MARKDOWN = re.compile(r"\d+[.)]|[-+=]*")
"""What Mermaid would take for the beginning of a list or rule."""
_BOX = ('["', '"]')
_START, _END = '(["Start"])', '(["End"])'
_DOT, _RING = '((" "))', '(((" ")))'


class _Nodes(Struct):
    """What the nodes are called, and which edges there are so far: they are coloured by number."""

    names: Mapping[str, str]
    edges: int = 0
    caught: list[str] = []


def draw_mermaid(machine: Machine) -> str:
    """Return the picture of a state machine as a Mermaid flowchart."""
    nodes = _Nodes({state.name: f"s{number}" for number, state in enumerate(machine.every_state(), 1)})
    lines = ["flowchart TD", *_machine(machine, nodes, "start", "    ")]
    for kind in SHAPES:
        called = [nodes.names[state.name] for state in machine.every_state() if state.kind == kind]
        if called:
            lines.append(f"    classDef {kind.lower()} stroke:{LIGHT[kind.lower()]},stroke-width:2px")
            lines.append(f"    class {','.join(called)} {kind.lower()}")
    if nodes.caught:
        lines.append(f"    linkStyle {','.join(nodes.caught)} stroke:{LIGHT['catch']}")
    return "\n".join(lines) + "\n"


def _machine(machine: Machine, nodes: _Nodes, key: str, indent: str) -> Iterator[str]:
    """Yield the lines of a machine; `key` names its start, and its end after it."""
    outside = key == "start"
    finish = "finish" if outside else key.replace("start", "finish")
    yield f"{indent}{key}{_START if outside else _DOT}"
    for state in machine.states:
        yield from _state(state, nodes, indent)
    if any(state.ends for state in machine.states):
        yield f"{indent}{finish}{_END if outside else _RING}"
    yield _arrow(nodes, indent, key, nodes.names[machine.start])
    for edge in machine.edges:
        yield _arrow(nodes, indent, nodes.names[edge.source], nodes.names[edge.target], edge)
    for state in machine.states:
        if state.ends:
            yield _arrow(nodes, indent, nodes.names[state.name], finish)


def _state(state: State, nodes: _Nodes, indent: str) -> Iterator[str]:
    name = nodes.names[state.name]
    if not state.inner:
        texts = [state.name, kind_text(state), " · ".join(state.notes)]
        texts += [f"retry {retry_text(retry)}" for retry in state.retries]
        before, after = SHAPES.get(state.kind, _BOX)
        yield f"{indent}{name}{before}{'<br/>'.join(quoted(text) for text in texts if text)}{after}"
        return
    yield f'{indent}subgraph {name}["{quoted(f"{state.name}: {kind_text(state)}")}"]'
    yield f"{indent}    direction TB"
    for number, inner in enumerate(state.inner, 1):
        below = indent + "    "
        if state.kind == "Map":
            yield from _machine(inner, nodes, f"{name}start", below)
        else:
            yield f'{below}subgraph {name}b{number}["Branch {number}"]'
            yield f"{below}    direction TB"
            yield from _machine(inner, nodes, f"{name}b{number}start", below + "    ")
            yield f"{below}end"
    yield f"{indent}end"


def _arrow(nodes: _Nodes, indent: str, source: str, target: str, edge: Edge | None = None) -> str:
    text = quoted(edge_text(edge)) if edge else ""
    caught = edge is not None and edge.kind == "catch"
    if caught:
        nodes.caught.append(str(nodes.edges))
    nodes.edges += 1
    label = f'|"{text}"|' if text else ""
    return f"{indent}{source} {'-.->' if caught else '-->'}{label} {target}"


def quoted(text: str) -> str:
    """Return text as it may stand between Mermaid's quotes: signs with a meaning as their numbers, `#62;`."""
    shown = printable(text)
    shown = shown if len(shown) <= MOST else shown[: MOST - 1] + ELLIPSIS
    head = len(_MARKDOWN.match(shown)[0])  # type: ignore[index]  # it can match nothing
    return "".join(
        letter if at >= head and _is_plain(letter, shown[at - 1 : at], shown[at + 1 :]) else f"#{ord(letter)};"
        for at, letter in enumerate(shown)
    )


def _is_plain(letter: str, before: str, after: str) -> bool:
    if letter == "_":  # between letters it is no emphasis
        return before.isalnum() and after[:1].isalnum()
    return letter in PLAIN or unicodedata.category(letter)[0] in "LMN"
