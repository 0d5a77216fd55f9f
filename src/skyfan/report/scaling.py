"""How runs scale: the table and the figures of all that are given, and what must be known before comparing them."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from msgspec import structs

from skyfan.bench.charts import charts
from skyfan.bench.figures import figure_svgs
from skyfan.bench.groups import configuration
from skyfan.bench.measurement import Measurement
from skyfan.bench.table import table_rows
from skyfan.report.document import Block, Figure, Grid, Notice, Text
from skyfan.wording import counted

ALONE = "There are no figures: one run alone has nothing to be held against. Name more runs, or give their table."


def scaling(measurements: Sequence[Measurement]) -> list[Block]:
    """Return the scaling table and its figures.

    Parameters
    ----------
    measurements : sequence of Measurement
        Of the runs of the report, and those that were handed in as a table.
    """
    head, rows, notes = table_rows(measurements)
    table: list[Block] = [Grid(head, rows, "Runs by configuration, medians", notes, words=())]
    return [*mixed(measurements), *(table if head else map(Text, notes)), *_figures(measurements)]


def mixed(measurements: Sequence[Measurement]) -> list[Block]:
    """Say plainly if runs in one table are not of one kind, or not whole; the table's notes name them."""
    kinds = {
        "models": {item.model_sha256 or item.model for item in measurements},
        "data": {configuration(item).origin.data for item in measurements},
        "machines": {item.machine for item in measurements},
    }
    lines = [f"{len(found)} different {what}" for what, found in kinds.items() if len(found) > 1]
    known = {configuration(item) for item in measurements if item.data_sha256}
    if max(Counter(structs.replace(key, content="") for key in known).values(), default=0) > 1:
        lines.append("data of different content in folders of one name")
    blocks: list[Block] = []
    if lines:
        said = f"They are of {', '.join(lines)}; what is not known counts as one more. The notes below say which."
        blocks.append(Notice("note", "These runs are not of one kind: compare them with care", (said,)))
    partial = sum(not item.complete for item in measurements)
    if partial:
        title = f"{counted(partial, 'run')} of {len(measurements):,} not whole, and in none of these figures"
        blocks.append(Notice("bad", title, ("The notes below name them, and say why.",)))
    return blocks


def _figures(measurements: Sequence[Measurement]) -> list[Block]:
    drawn: list[Block] = [
        Figure(f"scaling-{name}", picture.svg, "svg", picture.title, picture.caption)
        for name, picture in figure_svgs(measurements).items()
    ]
    if len(measurements) == 1:
        return drawn or [Text(ALONE)]
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for name, reason in charts(measurements)[1].items():
        by_reason[reason].append(name)
    left_out = tuple(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    if left_out:
        drawn.append(Notice("note", "Figures that these runs do not allow", left_out))
    return drawn
