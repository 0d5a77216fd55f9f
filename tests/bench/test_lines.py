"""Which configurations are on a line of a figure, and what is said of those that are not."""

from typing import Any

from bench.charted import drawn, near, panel, points
from bench.sweeps import measured
from skyfan.bench.axes import Size, levels
from skyfan.bench.measurement import Measurement


def by_files(*numbers: int, **changes: Any) -> list[Measurement]:
    """Return runs of 25 MB partitions that take a second a file."""
    return [measured(files=files, run_wall_s=float(files), **changes) for files in numbers]


def test_every_configuration_is_at_its_own_data_size() -> None:
    wall = panel(drawn(by_files(50, 52, 100))["data-time"], "Whole run")
    assert points(wall, "25 MB") == near([(files * 25 / 1024, files) for files in (50, 52, 100)])
    wall = panel(drawn(by_files(50, 52))["data-time"], "Whole run")
    assert points(wall, "25 MB") == near([(50 * 25 / 1024, 50), (52 * 25 / 1024, 52)])


def test_numbers_of_partitions_that_are_near_are_never_one_where_the_data_are_fixed() -> None:
    runs = [run for size in (16, 64) for run in by_files(50, 52, batch_size=size)]
    runs += [*by_files(52, batch_size=16, repeat=2), *by_files(50, batch_size=64, repeat=2)]
    (series,) = panel(drawn(runs)["batch"], "Whole run").series
    assert len({point.y for point in series.points}) == 1, "50 files or 52, not one of each"


def test_sizes_that_are_counted_as_one_are_said() -> None:
    runs = [
        measured(partition_mb=mb, files=files, batch_size=size)
        for mb, files in ((25.0, 41), (50.0, 20))
        for size in (16, 64)
    ]
    assert "Data sizes counted as one: 0.9766 GB to 1.001 GB." in drawn(runs)["batch"].caption
    assert "Data sizes counted as one: 0.9766 GB to 1.001 GB." in drawn(runs)["cost"].caption
    same = [
        measured(partition_mb=mb, files=round(1000 / mb), batch_size=size) for mb in (25.0, 50.0) for size in (16, 64)
    ]
    assert all("counted as one" not in chart.caption for chart in drawn(same).values())
    assert "counted as one" not in drawn(by_files(50, 52, 100))["data-time"].caption


def test_who_loses_a_place_to_another_is_named() -> None:
    """Two folders of one name, in two stores."""
    runs = by_files(41, 82, data_sha256="a" * 64) + by_files(41, data_sha256="b" * 64, run="other/41")
    runs += by_files(41, data_sha256="a" * 64, repeat=2)
    chart = drawn(runs)["data-time"]
    assert [y for _, y in points(panel(chart, "Whole run"), "25 MB")] == [41, 82]
    assert "Not drawn, since another configuration has its place: other/41." in chart.caption


def test_lines_of_sizes_that_read_alike_have_labels_of_their_own() -> None:
    runs = [measured(partition_mb=mb, files=round(files * 25 / mb)) for mb in (25.0, 50.0) for files in (998, 1000)]
    labels = [series.label for series in panel(drawn(runs)["cost"], "Cost").series]
    assert labels == ["24.37 GB", "24.41 GB"]


def test_data_are_the_same_along_a_line_where_the_figure_is_not_about_data() -> None:
    runs = [measured(batch_size=size, data_sha256="a" * 64) for size in (16, 32)]
    runs += [measured(batch_size=size, data_sha256="b" * 64, run=f"other/{size}") for size in (64,)]
    chart = drawn(runs)["batch"]
    assert [x for x, _ in points(panel(chart, "Whole run"), "25 MB")] == [16, 32]
    assert "Not drawn, since another configuration has its place: other/64." in chart.caption
    assert [x for x, _ in points(panel(drawn([*runs, measured(batch_size=128)])["batch"], "Whole run"), "25 MB")] == [
        16,
        32,
        128,
    ]


def test_sets_beyond_those_that_can_be_told_apart_are_counted() -> None:
    runs = [measured(batch_size=size, machine=f"machine {number}") for number in range(6) for size in (16, 64)]
    chart = drawn(runs)["batch"]
    assert len(chart.panels[0].series) == 4
    assert "Not drawn: 2 more sets of runs." in chart.caption
    assert "Not drawn: 5 more sets of runs." in drawn(runs)["phases"].caption


def sizes(*numbers: float) -> list[Size]:
    """Return data sizes of as many partition sizes."""
    return [Size(gb, ("here", number), 10) for number, gb in enumerate(numbers)]


def test_sizes_do_not_chain_without_end() -> None:
    assert len(set(levels(sizes(1.0, 1.04, 1.08, 1.12)).values())) == 2


def test_sizes_that_nearly_follow_each_other_are_one() -> None:
    found = list(levels(sizes(1.001, 1.025, 1.074, 2.0, 7.96, 7.98, 8.06)).values())
    assert [len(set(found[part])) for part in (slice(3), slice(4, 7))] == [1, 1]
    assert len(set(found)) == 3


def test_sizes_of_one_partition_size_are_never_one() -> None:
    several = [Size(1.0, ("here", 25), 40), Size(1.02, ("here", 50), 20), Size(1.03, ("here", 25), 41)]
    assert len(set(levels(several).values())) == 2
    assert len(set(levels([Size(1.0, ("here", 25), 40), Size(1.001, ("here", 25), 40)]).values())) == 1
