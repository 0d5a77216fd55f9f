"""The figures of a benchmark, each as PNG and SVG. The colours are for colour-blind readers too."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis as MplAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from skyfan.bench.charts import PHASES, Chart, Panel, Series, Stack, charts
from skyfan.bench.measurement import Measurement
from skyfan.bench.table import escaped
from skyfan.bench.table import figure as number
from skyfan.blob import write_whole
from skyfan.errors import InputError
from skyfan.plots import BLACK, BLUE, GREY, ORANGE, STYLE

DPI = 150
PAGE = "figures.md"
LOG_FROM = 8.0
"""An axis is logarithmic where its greatest value is so many times its least."""
ASIDE = 0.005
"""Share of an axis that lines are shifted against each other."""
CLOSEST = 0.055
"""Share of an axis that two of its labels are apart at least."""

# after Okabe & Ito 2008, "Color Universal Design"
GREEN, SKY, PURPLE, AMBER = "#009e73", "#56b4e9", "#cc79a7", "#e69f00"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
PHASE_COLOURS = dict(zip(PHASES, (PURPLE, SKY, AMBER, GREEN, BLUE, BLACK, ORANGE, GREY), strict=True))
PHASE_WORDS = {"model": "load model", "open": "open", "hash": "hash", "read": "read", "predict": "predict"}
WHOLE_PHASES = ("predict", "script")
"""What most of the time goes to; beside it nothing else can be seen."""


class Picture(NamedTuple):
    """One figure for a page."""

    title: str
    caption: str
    svg: bytes


def draw_figures(measurements: Iterable[Measurement], folder: str | Path) -> list[Path]:
    """Draw every figure that the runs allow into a folder, as PNG and SVG, and figures.md with their captions.

    That page also says which are left out, and why. The same measurements give the same bytes. Each file is written
    whole or not at all.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    folder = Path(folder)
    files = []
    drawn, left_out = charts(measurements)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for chart in drawn:
            for suffix, data in _rendered(chart, ("png", "svg")).items():
                file = folder / f"{chart.name}.{suffix}"
                write_whole(file, data)
                files.append(file)
        page = folder / PAGE
        write_whole(page, _page(drawn, left_out).encode())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: the figures cannot be written ({error}); name another folder") from error
    return [*files, page]


def figure_svgs(measurements: Iterable[Measurement]) -> dict[str, Picture]:
    """Return every figure that the runs allow, by name; title and caption are plain text, not escaped."""
    return {
        chart.name: Picture(chart.title, chart.caption, _rendered(chart, ("svg",))["svg"])
        for chart in charts(measurements)[0]
    }


def _page(drawn: Sequence[Chart], left_out: Mapping[str, str]) -> str:
    lines = ["# Figures", ""]
    for chart in drawn:
        lines += [f"## {chart.title}", "", f"![{chart.title}]({chart.name}.png)", "", escaped(chart.caption), ""]
    if left_out:
        lines += ["## Left out", "", *(f"- {name}: {reason}" for name, reason in left_out.items()), ""]
    return "\n".join(lines)


def _rendered(chart: Chart, formats: Sequence[str]) -> dict[str, bytes]:
    with mpl.rc_context(STYLE):
        drawn = _stacked(chart) if chart.stacks else _lined(chart)
        canvas = FigureCanvasAgg(drawn)
        drawn.suptitle(chart.title, fontsize=13, fontweight="bold", x=0.02, ha="left")
        found = {}
        for suffix in formats:
            buffer = io.BytesIO()
            metadata: dict[str, Any] = {"Date": None} if suffix == "svg" else {}
            canvas.print_figure(buffer, format=suffix, dpi=DPI, metadata=metadata)
            found[suffix] = buffer.getvalue()
    return found


def _layout() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.04)


def _lined(chart: Chart) -> Figure:
    """Draw panels side by side, and one legend for all outside of them."""
    drawn = Figure(figsize=(1.7 + 4.3 * len(chart.panels), 4.4), layout=_layout())
    handles: dict[str, Any] = {}
    labels = sorted({(series.style, series.colour) for panel in chart.panels for series in panel.series})
    for axes, panel in zip(drawn.subplots(1, len(chart.panels), squeeze=False)[0], chart.panels, strict=True):
        barred = any(point.low < point.high for series in panel.series for point in series.points)
        for series in panel.series:
            place = labels.index((series.style, series.colour)) - (len(labels) - 1) / 2
            handles.setdefault(series.label, _line(axes, series, place if barred else 0.0))
        if panel.ideal:
            handles["ideal"] = axes.plot(
                *zip(*panel.ideal, strict=True), color="#555555", linestyle=(0, (4, 3)), zorder=1
            )[0]
        _frame(axes, panel, [other for other in chart.panels if other.y_label == panel.y_label])
    if len(handles) > 1:
        drawn.legend(
            handles.values(),
            handles.keys(),
            loc="outside right upper",
            title=chart.legend,
            alignment="left",
            fontsize=10,
        )
    return drawn


def _line(axes: Axes, series: Series, place: float) -> Any:
    """Draw a line, a little beside the others: bars of lines that nearly coincide would hide each other."""
    points = series.points
    aside = (points[-1].x / points[0].x) ** (ASIDE * place) if points[0].x > 0 else 1.0
    y = [point.y for point in points]
    reach = [[point.y - point.low for point in points], [point.high - point.y for point in points]]
    style = series.style % len(LINES)
    return axes.errorbar(
        [point.x * aside for point in points],
        y,
        yerr=reach if any(map(any, reach)) else None,
        color=COLOURS[series.colour % len(COLOURS)],
        marker=MARKERS[series.colour % len(MARKERS)],
        markerfacecolor=COLOURS[series.colour % len(COLOURS)] if style == 0 else "white",
        linestyle=LINES[style],
        linewidth=1.8,
        markersize=6,
        capsize=3,
        zorder=3,
    )


def _frame(axes: Axes, panel: Panel, alike: Sequence[Panel]) -> None:
    """Choose scales, limits and ticks by the range of what is shown; panels of the same quantity have the same."""
    points = [point for each in alike for series in each.series for point in series.points]
    x = sorted({point.x for point in points})
    y = [value for point in points for value in (point.low, point.high)]
    y += [value for each in alike for _, value in each.ideal]
    if x[0] > 0 and x[-1] >= LOG_FROM / 2 * x[0]:
        axes.set_xscale("log", base=2)
        pad = (x[-1] / x[0]) ** 0.06
        axes.set_xlim(x[0] / pad, x[-1] * pad)
    else:
        axes.set_xlim(x[0] - 0.07 * (x[-1] - x[0]), x[-1] + 0.07 * (x[-1] - x[0]))
    axes.xaxis.set_major_locator(FixedLocator(_apart(x, logarithmic=axes.get_xscale() == "log")))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{float(f'{value:.3g}'):,.9g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    if min(y) > 0 and max(y) >= LOG_FROM * min(y):
        axes.set_yscale("log")
        axes.set_ylim(min(y) / 1.25, max(y) * 1.25)
        several = max(y) > 300 * min(y)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if several else (1.0, 2.0, 5.0), numticks=12))
    else:
        axes.set_ylim(0, 1.12 * max(y) or 1)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    _plain(axes.yaxis)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(panel.title, pad=8)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)


def _plain(axis: MplAxis) -> None:
    """Label an axis with numbers as they are written, not as powers."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.9f}".rstrip("0").rstrip(".")))
    axis.set_minor_locator(NullLocator())


def _apart(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    """Return those of the values that have room for a label, the last one always."""
    at = [math.log(value) if logarithmic else value for value in values]
    room = CLOSEST * (at[-1] - at[0])
    kept = [len(at) - 1]
    for place in reversed(range(len(at) - 1)):
        if at[kept[-1]] - at[place] >= room:
            kept.append(place)
    return [values[place] for place in reversed(kept)]


def _stacked(chart: Chart) -> Figure:
    """Draw one bar per configuration, split by phase; beside it the small phases alone, so that they can be seen."""
    drawn = Figure(figsize=(10.5, 1.9 + 0.55 * len(chart.stacks)), layout=_layout())
    whole, rest = drawn.subplots(1, 2, sharey=True)
    phases = [name for name in PHASES if any(stack.seconds.get(name, 0.0) > 0 for stack in chart.stacks)]
    largest = next((name for name in WHOLE_PHASES if name in phases), WHOLE_PHASES[0])
    for axes, names in ((whole, phases), (rest, [name for name in phases if name != largest])):
        _bars(axes, chart.stacks, names)
    whole.set_title("All phases")
    rest.set_title(f"Without '{largest}'")
    handles, labels = whole.get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=10)
    return drawn


def _bars(axes: Axes, stacks: Sequence[Stack], phases: Sequence[str]) -> None:
    places = list(range(len(stacks)))
    left = [0.0] * len(stacks)
    for name in phases:
        width = [stack.seconds.get(name, 0.0) for stack in stacks]
        label = PHASE_WORDS.get(name, name)
        axes.barh(places, width, left=left, height=0.62, color=PHASE_COLOURS[name], label=label, linewidth=0)
        left = [start + more for start, more in zip(left, width, strict=True)]
    most = max(left, default=0.0) or 1.0
    for place, end in zip(places, left, strict=True):
        axes.text(end + 0.015 * most, place, f"{number(end)} s", va="center", fontsize=10)
    axes.set_yticks(places, [stack.label for stack in stacks])
    axes.set_ylim(len(stacks) - 0.5, -0.5)
    axes.set_xlim(0, 1.17 * most)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    _plain(axes.xaxis)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("seconds of one worker")
