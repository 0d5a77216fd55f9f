"""The picture as SVG: all that it should say, nothing that could run or be fetched, and legible in light and dark."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given, settings

from definitions import definitions
from skyfan.errors import InputError
from skyfan.graph.definition import own_machine
from skyfan.graph.lettering import printable
from skyfan.graph.marks import STATUSES, StateMark
from skyfan.graph.palette import DARK, LIGHT, style
from skyfan.graph.parsing import KINDS, parse_machine
from skyfan.graph.signs import KINDS as KIND_SIGNS
from skyfan.graph.signs import STATUSES as STATUS_SIGNS
from skyfan.graph.svg import draw_svg

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "desc", "style", "g", "rect", "circle", "path", "text"}
ATTRIBUTES = {
    "class", "viewBox", "width", "height", "role", "aria-labelledby", "id", "x", "y", "rx", "cx", "cy", "r", "d",
    "transform", "font-size", "text-anchor",
}  # fmt: skip


def read(drawn: str) -> ET.Element:
    return ET.fromstring(drawn)  # noqa: S314  it is ours


def groups(drawn: str, name: str) -> list[ET.Element]:
    """The groups of a class."""
    return [group for group in read(drawn).iter(f"{SVG}g") if name in (group.get("class") or "").split()]


def texts(element: ET.Element) -> list[str]:
    return [text.text or "" for text in element.iter(f"{SVG}text")]


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def test_the_machine_that_ships_says_what_it_does() -> None:
    drawn = draw_svg(own_machine())
    said = texts(read(drawn))
    for text in (
        "InferAll",
        "Distributed Map, EXPRESS children",
        "pending > 0",
        "otherwise",
        'status = "failed"',
        "any error",
        "5\N{MULTIPLICATION SIGN} Lambda.AWSLambdaException +3 more",
        "2\N{MULTIPLICATION SIGN} StoreError, WorkerError, ScriptError",
        "Fail · RunFailedError",
        "Start",
        "End",
    ):
        assert text in said
    caught = groups(drawn, "catch")
    assert [" ".join(texts(group)) for group in caught] == ["any error", "Lambda.Unknown, MemoryError +4 more"]
    whole = caught[1].find(f"{SVG}title")
    assert whole is not None
    assert "Runtime.OutOfMemory, Sandbox.Timedout, States.Timeout" in (whole.text or ""), (
        "what is cut is in the tooltip"
    )
    assert len(groups(drawn, "map")[0].findall(f"{SVG}rect[@class='cluster']")) == 3, "sheets behind it: many children"


def test_it_can_be_read_aloud() -> None:
    root = read(draw_svg(own_machine(), title="A & B"))
    assert root.get("role") == "img"
    labels = (root.get("aria-labelledby") or "").split()
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert desc is not None
    assert labels == [title.get("id"), desc.get("id")]
    assert title.text == "A & B"
    assert "11 states, from Initialize." in (desc.text or "")
    assert "AnythingPending leads to InferAll, pending > 0." in (desc.text or "")
    assert "InferAll leads to Summarize, after any error." in (desc.text or "")
    assert "Inside InferAll, from HasScript: HasScript leads to InferScript, " in (desc.text or "")
    assert "Infer leads to InferLarge, after Lambda.Unknown, " in (desc.text or "")


@settings(max_examples=60)
@given(definitions())
def test_whatever_the_names_it_is_text_and_nothing_else(definition: dict[str, Any]) -> None:
    machine = parse_machine(definition)
    drawn = draw_svg(machine)
    drawn.encode()
    root = read(drawn)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    assert {name for element in root.iter() for name in element.attrib} <= ATTRIBUTES
    sentences = [(group.findtext(f"{SVG}title") or "") for group in groups(drawn, "state")]
    names = [printable(state.name) for state in machine.every_state()]
    assert sorted(names) == sorted(
        name for name, text in zip(_in_order(names, sentences), sentences, strict=True) if text.startswith(f"{name}:")
    )


def _in_order(names: list[str], sentences: list[str]) -> list[str]:
    """The name that each sentence begins with: the longest, as one can begin with another."""
    by_length = sorted(names, key=len, reverse=True)
    return [next((name for name in by_length if text.startswith(f"{name}:")), "") for text in sentences]


def test_markup_in_a_definition_stays_text() -> None:
    evil = '</text><script>alert(1)</script><image href="http://example.org"/>"\' onload=x'
    state = {"Type": "Fail", "Error": evil, "Comment": evil}
    choice = {"Type": "Choice", "Choices": [{"Variable": f"$.{evil}", "StringEquals": evil, "Next": evil}]}
    machine = parse_machine({"StartAt": "A", "Comment": evil, "States": {"A": choice, evil: state}})
    drawn = draw_svg(machine, states={evil: StateMark("failed", evil)}, title=evil)
    root = read(drawn)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    assert "<script" not in drawn
    assert root.findtext(f"{SVG}title") == evil


def test_nothing_is_fetched() -> None:
    drawn = draw_svg(own_machine())
    assert re.findall(r"https?://[^\"]*", drawn) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|@font-face|href|<script|\son\w+=", drawn)


def test_its_style_reaches_nothing_but_itself() -> None:
    rules = re.sub(
        r"\{[^{}]*\}", "{}", style().replace("@media (prefers-color-scheme: dark) {", "").replace("}\n}", "}")
    )
    selectors = [part.strip() for rule in rules.split("{}") for part in rule.split(",") if part.strip()]
    assert len(selectors) > 20
    assert all(selector.split()[0] == ".skyfan-graph" for selector in selectors)


def test_a_page_can_give_every_colour() -> None:
    for name in LIGHT:
        assert f"--{name}: var(--skyfan-{name}, {LIGHT[name]});" in style()
        assert f"--{name}: var(--skyfan-{name}, {DARK[name]});" in style()
    used = set(re.findall(r"var\(--([\w-]+)\)", style()))
    assert used - set(LIGHT) == {"tone", "status", "tint"}


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_legible(colours: dict[str, str]) -> None:
    grounds = ["paper", "box", "cluster", *(f"{status}-tint" for status in STATUSES)]
    for ground in grounds:
        for ink in ("ink", "muted"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    for status in STATUSES:
        assert contrast(colours[status], colours[f"{status}-tint"]) >= 4.5, status
    assert contrast(colours["catch"], colours["paper"]) >= 4.5
    for kind in KINDS:
        assert contrast(colours["sign"], colours[kind.lower()]) >= 3, kind
        assert contrast(colours[kind.lower()], colours["box"]) >= 3, kind
    for ground in ("paper", "cluster", *(f"{status}-tint" for status in STATUSES)):
        assert contrast(colours["line"], colours[ground]) >= 3, ground


def test_light_and_dark_name_the_same_colours() -> None:
    assert list(LIGHT) == list(DARK)
    assert set(KINDS) | {"Service"} == set(KIND_SIGNS)
    assert set(STATUSES) == set(STATUS_SIGNS)


@pytest.mark.parametrize("status", STATUSES)
def test_a_mark_is_a_sign_and_a_word_not_colour_alone(status: Any) -> None:
    machine = own_machine()
    drawn = draw_svg(machine, states={"Infer": StateMark(status, "3.1 s <each>")})
    (marked,) = groups(drawn, "marked")
    assert status in (marked.get("class") or "").split()
    assert f"{status}: 3.1 s <each>" in texts(marked)
    assert [path for path in marked.findall(f"{SVG}path") if path.get("d") == STATUS_SIGNS[status]]
    assert f"Infer {status}, 3.1 s <each>." in (read(drawn).findtext(f"{SVG}desc") or "")
    assert not groups(draw_svg(machine), "marked")


def test_a_mark_of_no_state_is_refused() -> None:
    with pytest.raises(InputError, match=r"'Inferr', which is not in the machine.* - perhaps 'Infer'"):
        draw_svg(own_machine(), states={"Inferr": StateMark("failed")})


def test_pictures_on_one_page_do_not_share_names() -> None:
    machine = own_machine()
    drawings = [
        draw_svg(machine),
        draw_svg(machine, title="B"),
        draw_svg(machine, states={"Done": StateMark("failed")}),
    ]
    names = [element.get("id") for drawn in drawings for element in read(drawn).iter() if element.get("id")]
    assert len(names) == len(set(names)) == 6


def test_the_same_machine_gives_the_same_bytes() -> None:
    assert draw_svg(own_machine()) == draw_svg(own_machine())


def test_arrows_point_at_their_targets() -> None:
    """The tip of each arrow lies where its edge ends, and the edge stops short of it."""
    for group in groups(draw_svg(own_machine()), "edge"):
        way, tip = (group.find(f"{SVG}path[@class='{name}']") for name in ("way", "tip"))
        assert way is not None
        assert tip is not None
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", way.get("d") or "")]
        x, y, _, back = [float(number) for number in re.findall(r"-?[\d.]+", tip.get("d") or "")][:4]
        assert numbers[-2] == pytest.approx(x, abs=0.2)
        assert y > numbers[-1] >= back - 0.2, "all of them lead down"
