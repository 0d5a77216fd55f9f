"""What each figure of a benchmark shows: its panels, lines and bars, and the words below it. Nothing is drawn here."""

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, structs

from skyfan.bench.axes import AXES, MB_PER_GB
from skyfan.bench.groups import Group, Quantiles
from skyfan.bench.measurement import Measurement
from skyfan.bench.slices import MOST_ORIGINS, Runs, Selection, settled
from skyfan.bench.table import MARKS, of_prices

PHASES = ("model", "open", "hash", "read", "predict", "script", "write", "other")
MEDIANS = "Each phase is its own median over the runs; the number beside a bar is their sum, which no run need have. "
SMALL_GB = 0.5
"""Below it, data sizes are in MB."""


class Point(Struct, frozen=True):
    """A median, and the least and greatest of the repeats."""

    x: float
    y: float
    low: float
    high: float


class Series(Struct, frozen=True):
    """One line."""

    label: str
    colour: int
    """By the value that the lines differ in."""
    style: int
    """By whose runs they are."""
    points: tuple[Point, ...]


class Panel(Struct, frozen=True):
    """One pair of axes."""

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    ideal: tuple[tuple[float, float], ...] = ()
    """A line to hold the others against."""


class Stack(Struct, frozen=True):
    """One bar of seconds by phase."""

    label: str
    seconds: dict[str, float]


class Chart(Struct, frozen=True, kw_only=True):
    """One figure."""

    name: str
    title: str
    caption: str
    legend: str = ""
    panels: tuple[Panel, ...] = ()
    stacks: tuple[Stack, ...] = ()


class Wanted(Struct, frozen=True):
    """A figure with lines, as it should be if the runs allow it."""

    title: str
    x: str
    line: str
    panels: tuple[tuple[str, str, str], ...]
    """Field of the measurement, title, label of the ordinate."""
    about: str


ORIGINALS_TIME = ("seed_avg_runtime_s", "Mean of a task: the original's 'avg runtime'", "seconds of a task")

WANTED = {
    "data-time": Wanted(
        "Data size against time",
        "data",
        "partition",
        (("run_wall_s", "Whole run, by the wall clock", "seconds of a run"), ORIGINALS_TIME),
        "The wall clock of a run is from the driver's start to its summary.",
    ),
    "data-throughput": Wanted(
        "Data size against throughput",
        "data",
        "partition",
        (
            ("rows_per_s_run_wall", "By the wall clock of the run", "rows/s"),
            ("rows_per_s_workers_sum", "Sum of the workers' rates", "rows/s"),
            (
                "seed_throughput_gb_s",
                "Original's 'throughput MB/s' (is GB/s)",
                "GB/s, all data / mean time of one worker",
            ),
        ),
        "The sum of the workers' rates is what they would reach if never idle. The original's column divides all data "
        "by the mean time of one worker.",
    ),
    "batch": Wanted(
        "Batch size against time and throughput",
        "batch",
        "partition",
        (
            ("run_wall_s", "Whole run, by the wall clock", "seconds of a run"),
            ("rows_per_s_run_wall", "Throughput by the wall clock of the run", "rows/s"),
            ORIGINALS_TIME,
        ),
        "",
    ),
    "cost": Wanted(
        "Cost against partition size",
        "partition",
        "data",
        (
            ("cost_usd", "Cost", "USD"),
            ("seed_cost_usd", "By the original's formula, which is no bill", "USD, memory used times mean time"),
        ),
        "The original's formula takes the memory used and the mean time of a worker; AWS bills the memory configured "
        "and all of the time.",
    ),
}
Measured = Callable[[Group], Quantiles | None]
X_LABELS = {"batch": "batch size, rows", "partition": "partition size, MB", "workers": "workers"}


def charts(measurements: Iterable[Measurement]) -> tuple[list[Chart], dict[str, str]]:
    """Return every figure that the runs allow, and for every other one the reason why there is none.

    Parameters
    ----------
    measurements : iterable of Measurement
        Those that are not complete are in no figure.

    Returns
    -------
    charts, left_out : list of Chart, dict of str to str
        By name, each name in one of the two.
    """
    runs = Runs(measurements)
    drawn: list[Chart] = []
    reasons: dict[str, str] = {}
    for name, made in (
        *((name, _lines(name, wanted, runs)) for name, wanted in WANTED.items()),
        ("phases", _phases(runs)),
        ("scaling", _scaling(runs)),
    ):
        if isinstance(made, Chart):
            drawn.append(made)
        else:
            reasons[name] = made
    return drawn, reasons


def _lines(name: str, wanted: Wanted, runs: Runs) -> Chart | str:
    fields = [field for field, _, _ in wanted.panels]
    selections = runs.select(wanted.x, wanted.line, fields)
    x_label, scale = _abscissa(wanted.x, runs)
    panels, about = [], wanted.about
    drawn = [group for item in selections[:MOST_ORIGINS] for group in item.groups]
    for field, title, y_label in wanted.panels:
        series = _series(selections, wanted.line, lambda group, field=field: group.quantiles(field), scale)  # type: ignore[misc]
        if series:
            kinds = ""
            if field == "cost_usd":
                kinds, about = _cost_kinds(drawn), " ".join([about, *of_prices(drawn)])
            panels.append(Panel(title + kinds, x_label, y_label, series))
    if not panels:
        return runs.why_not(wanted.x, fields)
    return Chart(
        name=name,
        title=wanted.title,
        caption=_caption(selections, wanted.line, panels, about),
        legend=AXES[wanted.line].noun,
        panels=tuple(panels),
    )


def _cost_kinds(drawn: Sequence[Group]) -> str:
    """Return what the costs of a figure are."""
    kinds = {group.cost_kind for group in drawn} - {""}
    return f": {', '.join(sorted(kinds))}" if kinds else ""


def _abscissa(x: str, runs: Runs) -> tuple[str, float]:
    """Return the label of an abscissa, and what its values are multiplied by."""
    if x != "data":
        return X_LABELS[x], 1.0
    small = max(runs.values(x), default=1.0) < SMALL_GB
    return ("data size, MB", float(MB_PER_GB)) if small else ("data size, GB", 1.0)


def _series(selections: Sequence[Selection], line: str, of: Measured, scale: float = 1.0) -> tuple[Series, ...]:
    """Return a line for each value of `line` that has two points or more, by origin."""
    shown = selections[:MOST_ORIGINS]
    values = sorted({value for item in shown for value in item.lines if value is not None})
    labels = AXES[line].labels([*values, None])
    found = []
    for style, selection in enumerate(shown):
        for value, members in selection.lines.items():
            points = []
            for x, group in members.items():
                spread = of(group)
                if spread is not None:
                    points.append(Point(x * scale, spread.median, spread.min, spread.max))
            if len(points) > 1:
                mark = f"{MARKS[selection.mark % len(MARKS)]}: " if len(selections) > 1 else ""
                colour = values.index(value) if value is not None else len(values)
                found.append(Series(mark + labels[value], colour, style, tuple(points)))
    return tuple(found)


def _caption(selections: Sequence[Selection], line: str, panels: Sequence[Panel], about: str) -> str:
    series = [item for panel in panels for item in panel.series]
    labels = {item.label for item in series}
    only = f"{AXES[line].noun.capitalize()}: {labels.pop()}." if len(labels) == 1 else ""
    several = any(point.low < point.high for item in series for point in item.points)
    bars = (
        "Medians over complete runs; bars reach from the least to the greatest, lines are set slightly apart."
        if several
        else ""
    )
    return " ".join(text for text in (only, settled(selections), bars, about) if text)


def _phases(runs: Runs) -> Chart | str:
    """Stack the seconds of one worker by phase, over partition sizes, or over batch sizes if these differ."""
    fields = [f"{name}_s" for name in PHASES]
    for x, line in (("partition", "data"), ("batch", "data")):
        selections = runs.select(x, line, fields)
        if selections:
            selection = selections[0]
            value, members = max(selection.lines.items(), key=lambda item: (len(item[1]), item[0] or 0.0))
            shown = structs.replace(selection, lines={value: members})
            said = settled([shown, *selections[1:]], most=1)
            stacks = [Stack(AXES[x].shown(place), _shares(group)) for place, group in members.items()]
            sums = MEDIANS if any(len(group.used) > 1 for group in members.values()) else ""
            of = f"{AXES[line].noun.capitalize()}: {AXES[line].shown(value)}."
            what = "Seconds of one worker: those of all tasks divided by the number of workers."
            return Chart(
                name="phases",
                title=f"Where a worker's time goes, by {AXES[x].noun}",
                caption=f"{what} {sums}{of} {said}",
                stacks=tuple(stacks),
            )
    return "; ".join(dict.fromkeys(runs.why_not(x, fields) for x in ("partition", "batch")))


def _shares(group: Group) -> dict[str, float]:
    workers = group.configuration.workers or group.configuration.tasks or 1
    found = {name: group.median(f"{name}_s") for name in PHASES}
    return {name: seconds / workers for name, seconds in found.items() if seconds is not None}


def _scaling(runs: Runs) -> Chart | str:
    """Hold runs with more workers against the one with fewest, by the wall clock of the run."""
    selections = runs.select("workers", "partition", ["run_wall_s"])
    faster: list[Series] = []
    efficient: list[Series] = []
    lines = _series(selections, "partition", lambda group: group.quantiles("run_wall_s"))
    least = min((series.points[0].x for series in lines), default=1.0)
    for series in lines:
        first = series.points[0]
        start = first.y * first.x / least  # so that one ideal line is that of every line, wherever it starts
        times = [Point(p.x, start / p.y, start / p.high, start / p.low) for p in series.points]
        shares = [Point(p.x, *(100 * value * least / p.x for value in (p.y, p.low, p.high))) for p in times]
        faster.append(Series(series.label, series.colour, series.style, tuple(times)))
        efficient.append(Series(series.label, series.colour, series.style, tuple(shares)))
    if not faster:
        return runs.why_not("workers", ["run_wall_s"])
    most = max(series.points[-1].x for series in faster)
    panels = [
        Panel("Speed-up", "workers", "times as fast", tuple(faster), ((least, 1.0), (most, most / least))),
        Panel("Efficiency", "workers", "% of ideal", tuple(efficient), ((least, 100.0), (most, 100.0))),
    ]
    late = any(series.points[0].x > least for series in lines)
    about = "By the wall clock of the whole run, against the fewest workers of the same line; dashed: ideal."
    about += " A line that starts at more workers than others starts on the ideal." if late else ""
    return Chart(
        name="scaling",
        title="Scaling with the number of workers",
        caption=_caption(selections, "partition", panels, about),
        legend=AXES["partition"].noun,
        panels=tuple(panels),
    )
