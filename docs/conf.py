"""How Sphinx builds the documentation: strictly, and without a network."""

import re
from typing import Any

import msgspec

from skyfan import __version__

project = "skyfan"
author = "the skyfan developers"
copyright = "the skyfan developers"  # noqa: A001  (Sphinx calls it so)
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "literal"

myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False

ARRAY_LIKE = re.compile(r"_Buffer \| [^:]*?_NestedSequence\[complex \| bytes \| str\]")

html_theme = "furo"
html_title = "skyfan"


def escape_bars(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Keep |dz| in a docstring from being read as a substitution."""
    lines[:] = [re.sub(r"\|(\w+)\|", r"\\|\1\\|", line) for line in lines]


def short_signature(
    _app: Any, what: str, _name: str, described: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Leave out the fields of stored types, which the reference has in tables, and what numpy means by ArrayLike."""
    if what == "class" and issubclass(described, msgspec.Struct):
        return "", None
    return (ARRAY_LIKE.sub("ArrayLike", signature), returned) if signature else None


def setup(app: Any) -> None:
    """Connect what docstrings and signatures need before they are parsed."""
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("autodoc-process-signature", short_signature)
