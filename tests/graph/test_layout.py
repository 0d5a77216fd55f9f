"""Where things lie in a picture: for any machine, nothing overlaps, nothing is lost, nothing leaves the canvas."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from definitions import definitions
from skyfan.errors import InputError
from skyfan.graph.boxes import SIZES, content_of, label_of
from skyfan.graph.definition import own_machine
from skyfan.graph.layering import Link, layered
from skyfan.graph.layout import lay_out
from skyfan.graph.lettering import BOLD, ELLIPSIS, balanced, cut, printable, width, wrapped
from skyfan.graph.machine import Edge, Machine, Retry, State
from skyfan.graph.marks import StateMark
from skyfan.graph.parsing import parse_machine
from skyfan.graph.picture import Box, Frame, Picture, Point, Route

END = {"Type": "Succeed"}
SLIT = 0.01
"""px that rounding may take."""


def whole(box: Box) -> Frame:
    """A box with the sheets behind it."""
    return Frame(box.frame.x, box.frame.y, box.frame.width + box.stack, box.frame.height + box.stack)


def apart(one: Frame, other: Frame) -> bool:
    return (
        one.right <= other.x + SLIT
        or other.right <= one.x + SLIT
        or one.bottom <= other.y + SLIT
        or other.bottom <= one.y + SLIT
    )


def within(inner: Frame, outer: Frame) -> bool:
    return (
        inner.x >= outer.x - SLIT
        and inner.y >= outer.y - SLIT
        and inner.right <= outer.right + SLIT
        and inner.bottom <= outer.bottom + SLIT
    )


def plates(picture: Picture) -> Iterator[tuple[Route, Frame]]:
    for route in picture.routes:
        if route.label:
            (x, y), label = route.label_at, route.label
            yield route, Frame(x - label.width / 2, y - label.height / 2, label.width, label.height)


def on_border(point: Point, frame: Frame) -> bool:
    x, y = point
    sides = (abs(x - frame.x), abs(x - frame.right)), (abs(y - frame.y), abs(y - frame.bottom))
    inside = frame.x - SLIT <= x <= frame.right + SLIT and frame.y - SLIT <= y <= frame.bottom + SLIT
    return inside and min(*sides[0], *sides[1]) <= SLIT


def along(route: Route) -> Iterator[Point]:
    """Points on an edge, as the picture draws it."""
    for (x, y), (to_x, to_y) in itertools.pairwise(route.points):
        for step in range(21):
            t = step / 20
            straight, bend = (1 - t) ** 3 + 3 * t * (1 - t) ** 2, t**3 + 3 * (1 - t) * t**2
            middle = (y + to_y) / 2
            down = (1 - t) ** 3 * y + 3 * t * (1 - t) * middle + t**3 * to_y
            yield x * straight + to_x * bend, down


def pairs(machine: Machine) -> list[tuple[str, str]]:
    """What each transition leads from and to; those of one state to itself once."""
    found = [(edge.source, edge.target) for edge in machine.edges if edge.source != edge.target]
    found += sorted({(edge.source, edge.target) for edge in machine.edges if edge.source == edge.target})
    found += [("", machine.start), *((state.name, "") for state in machine.states if state.ends)]
    return found + [pair for state in machine.states for inner in state.inner for pair in pairs(inner)]


def name(box: Box) -> str:
    return box.state.name if box.state else ""


def inside_of(machine: Machine) -> Iterator[tuple[str, str]]:
    """Each state with every state inside of it."""
    for state in machine.states:
        for inner in state.inner:
            yield from ((state.name, below.name) for below in inner.every_state())
            yield from inside_of(inner)


def check(machine: Machine, picture: Picture) -> None:
    canvas = Frame(0, 0, picture.width, picture.height)
    states = {name(box): box for box in picture.boxes if box.state}
    nested = set(inside_of(machine))
    assert sorted(states) == sorted(state.name for state in machine.every_state())
    for (one, box), (other, beside) in itertools.combinations(states.items(), 2):
        if (one, other) in nested or (other, one) in nested:
            outer, inner = (box, beside) if (one, other) in nested else (beside, box)
            assert within(whole(inner), outer.frame), f"{inner} leaves {outer}"
        else:
            assert apart(whole(box), whole(beside)), f"{one!r} and {other!r} overlap"
    terminals = [box for box in picture.boxes if not box.state]
    for box, other in itertools.combinations([*terminals, *(box for box in states.values() if not box.branches)], 2):
        if not (box.state and other.state) and not any(part.state and part.state.inner for part in (box, other)):
            assert apart(whole(box), whole(other))
    for box in picture.boxes:
        assert within(whole(box), canvas)
        assert all(within(branch, box.frame) for branch in box.branches)
    for (_, one_plate), (_, other_plate) in itertools.combinations(plates(picture), 2):
        assert apart(one_plate, other_plate), "two labels overlap"
    leaves = [box.frame for box in picture.boxes if not (box.state and box.state.inner)]
    for _, plate in plates(picture):
        assert within(plate, canvas)
        assert all(apart(plate, leaf) for leaf in leaves), "a label lies on a state"
    check_routes(machine, picture, canvas, leaves)


def check_routes(machine: Machine, picture: Picture, canvas: Frame, leaves: list[Frame]) -> None:
    assert sorted((name(route.source), name(route.target)) for route in picture.routes) == sorted(pairs(machine))
    labelled = list(plates(picture))
    for route in picture.routes:
        assert route.source in picture.boxes
        assert route.target in picture.boxes
        assert on_border(route.points[0], whole(route.source))
        assert on_border(route.points[-1], whole(route.target))
        others = [plate for other, plate in labelled if other is not route]
        for x, y in along(route):
            assert within(Frame(x, y, 0, 0), canvas)
            deep = Frame(x - 0.5, y - 0.5, 1, 1)  # wholly inside of a box, not at its border
            assert not any(within(deep, leaf) for leaf in leaves), "an edge crosses a state"
            assert not any(within(deep, plate) for plate in others), "an edge crosses another's label"


@settings(max_examples=80)
@given(definitions())
def test_in_any_machine_nothing_overlaps_or_is_lost(definition: dict[str, Any]) -> None:
    machine = parse_machine(definition)
    check(machine, lay_out(machine, {}))


@settings(max_examples=25)
@given(definitions())
def test_marks_get_room_of_their_own(definition: dict[str, Any]) -> None:
    machine = parse_machine(definition)
    marks = {state.name: StateMark("succeeded", "12.3 s") for state in machine.every_state()}
    check(machine, lay_out(machine, marks))


@settings(max_examples=20)
@given(definitions())
def test_the_same_machine_gives_the_same_picture(definition: dict[str, Any]) -> None:
    assert lay_out(parse_machine(definition), {}) == lay_out(parse_machine(definition), {})


def test_the_machine_that_ships_stands_upright() -> None:
    machine = own_machine()
    picture = lay_out(machine, {})
    check(machine, picture)
    middle = {name(box): box.frame.x + box.frame.width / 2 for box in picture.boxes}
    spine = [middle[state] for state in ("Initialize", "AnythingPending", "InferAll", "Summarize", "Verdict")]
    assert max(spine) - min(spine) < 4, "its main way leads straight down"
    order = [box.frame.y for box in picture.boxes if box.depth == 0 and name(box) not in {"RunFailed", "Done"}]
    assert order == sorted(order)
    infer, large = (next(box for box in picture.boxes if name(box) == each) for each in ("Infer", "InferLarge"))
    assert middle["InferLarge"] > middle["Infer"], "what is caught leads off at the right"
    assert large.frame.y > infer.frame.bottom


def test_an_edge_that_closes_a_cycle_leads_up() -> None:
    states = {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}
    picture = lay_out(parse_machine({"StartAt": "A", "States": states}), {})
    ways = {(name(route.source), name(route.target)): route.points for route in picture.routes}
    assert ways["A", "B"][0][1] < ways["A", "B"][-1][1]
    assert ways["B", "A"][0][1] > ways["B", "A"][-1][1]


def test_crossing_edges_are_untangled() -> None:
    """In the order in which they are found, 1 to 5 crosses 2 to 4; with 1 between 2 and 3, nothing crosses."""
    pairs_of = [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (2, 4), (3, 5)]
    rows = layered(6, [Link(*pair) for pair in pairs_of]).rows
    place = {cell: number for row in rows for number, cell in enumerate(row)}
    for (one, below), (other, beside) in itertools.combinations(pairs_of[3:], 2):
        assert (place[one] - place[other]) * (place[below] - place[beside]) >= 0


def test_layers_are_longest_paths() -> None:
    links = [Link(0, 1), Link(1, 2), Link(2, 3), Link(0, 3)]
    found = layered(4, links)
    assert [row[0] for row in found.rows[::2]] == [0, 1, 2, 3]
    assert len(found.chains[3].cells) == 7, "the long edge has a cell in each layer between"


def test_a_hundred_states_that_all_catch_can_be_drawn() -> None:
    states: dict[str, Any] = {
        f"S{n}": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sns:publish",
            "Next": f"S{n + 1}" if n < 99 else "Handler",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Handler"}],
        }
        for n in range(100)
    }
    machine = parse_machine({"StartAt": "S0", "States": {**states, "Handler": {"Type": "Fail"}}})
    picture = lay_out(machine, {})
    boxes = sorted((box.frame for box in picture.boxes), key=lambda frame: frame.y)
    assert all(one.bottom < other.y for one, other in itertools.pairwise(boxes))
    assert len(picture.routes) == 202


def test_what_no_one_could_read_is_refused() -> None:
    states: dict[str, Any] = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(300)}
    rules = [{"Variable": "$.a", "NumericEquals": n, "Next": "S300"} for n in range(200)]
    machine = parse_machine(
        {"StartAt": "A", "States": {"A": {"Type": "Choice", "Choices": rules, "Default": "S0"}, **states, "S300": END}}
    )
    with pytest.raises(InputError, match=r"503 transitions .*expected a smaller one"):
        lay_out(machine, {})


def test_a_box_is_as_large_as_what_it_says() -> None:
    state = State(name="Short", kind="Pass")
    long = State(name="AnUncommonlyLongNameOfAState" * 5, kind="Pass", retries=(Retry(("E" * 300,)),) * 9)
    assert content_of(state, None).height < content_of(state, StateMark("failed", "no")).height
    content = content_of(long, None)
    assert content.width > content_of(state, None).width
    assert content.width < 400, "what is too wide is broken, then cut"
    texts = [line.text for line in content.lines]
    assert texts[-1] == "3 more"
    assert texts[-2].endswith(ELLIPSIS)
    assert all(line.extent <= content.width for line in content.lines)


def test_a_label_says_why() -> None:
    assert label_of([Edge("A", "B")]) is None
    caught = label_of([Edge("A", "B", "catch", errors=("X", "Y", "Z"))])
    both = label_of([Edge("A", "A", "choice", "x > 1"), Edge("A", "A", "default")])
    assert caught is not None
    assert both is not None
    assert caught.lines == ("X, Y +1 more",)
    assert both.lines == ("x > 1", "otherwise")


def test_letters_are_as_wide_as_in_the_widest_font() -> None:
    pytest.importorskip("matplotlib", reason="brings the font that is measured")
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    folder = f"{get_data_path()}/fonts/ttf"
    plain, bold = FT2Font(f"{folder}/DejaVuSans.ttf"), FT2Font(f"{folder}/DejaVuSans-Bold.ttf")
    plain.set_size(100, 72)
    for code in range(32, 127):
        measured = plain.load_char(code).linearHoriAdvance / 65536
        assert width(chr(code), 100) == pytest.approx(measured, abs=0.6), chr(code)
    names = [state.name for state in own_machine().every_state()]
    bold.set_size(100, 72)
    for each in names:
        assert width(each, 100, bold=True) >= 0.98 * sum(
            bold.load_char(ord(letter)).linearHoriAdvance / 65536 for letter in each
        )
    assert BOLD > 1
    assert SIZES["name"] >= 14, "readable at 100 %"


def test_text_is_broken_where_a_reader_would() -> None:
    assert wrapped("one two three", 10, width("one two", 10) + 1, 3) == ("one two", "three")
    assert wrapped("LambdaFunctionName", 10, width("LambdaFunction", 10) + 1, 3) == ("LambdaFunction", "Name")
    one, two = wrapped("a bcdefghi jkl", 10, width("abcd", 10), 2)
    assert (one, two) == ("a", cut("bcdefghi jkl", 10, width("abcd", 10)))
    assert balanced("aaa bbb ccc ddd", 10, width("aaa bbb ccc", 10) + 1, 3) == ("aaa bbb", "ccc ddd")
    assert cut("short", 10, 1000) == "short"
    assert width(cut("w" * 100, 10, 200), 10) <= 200


def test_what_cannot_be_drawn_is_shown_as_such() -> None:
    assert printable("a\x00b\ud800c\u202ed\nE\tf") == "a\ufffdb\ufffdc\ufffdd E f"
    assert printable("é 星 👩\u200d🚀") == "é 星 👩\u200d🚀"
