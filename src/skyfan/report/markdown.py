"""A report as Markdown, with its figures as files beside it."""

import re
from collections.abc import Iterator, Sequence

from skyfan.report.document import (
    Block,
    Code,
    Document,
    Facts,
    Figure,
    Gallery,
    Grid,
    Heading,
    Notice,
    Section,
    Terms,
    Text,
    Verdict,
)

MARK = "<!-- skyfan report -->"
"""The page's first line, by which our own files are known."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_LINE_ENDS = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_FENCE = re.compile(r"`{3,}")

Files = dict[str, bytes]
"""Name -> content."""


def to_markdown(document: Document, folder: str) -> tuple[str, Files]:
    """Return the page, and the files that it shows.

    Parameters
    ----------
    document : Document
    folder : str
        Name of the folder that the files will lie in, beside the page.
    """
    found: Files = {}
    lines = [MARK, "", f"# {escaped(document.title)}", "", escaped(document.made_by), ""]
    lines += [f"**{escaped(document.overall)}**", ""] if document.overall else []
    for verdict in document.verdicts:
        lines += _verdict(verdict, several=len(document.verdicts) > 1)
    for section in document.sections:
        lines += _section(section, folder, found)
    return "\n".join(lines).rstrip() + "\n", found


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", _LINE_ENDS.sub(" ", text))


def _verdict(verdict: Verdict, *, several: bool) -> Iterator[str]:
    run = f" {escaped(verdict.run)}:" if several else ""
    yield f"**{'✓' if verdict.good else '✕'}{run} {escaped(verdict.headline)}**"
    yield ""
    yield escaped(verdict.sentence)
    yield ""
    yield from (f"- **{escaped(line)}**" for line in verdict.advice)
    if verdict.advice:
        yield ""
    yield from _table(("", "", ""), verdict.figures)


def _section(section: Section, folder: str, found: Files) -> Iterator[str]:
    yield from (f"## {escaped(section.title)}", "", escaped(section.intro), "")
    for block in section.blocks:
        yield from _block(block, folder, found)


def _block(block: Block, folder: str, found: Files) -> Iterator[str]:
    match block:
        case Text():
            yield from (escaped(block.text), "")
        case Heading():
            yield from (f"### {escaped(block.text)}", "")
        case Notice():
            yield f"> **{escaped(block.title)}**"
            yield from (f">\n> {escaped(line)}" for line in block.lines)
            yield ""
        case Facts():
            yield from _table(("", "", ""), block.rows)
        case Grid():
            yield from _grid(block)
        case Code():
            yield from _code(block)
        case Terms():
            yield from (f"- **{escaped(word)}**: {escaped(meaning)}" for word, meaning in block.rows)
            yield ""
        case Figure():
            yield from _figure(block, folder, found)
        case Gallery():
            yield from _gallery(block, folder, found)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] | None = None) -> Iterator[str]:
    sides = ["---" if words is None or number in words else "---:" for number in range(len(head))]
    yield from (f"| {' | '.join(cells)} |" for cells in (map(escaped, head), sides))
    yield from (f"| {' | '.join(map(escaped, row))} |" for row in rows)
    yield ""


def _grid(block: Grid) -> Iterator[str]:
    if block.caption:
        yield from (f"**{escaped(block.caption)}**", "")
    yield from _table(block.head, block.rows, (*block.words, *block.codes))
    for note in block.notes:
        yield from (escaped(note), "")


def _code(block: Code) -> Iterator[str]:
    if block.title:
        yield from (f"**{escaped(block.title)}**", "")
    fence = "`" * max(3, 1 + max((len(run) for run in _FENCE.findall(block.text)), default=0))
    yield from (f"{fence}{block.language}", block.text, fence, "")


def _figure(block: Figure, folder: str, found: Files) -> Iterator[str]:
    name = f"{block.name}.{block.kind}"
    found[name] = block.data
    yield from (f"![{escaped(block.alt)}]({folder}/{name})", "")
    if block.caption:
        yield from (escaped(block.caption), "")


def _gallery(block: Gallery, folder: str, found: Files) -> Iterator[str]:
    rows = []
    for number, card in enumerate(block.cards, 1):
        name = f"{block.name}-{number}.png"
        shown = escaped(card.problem)
        if card.png is not None:
            found[name] = card.png
            shown = f"![{escaped(card.alt)}]({folder}/{name})"
        rows.append(f"| {shown} | {escaped(card.title)} | {escaped('; '.join(card.lines))} |")
    yield from ("| image | object | |", "| --- | --- | --- |", *rows, "")
