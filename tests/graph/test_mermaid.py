"""The Mermaid text, held against a grammar that is stricter than Mermaid's own: only what we mean to write passes."""

import re
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings

from definitions import definitions
from skyfan.graph.definition import own_machine
from skyfan.graph.lettering import printable
from skyfan.graph.machine import Machine
from skyfan.graph.mermaid import MOST, draw_mermaid, quoted
from skyfan.graph.parsing import parse_machine

NAME = r"[a-z][a-z0-9]*"
TEXT = r"""[^"<>&`\\\[\]{}|;#]"""
LABEL = rf"(?:{TEXT}|\#\d+;|<br/>)*"
NODE = re.compile(rf'({NAME})(?:\["({LABEL})"\]|\{{"({LABEL})"\}}|\(\["({LABEL})"\]\)|\(\(" "\)\)|\(\(\(" "\)\)\))')
ARROW = re.compile(rf'({NAME}) (-->|-\.->)(?:\|"({LABEL})"\|)? ({NAME})')
SUBGRAPH = re.compile(rf'subgraph ({NAME})\["({LABEL})"\]')
CLASS_DEF = re.compile(r"classDef ([a-z]+) stroke:#[0-9a-f]{6},stroke-width:2px")
CLASS = re.compile(rf"class ({NAME}(?:,{NAME})*) ([a-z]+)")
LINKS = re.compile(r"linkStyle (\d+(?:,\d+)*) stroke:#[0-9a-f]{6}")


class Chart(NamedTuple):
    nodes: dict[str, str]
    """Name -> label, subgraphs too."""
    parents: dict[str, str]
    arrows: list[tuple[str, str, str, str]]
    """Source, arrow, label, target."""
    coloured: list[int]


def plain(label: str) -> str:
    return re.sub(r"#(\d+);", lambda found: chr(int(found[1])), label)


def read(text: str) -> Chart:
    """Return what a chart says; an AssertionError where a line is none of those that there are."""
    first, *lines = text.splitlines()
    assert first == "flowchart TD"
    chart = Chart({}, {}, [], [])
    inside: list[str] = []
    classes: set[str] = set()
    for line in lines:
        body = line.strip()
        assert line.isprintable(), f"a character that cannot be seen: {line!r}"
        if body == "end":
            assert inside, "an end without a subgraph"
            inside.pop()
        elif body == "direction TB":
            assert inside
        elif found := SUBGRAPH.fullmatch(body):
            add(chart, found[1], plain(found[2]), inside)
            inside.append(found[1])
        elif found := ARROW.fullmatch(body):
            chart.arrows.append((found[1], found[2], plain(found[3] or ""), found[4]))
        elif found := CLASS_DEF.fullmatch(body):
            classes.add(found[1])
        elif found := CLASS.fullmatch(body):
            assert found[2] in classes
            assert set(found[1].split(",")) <= set(chart.nodes)
        elif found := LINKS.fullmatch(body):
            chart.coloured.extend(map(int, found[1].split(",")))
        else:
            found = NODE.fullmatch(body)
            assert found, f"no line of a chart: {line!r}"
            add(chart, found[1], plain(next((part for part in found.groups()[1:] if part), "")), inside)
    assert not inside, "a subgraph without an end"
    assert {name for arrow in chart.arrows for name in (arrow[0], arrow[3])} <= set(chart.nodes)
    return chart


def add(chart: Chart, name: str, label: str, inside: list[str]) -> None:
    assert name not in chart.nodes, f"{name} is there twice"
    assert name not in {"end", "graph", "subgraph", "class", "click", "style", "default"}, "a word of Mermaid's"
    chart.nodes[name] = label
    chart.parents[name] = inside[-1] if inside else ""


def edges(machine: Machine) -> list[tuple[str, str, bool]]:
    found = [(edge.source, edge.target, edge.kind == "catch") for edge in machine.edges]
    found += [("", machine.start, False), *((state.name, "", False) for state in machine.states if state.ends)]
    return found + [edge for state in machine.states for inner in state.inner for edge in edges(inner)]


@settings(max_examples=100)
@given(definitions())
def test_any_machine_is_a_valid_chart_and_whole(definition: dict[str, Any]) -> None:
    machine = parse_machine(definition)
    chart = read(draw_mermaid(machine))
    states = {f"s{number}": state for number, state in enumerate(machine.every_state(), 1)}
    for name, state in states.items():
        assert chart.nodes[name].startswith(printable(state.name)[: MOST - 1])
        parent = next((each for each, other in states.items() for inner in other.inner if state in inner.states), "")
        assert re.sub(r"b\d+$", "", chart.parents[name]) == parent
    names = {name: state.name for name, state in states.items()}
    arrows = [
        (names.get(source, ""), names.get(target, ""), kind == "-.->") for source, kind, _, target in chart.arrows
    ]
    assert sorted(arrows) == sorted(edges(machine))
    assert chart.coloured == [number for number, arrow in enumerate(chart.arrows) if arrow[1] == "-.->"]


def test_the_machine_that_ships() -> None:
    chart = read(draw_mermaid(own_machine()))
    assert chart.nodes["s3"] == "InferAll: Distributed Map, EXPRESS children"
    assert [name for name, parent in chart.parents.items() if parent == "s3"] == [
        "s3start",
        "s4",
        "s5",
        "s6",
        "s7",
        "s3finish",
    ]
    assert ("s2", "-->", "pending > 0", "s3") in chart.arrows
    assert ("s3", "-.->", "any error", "s8") in chart.arrows
    assert ("s5", "-.->", "Lambda.Unknown, MemoryError +4 more", "s6") in chart.arrows
    assert chart.nodes["s10"] == "RunFailed<br/>Fail · RunFailedError"


def test_the_branches_of_a_parallel_lie_side_by_side() -> None:
    branches = [{"StartAt": name, "States": {name: {"Type": "Pass", "End": True}}} for name in ("A", "B")]
    states = {"Both": {"Type": "Parallel", "Branches": branches, "End": True}}
    chart = read(draw_mermaid(parse_machine({"StartAt": "Both", "States": states})))
    assert (chart.parents["s2"], chart.parents["s3"]) == ("s1b1", "s1b2")
    assert chart.parents["s1b1"] == chart.parents["s1b2"] == "s1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name", "plain name"),
        ('say "no"; end', "say #34;no#34;#59; end"),
        ("<b>#1</b>", "#60;b#62;#35;1#60;/b#62;"),
        ("`x` [y] {z} |", "#96;x#96; #91;y#93; #123;z#125; #124;"),
        ("1. first", "#49;#46; first"),
        ("- item + 4", "#45; item + 4"),
        ("_all_ but a_b", "#95;all#95; but a_b"),
        ("*bold*", "#42;bold#42;"),
        ("日本 é", "日本 é"),
        ("🛰", "#128752;"),
        ("x" * 300, "x" * 199 + "…"),
    ],
)
def test_signs_with_a_meaning_are_numbers(text: str, expected: str) -> None:
    assert quoted(text) == expected


@pytest.mark.parametrize(
    "line",
    [
        'a["x"y"]', "end[x]", 'a["<script>"]', "a --> ", 'a -->|"b" c', 'a["#;"]', "click a call x()", 'b["x"] --> c',
        "%%{init: {}}%%", 'a["x\u202ey"]',
    ],
)  # fmt: skip
def test_the_grammar_refuses_what_is_none(line: str) -> None:
    with pytest.raises(AssertionError):
        read(f'flowchart TD\n    a["x"]\n    {line}\n')
