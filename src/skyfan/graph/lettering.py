"""How wide text is, where it breaks, and which characters can be drawn at all."""

import itertools
import re
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ELLIPSIS = "…"
BOLD = 1.15
"""How much wider bold is: DejaVu Sans Bold by DejaVu Sans, over names of states."""

# advance widths of " " to "~" in DejaVu Sans 2.37, the widest of the fonts that the pictures name, in 1/100 em
_ASCII = (
    "32 40 46 84 64 95 78 27 39 39 50 84 32 36 32 34 64 64 64 64 64 64 64 64 64 64 34 34 84 84 84 53 "
    "100 68 69 70 77 63 58 77 75 29 29 66 56 86 75 79 60 79 69 63 61 73 68 99 69 61 69 39 34 39 84 50 "
    "50 61 63 55 63 62 35 63 63 28 28 58 28 97 63 61 63 63 41 52 39 63 59 82 59 59 52 64 34 64 84"
)
_WIDTHS = {chr(32 + number): int(width) / 100 for number, width in enumerate(_ASCII.split())}
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_UNDRAWN = {"Cc", "Cf", "Cn", "Co", "Cs"}
_BREAK = re.compile(r"(?<=[._/,:;-])|(?<=[a-z0-9])(?=[A-Z])")


def printable(text: str) -> str:
    """Return text in one line without characters that XML forbids, or that change the direction of what follows."""
    shown = "".join(
        REPLACEMENT if unicodedata.category(letter) in _UNDRAWN and letter not in _JOINERS else letter
        for letter in re.sub(r"\s+", " ", text)
    )
    return shown.strip()


def width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of text in px at a font size in px, or a little more."""
    return sum(map(_letter, text)) * size * (BOLD if bold else 1.0)


def cut(text: str, size: float, limit: float, *, bold: bool = False) -> str:
    """Return text that is no wider than `limit`, its end replaced by an ellipsis where it has to be."""
    if width(text, size, bold=bold) <= limit:
        return text
    room = limit / (size * (BOLD if bold else 1.0)) - _letter(ELLIPSIS)
    ends = itertools.accumulate(map(_letter, text))
    return text[: sum(end <= room for end in ends)].rstrip() + ELLIPSIS


def wrapped(text: str, size: float, limit: float, most: int, *, bold: bool = False) -> tuple[str, ...]:
    """Return text in lines no wider than `limit`, at most `most`.

    It breaks at spaces; words that are too wide also after punctuation and in CamelCase; else they are cut.
    """
    lines = [""]
    words = re.split(r"(?<= )", text)
    whole = [[word] if width(word.rstrip(), size, bold=bold) <= limit else _BREAK.split(word) for word in words]
    for piece in itertools.chain.from_iterable(whole):
        if width(lines[-1] + piece.rstrip(), size, bold=bold) <= limit or not lines[-1]:
            lines[-1] += piece
        else:
            lines.append(piece)
    if len(lines) > most:
        lines[most - 1 :] = ["".join(lines[most - 1 :])]
    return tuple(cut(line.strip(), size, limit, bold=bold) for line in lines)


def balanced(text: str, size: float, limit: float, most: int) -> tuple[str, ...]:
    """Return text in as few lines as `wrapped` does, of about one width."""
    lines = wrapped(text, size, limit, most)
    for part in (0.5, 0.6, 0.7, 0.8, 0.9):
        narrower = wrapped(text, size, limit * part, most)
        if len(narrower) == len(lines) and "".join(narrower).replace(" ", "") == "".join(lines).replace(" ", ""):
            return narrower
    return lines


def _letter(letter: str) -> float:
    """Return the width of a character in em."""
    known = _WIDTHS.get(letter)
    if known is not None:
        return known
    if unicodedata.combining(letter) or letter in _JOINERS:
        return 0.0
    return 1.1 if unicodedata.east_asian_width(letter) in {"W", "F"} else 0.85
