"""The figures and tables of docs/scale.md, from what benchmarks/scale_curves.py has recorded.

python benchmarks/scale_page.py    # writes them anew, and measures and simulates nothing
"""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from skyfan.plots import STYLE
from skyfan.wording import duration

HERE = Path(__file__).parent
RESULT = HERE / "results" / "2026-11-24-scale.json"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "scale.md"
SIZES = ("25MB", "50MB", "100MB")
CONCURRENCY = (1_000, 10_000)
COLOURS = {"25MB": "#0072b2", "50MB": "#d55e00", "100MB": "#000000"}

STEADY = 0.10
"""Change of a worker's speed from the short run before to that after: above it, the machine was not the same."""

Figures = dict[str, Any]


def draw(result: Figures) -> None:
    """Draw the figures of docs/scale.md."""
    with mpl.rc_context(STYLE | {"svg.fonttype": "none"}):
        _page("scale-time", result, ("data, GiB", "map, s"), lambda item: item["map_s"])
        _page("scale-cost", result, ("data, GiB", "cost, USD"), lambda item: item["usd"])
        figure, axes = _figure(1)
        for size, curve in result["ramp"].items():
            seconds, tasks = zip(*curve, strict=True)
            axes[0].plot(seconds, tasks, label=f"{size} partitions", color=COLOURS.get(size, "#009e73"))
        axes[0].set(xlabel="since the map began, s", ylabel="tasks under way", xlim=(0, 240), ylim=(0, None))
        axes[0].legend()
        _save(figure, "scale-ramp")


def _page(name: str, result: Figures, labels: tuple[str, str], value: Any) -> None:
    figure, axes = _figure(len(CONCURRENCY))
    for axis, concurrency in zip(axes, CONCURRENCY, strict=True):
        for size in SIZES:
            chosen = [
                item for item in result["curves"] if (item["partition"], item["concurrency"]) == (size, concurrency)
            ]
            gib = [item["bytes"] / 1024**3 for item in chosen]
            low, middle, high = zip(*map(value, chosen), strict=True)
            axis.plot(gib, middle, color=COLOURS[size], label=size)
            axis.fill_between(gib, low, high, color=COLOURS[size], alpha=0.10, linewidth=0)
        axis.set(xscale="log", yscale="log", title=f"{concurrency:,} at a time", xlabel=labels[0], ylabel=labels[1])
    axes[0].legend(title="partitions")
    _save(figure, name)


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.6 * columns + 1.2, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(np.atleast_1d(figure.subplots(1, columns, sharey=True)))


def _save(figure: Figure, name: str) -> None:
    figure.savefig(DOCS / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")


def tables(result: Figures) -> dict[str, str]:
    """Return the tables of the page, by the name of their place."""
    sizes = [
        "| what | tasks | workers | map | whole run | USD |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {row['tasks']:,} | {row['started']:,} | {_likely(row['map_s'], duration)} | "
            f"{_likely(row['run_s'], duration)} | {_likely(row['usd'], _usd)} |"
            for name, row in result["table"].items()
        ),
    ]
    exact = [
        "| at a time | seed | played | map off by | worker-seconds off by | s, all played | s, reckoned |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row['concurrency']:,} | {row['seed']} | {row['played']:,} | {row['map_off']:+.2%} | "
            f"{row['busy_off']:+.2%} | {row['exact_s']} | {row['reckoned_s']} |"
            for row in result["exact"]
            if "seed" in row
        ),
    ]
    return {"table": _lines(sizes), "exact": _lines(exact), "held": _lines(_held(result))}


def _held(result: Figures) -> list[str]:
    """Say of each predicted run what was measured / predicted, and how often the machine was steady."""
    if "held" not in result:
        return ["Not measured yet."]
    held = result["held"]
    rows = []
    for name, pairs in held["map_run_drift"].items():
        median = held["medians_where_steady"][name]
        steady = sum(drift <= STEADY for _, _, drift in pairs)
        said = f"{median[0]:.2f} | {median[1]:.2f}" if median else "not steady | not steady"
        rows.append(f"| {name} | {said} | {steady} of {len(pairs)} |")
    said = f"On {result['machine']}. A round counts if the machine's own speed changed by less than {STEADY:.0%}."
    return [
        said,
        "",
        "| run | map, measured / predicted | whole run, measured / predicted | rounds |",
        "| --- | --- | --- | --- |",
        *rows,
    ]


def write_page(result: Figures) -> None:
    """Put the tables into the page."""
    text = PAGE.read_text()
    for name, table in tables(result).items():
        place = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text, found = place.subn(lambda match, table=table: match[1] + table + match[2], text)
        assert found == 1, name
    PAGE.write_text(text)


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _likely(values: list[float], shown: Any) -> str:
    low, middle, high = map(shown, values)
    return f"{middle} ({low} to {high})"


def _usd(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    recorded = json.loads(RESULT.read_text())
    draw(recorded)
    write_page(recorded)
