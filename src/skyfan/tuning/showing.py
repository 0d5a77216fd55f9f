"""A recommendation as a person reads it."""

from collections.abc import Sequence

import click

from skyfan.tables import Rows, show
from skyfan.tuning.recommendation import Recommendation, Way
from skyfan.wording import counted, duration

MOST_LINES = 12
SIZES = ("partition MiB", "batch", "threads")
HERE = ("wall clock", "nine of ten", "USD", "tasks", *SIZES, "workers", "worker MiB", "")
AWS = ("wall clock", "nine of ten", "USD", "tasks", *SIZES, "function MB", "processor", "worker MiB", "")


def show_recommendation(found: Recommendation) -> None:
    """Print what is recommended, the frontier, and how sure it is."""
    title = f"{found.run}: {GOALS[found.wish.goal]}{_within(found)}"
    show(title, recommendation_rows(found))
    click.secho("type", bold=True)
    for command in found.commands:
        click.echo(f"  {command}")
    click.echo()
    click.secho("frontier: none of these is both faster and cheaper than another", bold=True)
    for line in frontier_lines(found):
        click.echo(line)
    click.echo()
    show("how sure", [("", text) for text in found.sure])


GOALS = {"cost": "the cheapest", "time": "the fastest", "balanced": "the least cost x time"}


def recommendation_rows(found: Recommendation) -> Rows:
    """Return what is recommended, and what it would come to."""
    pick = found.pick
    where = f"{pick.memory_mb:,} MB, {pick.architecture}" if pick.memory_mb else counted(pick.workers or 0, "worker")
    partitions = (
        f"cut anew to {pick.cut_anew}" if pick.cut_anew else f"as they are, at most {pick.partition_mb:.1f} MiB"
    )
    rows = [
        ("NOT MET", "" if found.met else _missed(found)),
        ("partitions", f"{pick.partitions:,}, {partitions}"),
        ("tasks", f"{pick.tasks:,}" + (" (world_size)" if pick.world_size else ", one per partition")),
        ("batch size", str(pick.batch_size)),
        ("threads", f"{pick.threads} per worker"),
        ("workers", where),
        ("wall clock", f"{seconds(pick.wall_s)}, nine of ten times at most {seconds(pick.wall_p90_s)}"),
        ("cost", f"{pick.cost_usd:.3g} USD, nine of ten times at most {pick.cost_p90_usd:.3g}"),
        ("memory", f"{pick.worker_memory_mb:,.0f} MiB per worker"),
        ("as it is", _compared(found.own, pick)),
        ("tried", f"{counted(found.tried, 'way')} to run"),
        *[(f"not: {one.why}", f"{counted(one.ways, 'way')}, for instance: {one.instance}") for one in found.left_out],
        ("pilot", f"{found.pilot_usd:.4f} USD" if found.pilot_usd is not None else ""),
    ]
    return [row for row in rows if row[1]]


def frontier_lines(found: Recommendation) -> list[str]:
    """Return the frontier as lines of a table; an arrow marks what is recommended."""
    heads = AWS if found.engine == "aws" else HERE
    lines = [heads, *(_cells(way, found.pick) for way in _shown(found))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return [
        "  ".join([*(cell.rjust(width) for cell, width in zip(line[:-1], widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    ]


def _shown(found: Recommendation) -> Sequence[Way]:
    """Return the frontier, thinned out evenly, and the pick where it is not on it."""
    ways = list(found.frontier)
    if len(ways) > MOST_LINES:
        places = {round(number * (len(ways) - 1) / (MOST_LINES - 1)) for number in range(MOST_LINES)}
        ways = [way for number, way in enumerate(ways) if number in places or same(way, found.pick)]
    if not any(same(way, found.pick) for way in ways):
        ways.append(found.pick)
    return sorted(ways, key=lambda way: way.wall_s)


def same(one: Way, other: Way) -> bool:
    """Whether both are one way to run, whatever else is said of them."""
    return _name(one) == _name(other)


def _name(way: Way) -> tuple[object, ...]:
    return (way.tasks, way.cut_anew, way.batch_size, way.threads, way.workers, way.memory_mb, way.architecture)


def _cells(way: Way, pick: Way) -> tuple[str, ...]:
    place = (f"{way.memory_mb:,}", str(way.architecture)) if way.memory_mb else (str(way.workers),)
    partition = f"{way.partition_mb:.1f}" + (" anew" if way.cut_anew else "")
    return (
        seconds(way.wall_s),
        seconds(way.wall_p90_s),
        f"{way.cost_usd:.3g}",
        f"{way.tasks:,}",
        partition,
        str(way.batch_size),
        str(way.threads),
        *place,
        f"{way.worker_memory_mb:,.0f}",
        " ".join([*(["<--"] if same(way, pick) else []), *(["over", _over(way)] if way.faults else [])]),
    )


def _over(way: Way) -> str:
    return " and ".join(dict.fromkeys(fault.kind for fault in way.faults))


def _said(way: Way) -> str:
    return "; ".join(fault.says for fault in way.faults)


def _within(found: Recommendation) -> str:
    wish = found.wish
    limits = [f"{seconds(wish.deadline_s)}"] if wish.deadline_s is not None else []
    limits += [f"{wish.budget_usd:g} USD"] if wish.budget_usd is not None else []
    return f" within {' and '.join(limits)}" if limits else ""


def _missed(found: Recommendation) -> str:
    return f"no way to run does; this is the nearest: {_said(found.pick)}"


def _compared(own: Way | None, pick: Way) -> str:
    if own is None:
        return ""
    faults = f"; {_said(own)}" if own.faults else ""
    what = f"batch size {own.batch_size}, {counted(own.threads, 'thread')}, {counted(own.tasks, 'task')}"
    if same(own, pick):
        return "the payload is set like that already"
    return f"{seconds(own.wall_s)} and {own.cost_usd:.3g} USD, with {what}{faults}"


def seconds(value: float) -> str:
    """Return `2.4 s`, or `1:02:03` of a minute and more."""
    return f"{value:.3g} s" if value < 60 else duration(value)
