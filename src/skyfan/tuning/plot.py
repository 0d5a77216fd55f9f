"""The plot of a recommendation: every way to run by wall clock and cost, the frontier, and what was picked."""

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from skyfan.errors import InputError
from skyfan.plots import BLACK, BLUE, GREY, ORANGE, STYLE
from skyfan.tuning.recommendation import Recommendation, Way

SUFFIXES = (".svg", ".png")
ROOM = 1.15
"""Around the points, as a factor."""


def check_target(file: Path) -> None:
    """Refuse a file that no plot can be written to, before anything is measured.

    Raises
    ------
    InputError
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"plot {file}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if not file.absolute().parent.is_dir():
        raise InputError(f"plot {file}: there is no folder {file.parent}; expected one: make it first")


def draw(found: Recommendation, suffix: str) -> bytes:
    """Return the plot of a recommendation as the content of a file whose name ends in one of `SUFFIXES`."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 6.0), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _points(axes, found)
        _limits(axes, found)
        _frame(axes, found)
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        figure.suptitle(f"{_plain(found.run)}: {found.tried:,} ways to run", fontsize=10, color="#555555")
        form, drawn = suffix.lower().removeprefix("."), io.BytesIO()
        metadata = {"Date": None} if form == "svg" else {}
        canvas.print_figure(drawn, format=form, dpi=150, metadata=metadata)
        return drawn.getvalue()


def _points(axes: Axes, found: Recommendation) -> None:
    for ways, colour, marker, label in (
        ([way for way in found.others if not way.cut_anew], GREY, "o", "another way"),
        ([way for way in found.others if way.cut_anew], GREY, "^", "partitions cut anew"),
    ):
        if ways:
            axes.scatter(*_places(ways), s=22, color=colour, marker=marker, label=label, zorder=2)
    wall_s, usd = _places(found.frontier)
    axes.plot(wall_s, usd, color=BLUE, linewidth=1.4, drawstyle="steps-post", zorder=3)
    for cut_anew, marker in ((False, "o"), (True, "^")):
        ways = [way for way in found.frontier if bool(way.cut_anew) == cut_anew]
        if ways:
            label = "frontier" if not cut_anew else "frontier, cut anew"
            axes.scatter(*_places(ways), s=34, color=BLUE, marker=marker, label=label, zorder=4)
    if found.own is not None:
        axes.scatter(*_places([found.own]), s=70, marker="x", color=BLACK, label="the payload as it is", zorder=5)
    pick = found.pick
    reach = [[0.0], [pick.wall_p90_s - pick.wall_s]], [[0.0], [pick.cost_p90_usd - pick.cost_usd]]
    axes.errorbar(
        *_places([pick]),
        xerr=reach[0],
        yerr=reach[1],
        color=ORANGE,
        linewidth=1.2,
        alpha=0.7,
        capsize=3,
        zorder=5,
        fmt="none",
    )
    label = "recommended, to nine times in ten" if found.met else "nearest to what is wanted"
    axes.scatter(*_places([pick]), s=110, facecolor="none", edgecolor=ORANGE, linewidth=2.2, label=label, zorder=6)


def _places(ways: "list[Way] | tuple[Way, ...]") -> tuple[list[float], list[float]]:
    return [way.wall_s for way in ways], [way.cost_usd for way in ways]


def _limits(axes: Axes, found: Recommendation) -> None:
    wish = found.wish
    if wish.deadline_s is not None:
        axes.axvline(wish.deadline_s, color=BLACK, linestyle="--", linewidth=1, label="deadline")
    if wish.budget_usd is not None:
        axes.axhline(wish.budget_usd, color=BLACK, linestyle=":", linewidth=1, label="budget")


def _frame(axes: Axes, found: Recommendation) -> None:
    money = "bill, USD" if found.engine == "aws" else "core-hours as a share of a rented machine, USD"
    axes.set(xscale="log", yscale="log", xlabel="wall clock of the run, s", ylabel=money)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        low, high = low / ROOM, high * ROOM
        axis.set_view_interval(low, high, ignore=True)
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]) if high / low < 10 else LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:.3g}")
        axis.set_minor_locator(NullLocator())
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    """Return a text that matplotlib takes for no formula."""
    return text.replace("$", r"\$")
