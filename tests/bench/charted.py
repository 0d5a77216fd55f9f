"""What a chart shows, as tests ask for it."""

from collections.abc import Sequence

import pytest

from skyfan.bench.charts import Chart, Panel, charts
from skyfan.bench.measurement import Measurement


def drawn(measurements: Sequence[Measurement]) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts(measurements)[0]}


def panel(chart: Chart, title: str) -> Panel:
    (found,) = [panel for panel in chart.panels if panel.title.startswith(title)]
    return found


def points(panel: Panel, label: str) -> list[tuple[float, float]]:
    (series,) = [series for series in panel.series if series.label == label]
    return [(point.x, point.y) for point in series.points]


def near(expected: Sequence[tuple[float, float]]) -> list[object]:
    return [pytest.approx(point) for point in expected]
