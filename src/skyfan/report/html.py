"""A report as one HTML file that needs nothing else: no network, no script."""

import base64
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skyfan.report.document import WIDE, Document, Figure

MARK = "skyfan report"
"""Of the page's `generator`, by which our own files are known."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load and run: nothing but the images in the page. No script runs, whoever put it there."""


def to_html(document: Document) -> str:
    """Return the page; all that is text is escaped."""
    environment = Environment(
        loader=PackageLoader("skyfan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"picture": _picture, "kind": lambda block: type(block).__name__.lower(), "png": _png}
    style = Markup((files("skyfan.report") / "templates" / "style.css").read_text())  # noqa: S704  ours, not input
    return environment.get_template("report.html.jinja").render(
        document=document, style=style, mark=MARK, policy=POLICY, wide=WIDE
    )


def _picture(figure: Figure) -> Markup:
    """Return a figure: drawn in place if it is an SVG of our own, else as an image, in which nothing can run."""
    if figure.inline and figure.kind == "svg":
        return Markup(figure.data.decode())  # noqa: S704  its makers escape every text in it
    kind = "image/svg+xml" if figure.kind == "svg" else "image/png"
    return Markup('<img src="data:{};base64,{}" alt="{}">').format(
        kind, base64.b64encode(figure.data).decode(), figure.alt
    )


def _png(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
