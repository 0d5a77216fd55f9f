"""The figures: what they show, what they leave out and why, and that the same runs give the same bytes."""

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from matplotlib import image

from bench.charted import drawn, near, panel, points
from bench.disk import files_end_at
from bench.results import records, write, write_seed
from bench.sweeps import measured, repeats, whole_sweep
from skyfan.bench.charts import charts
from skyfan.bench.figures import draw_figures, figure_svgs
from skyfan.bench.importing import import_results
from skyfan.errors import InputError

ALL = {"data-time", "data-throughput", "batch", "cost", "phases", "scaling"}


def test_a_sweep_gives_every_figure_and_nothing_is_left_out() -> None:
    found, left_out = charts(whole_sweep())
    assert {chart.name for chart in found} == ALL
    assert left_out == {}


def test_data_size_against_time_has_a_line_a_partition_size() -> None:
    runs = [
        measured(partition_mb=mb, files=files, run_wall_s=mb + files, bytes_in=int(mb * files) * 1024**2)
        for mb in (25.0, 50.0)
        for files in (40, 80, 160)
    ]
    wall = panel(drawn(runs)["data-time"], "Whole run")
    assert [series.label for series in wall.series] == ["25 MB", "50 MB"]
    assert points(wall, "25 MB") == [(files * 25 / 1024, 25.0 + files) for files in (40, 80, 160)]
    assert (wall.x_label, wall.y_label) == ("data size, GB", "seconds of a run")


def test_bars_reach_from_the_least_to_the_greatest_of_whole_runs() -> None:
    runs = [
        measured(files=files, run_wall_s=wall * files, repeat=repeat)
        for files in (41, 82)
        for repeat, wall in enumerate((3.0, 1.0, 2.0), 1)
    ]
    runs.append(measured(files=41, run_wall_s=0.001, complete=False, problem="lost"))
    (series,) = panel(drawn(runs)["data-time"], "Whole run").series
    first = series.points[0]
    assert (first.y, first.low, first.high) == (2 * 41, 41, 3 * 41)


def test_throughputs_are_apart_and_named() -> None:
    titles = [panel.title for panel in drawn(whole_sweep())["data-throughput"].panels]
    assert titles == [
        "By the wall clock of the run",
        "Sum of the workers' rates",
        "Original's 'throughput MB/s' (is GB/s)",
    ]


def test_costs_are_apart_and_named() -> None:
    ours, original = drawn(whole_sweep())["cost"].panels
    assert (ours.title, original.title) == ("Cost: rented", "By the original's formula, which is no bill")
    assert len(ours.series) == 5  # data sizes of 41 x 25 and of 20 x 50 MB are one


def test_old_prices_are_said_below_their_costs() -> None:
    old = {"prices_region": "eu-west-1", "prices_read_in": "2019-03"}
    found = drawn([measured(partition_mb=mb, files=int(1000 / mb), **old) for mb in (25.0, 50.0)])
    assert "The prices of eu-west-1 were looked up in 2019-03" in found["cost"].caption
    assert "prices" not in found["phases"].caption


def test_only_what_the_figure_is_about_differs_along_a_line() -> None:
    """Other batch sizes and workers at the same data would be other points of the same line."""
    runs = [*whole_sweep(), measured(files=41, batch_size=512, run_wall_s=1e6)]
    for chart in drawn(runs).values():
        if chart.name.startswith("data"):
            assert max(point.y for panel in chart.panels for series in panel.series for point in series.points) < 1e5
    batch = panel(drawn(whole_sweep())["batch"], "Whole run")
    assert [point.x for point in batch.series[0].points] == [8, 16, 32, 64, 128, 256, 512]


def test_scaling_is_against_the_fewest_workers() -> None:
    runs = [measured(workers=workers, run_wall_s=wall) for workers, wall in ((2, 100.0), (4, 55.0), (8, 40.0))]
    chart = drawn(runs)["scaling"]
    assert points(panel(chart, "Speed-up"), "25 MB") == near([(2, 1.0), (4, 100 / 55), (8, 2.5)])
    assert points(panel(chart, "Efficiency"), "25 MB") == near([(2, 100), (4, 100 * 100 / 55 / 2), (8, 62.5)])
    assert panel(chart, "Speed-up").ideal == ((2, 1.0), (8, 4.0))


def test_every_line_of_the_scaling_is_held_against_the_same_ideal() -> None:
    runs = [measured(workers=workers, files=41, run_wall_s=400 / workers) for workers in (2, 4, 8)]
    runs += [measured(workers=workers, partition_mb=50.0, files=20, run_wall_s=800 / workers) for workers in (4, 8)]
    chart = drawn(runs)["scaling"]
    speed_up = panel(chart, "Speed-up")
    assert points(speed_up, "25 MB") == near([(2, 1.0), (4, 2.0), (8, 4.0)])
    assert points(speed_up, "50 MB") == near([(4, 2.0), (8, 4.0)])
    assert points(panel(chart, "Efficiency"), "50 MB") == near([(4, 100), (8, 100)])
    assert speed_up.ideal == ((2, 1.0), (8, 4.0))
    assert "A line that starts at more workers than others starts on the ideal." in chart.caption


def test_phases_are_of_one_worker() -> None:
    runs = [measured(partition_mb=mb, files=int(1000 / mb), workers=4, predict_s=mb) for mb in (25.0, 50.0, 100.0)]
    stacks = drawn(runs)["phases"].stacks
    assert [(stack.label, stack.seconds["predict"]) for stack in stacks] == [
        ("25 MB", 6.25),
        ("50 MB", 12.5),
        ("100 MB", 25.0),
    ]
    assert "Data size: 0.977 GB" in drawn(runs)["phases"].caption


def test_medians_of_phases_are_said_to_add_up_to_no_median() -> None:
    runs = [
        measured(partition_mb=mb, files=int(1000 / mb), read_s=read, predict_s=predict, repeat=repeat)
        for mb in (25.0, 50.0)
        for repeat, (read, predict) in enumerate(((9.0, 0.0), (0.0, 9.0), (9.0, 9.0)), 1)
    ]
    said = "Each phase is its own median over the runs; the number beside a bar is their sum"
    assert said in drawn(runs)["phases"].caption
    single = [measured(partition_mb=mb, files=int(1000 / mb)) for mb in (25.0, 50.0)]
    assert said not in drawn(single)["phases"].caption


def test_phases_go_by_batch_size_where_partitions_do_not_differ() -> None:
    chart = drawn([measured(batch_size=size) for size in (16, 64)])["phases"]
    assert "by batch size" in chart.title
    assert [stack.label for stack in chart.stacks] == ["16", "64"]


def test_a_phase_that_is_not_known_is_not_a_phase_of_no_time() -> None:
    runs = [measured(partition_mb=mb, files=int(1000 / mb), hash_s=None) for mb in (25.0, 50.0)]
    assert all("hash" not in stack.seconds for stack in drawn(runs)["phases"].stacks)


def test_one_configuration_gives_no_figure_and_says_why() -> None:
    found, left_out = charts(repeats())
    assert found == []
    assert left_out == {
        "data-time": "all complete runs have the same data size",
        "data-throughput": "all complete runs have the same data size",
        "batch": "all complete runs have the same batch size",
        "cost": "all complete runs have the same partition size",
        "phases": "all complete runs have the same partition size; all complete runs have the same batch size",
        "scaling": "all complete runs have the same number of workers",
    }


def test_runs_that_differ_in_two_things_at_once_are_no_line() -> None:
    _, left_out = charts([measured(batch_size=32, workers=1), measured(batch_size=64, workers=2)])
    assert left_out["batch"] == "no two complete runs differ in the batch size alone"


def test_runs_that_are_not_whole_are_in_no_figure() -> None:
    runs = [measured(batch_size=size, complete=False, problem="lost") for size in (16, 64)]
    assert set(charts(runs)[1].values()) == {"no run is complete"}


def test_complete_runs_that_were_resumed_are_not_called_incomplete() -> None:
    runs = [measured(batch_size=size, problem="the run was resumed") for size in (16, 64)]
    lost = measured(complete=False, problem="lost")
    for given in (runs, runs[:1], [*runs, lost]):
        found, left_out = charts(given)
        assert found == []
        assert set(left_out.values()) == {"no run was done in one drive, so none has a wall clock to compare"}
    assert "no run was done" not in "".join(charts([*runs, measured()])[1].values())


def test_sets_are_marked_as_in_the_table() -> None:
    other = [measured(batch_size=size, machine="Apple M4, 10 cores") for size in (16, 64)]
    chart = drawn([measured(batch_size=size) for size in (16, 32, 64)] + other)["batch"]
    assert {series.label for series in chart.panels[0].series} == {"A: 25 MB", "B: 25 MB"}
    assert "A: 1.00 GB of data" in chart.caption
    assert chart.caption.index("AMD EPYC") < chart.caption.index("Apple M4")


def test_results_of_the_original_system_have_figures_too(tmp_path: Path) -> None:
    write_seed(tmp_path)
    found = drawn(import_results(tmp_path).measurements)
    assert set(found) == {"data-time", "data-throughput", "cost"}
    assert [panel.title for panel in found["data-time"].panels] == ["Mean of a task: the original's 'avg runtime'"]
    formula = panel(found["cost"], "By the original's formula")
    assert [y for _, y in points(formula, "12.6 GB")] == pytest.approx([0.0959, 0.1287, 0.1845, 0.2722], abs=2e-4)


def test_batches_of_the_original_system(tmp_path: Path) -> None:
    """Its sweep over batch sizes, as it names it."""
    seconds = {32: 8.26, 64: 6.35, 128: 5.94, 256: 5.65, 512: 6.01}
    for size, mean in seconds.items():
        keys = {"batch_size": size, "total_cpu_time (seconds)": mean, "result_path": f"1GB/Batches/{size}/1"}
        write(tmp_path, f"result-partition-25MB/1GB/Batches/{size}/1", records(41, **keys))
    (found,) = panel(drawn(import_results(tmp_path).measurements)["batch"], "Mean of a task").series
    assert [(point.x, point.y) for point in found.points] == near(list(seconds.items()))


@pytest.fixture(scope="module")
def whole_drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every figure that there is."""
    return draw_figures(whole_sweep(), tmp_path_factory.mktemp("whole"))


def test_the_same_runs_give_the_same_bytes(whole_drawn: list[Path], tmp_path: Path) -> None:
    one, two = whole_drawn, draw_figures(whole_sweep(), tmp_path)
    assert {file.name for file in one} == {f"{name}.{suffix}" for name in ALL for suffix in ("png", "svg")} | {
        "figures.md"
    }
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def test_pictures_for_a_page_are_the_files() -> None:
    pictures = figure_svgs(whole_sweep())
    assert set(pictures) == ALL
    for title, caption, svg in pictures.values():
        assert title
        assert "AMD EPYC" in caption
        assert ET.fromstring(svg).tag.endswith("}svg")  # noqa: S314  our own
        assert b"<script" not in svg
        assert b'href="http' not in svg


def test_a_png_is_a_picture_with_colours(whole_drawn: list[Path]) -> None:
    pngs = [file for file in whole_drawn if file.suffix == ".png"]
    assert len(pngs) == len(ALL)
    for file in pngs:
        pixels = image.imread(io.BytesIO(file.read_bytes()))
        assert pixels.shape[0] > 300
        assert len({tuple(pixel) for pixel in pixels.reshape(-1, pixels.shape[-1])[::97]}) > 5


def test_the_page_of_figures_says_what_is_left_out(tmp_path: Path) -> None:
    draw_figures([measured(batch_size=size, machine="<b>|x") for size in (16, 64)], tmp_path)
    page = (tmp_path / "figures.md").read_text()
    assert "![Batch size against time and throughput](batch.png)" in page
    assert "- scaling: all complete runs have the same number of workers" in page
    assert "<b>" not in page


def test_names_of_others_are_in_no_drawing() -> None:
    """A dollar sign in a name would be read as mathematics."""
    runs = [measured(batch_size=size, data="$\\frac$", machine="$x_", model="\u6a21") for size in (16, 64)]
    assert set(figure_svgs(runs)) == {"batch", "phases"}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_any_range_can_be_drawn(scale: float, tmp_path: Path) -> None:
    runs = [measured(batch_size=size, run_wall_s=scale * size**3, rows_per_s_run_wall=0.0) for size in (1, 3, 1000)]
    assert draw_figures(runs, tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the figures cannot be written"):
        draw_figures(whole_sweep(), tmp_path / "file")


def test_figures_that_cannot_be_written_whole_leave_those_that_were_there(tmp_path: Path) -> None:
    drawn_before = draw_figures([measured(batch_size=size) for size in (16, 64)], tmp_path)
    before = {file: file.read_bytes() for file in drawn_before}
    with files_end_at(1000), pytest.raises(InputError, match="the figures cannot be written"):
        draw_figures([measured(batch_size=size) for size in (8, 64)], tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
