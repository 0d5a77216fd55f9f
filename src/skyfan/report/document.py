"""What a report is made of, before it is HTML or Markdown: sections, and in them text, tables and figures.

Whatever a run's files say is put in as it is; the writers of the two forms escape it.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

WIDE = 12
"""A table with more columns is for a wide page; a narrow one scrolls it."""

Level = Literal["good", "bad", "note"]


class Text(Struct, frozen=True, tag=True):
    """A paragraph."""

    text: str


class Heading(Struct, frozen=True, tag=True):
    """A heading within a section."""

    text: str


class Notice(Struct, frozen=True, tag=True):
    """What must not be overlooked."""

    level: Level
    title: str
    lines: tuple[str, ...] = ()


class Facts(Struct, frozen=True, tag=True):
    """Names and their values."""

    rows: tuple[tuple[str, str, str], ...]
    """Name, value, and what it means; the last may be empty."""


class Grid(Struct, frozen=True, tag=True):
    """A table."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    """Below it."""
    words: tuple[int, ...] = (0,)
    """Columns that hold words; the others hold numbers and are set flush right."""
    codes: tuple[int, ...] = ()
    """Columns of hashes and times: words whose every sign counts."""
    marked: tuple[int, ...] = ()
    """Rows that say that something is wrong."""

    @property
    def stacks(self) -> bool:
        """Whether a narrow page shows its cells below each other: a second column of words has no room beside one."""
        return len(self.words) + len(self.codes) > 1 and len(self.head) <= WIDE


class Figure(Struct, frozen=True, tag=True):
    """A picture."""

    name: str
    """Of its file, without the ending."""
    data: bytes
    kind: Literal["svg", "png"]
    alt: str
    """What is to be seen, in words."""
    caption: str = ""
    inline: bool = False
    """An SVG of our own, drawn in the page's colours; anything else is put in as an image, which can run nothing."""
    half: bool = False
    """Two stand side by side where there is room."""


class Code(Struct, frozen=True, tag=True):
    """Text of a machine: JSON, commands, or what a program printed."""

    text: str
    language: Literal["json", "shell", "text"]
    title: str = ""


class Card(Struct, frozen=True):
    """One image of the gallery."""

    title: str
    lines: tuple[str, ...]
    png: bytes | None
    """None if it cannot be shown; `problem` then says why."""
    alt: str = ""
    problem: str = ""


class Gallery(Struct, frozen=True, tag=True):
    """Small images side by side."""

    name: str
    """Their files' names begin with it."""
    cards: tuple[Card, ...]


class Terms(Struct, frozen=True, tag=True):
    """Words and what they mean."""

    rows: tuple[tuple[str, str], ...]


Block = Text | Heading | Notice | Facts | Grid | Figure | Code | Gallery | Terms


class Section(Struct, frozen=True):
    """A part of the report."""

    id: str
    title: str
    intro: str
    """One or two sentences on what it is."""
    blocks: tuple[Block, ...]


class Verdict(Struct, frozen=True):
    """What became of one run, at a glance."""

    run: str
    good: bool
    headline: str
    """As `Complete`."""
    sentence: str
    advice: tuple[str, ...]
    """What is wrong, and what to do; empty if nothing is."""
    figures: tuple[tuple[str, str, str], ...]
    """Name, value, and a remark: rows, wall clock, cost and so on."""


class Document(Struct, frozen=True):
    """A whole report."""

    title: str
    made_by: str
    """Program and time."""
    verdicts: tuple[Verdict, ...]
    overall: str
    """How many runs are complete, and which are not; empty for one run."""
    sections: tuple[Section, ...]


def grid(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    words: Sequence[int] = (0,),
    codes: Sequence[int] = (),
) -> Grid:
    """Return a table of lists."""
    return Grid(tuple(head), tuple(tuple(row) for row in rows), caption, words=tuple(words), codes=tuple(codes))
