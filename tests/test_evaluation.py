"""Science of a run: what the summary says, what `evaluate` says, and direct computation, all the same."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib.image
import msgspec
import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy

import skyfan
from factories import doubtful_model, doubtful_rows, make_rows, tiny_model, write_partition
from skyfan import comparison, staging
from skyfan.errors import InputError, ModelError
from skyfan.evaluation import Estimate, Evaluation, shown
from skyfan.photoz import metrics, probability
from skyfan.photoz.sums import add
from skyfan.predictions import build_part
from skyfan.summary import Summary
from skyfan.task import decode_report

EDGES = np.linspace(0.0, 0.5, 11)
PLOTS = ["n_of_z.png", "n_of_z.svg", "redshifts.png", "redshifts.svg", "residuals.png", "residuals.svg"]


def summary_of(run: skyfan.Run) -> Summary:
    found = run.summary
    assert found is not None
    return found


def columns(run: skyfan.Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z_phot, z_spec and pdf of the rows that have both."""
    table = pa.table(run.predictions())
    z_phot, z_spec = (table.column(name).to_numpy(zero_copy_only=False) for name in ("z_phot", "z_spec"))
    known = np.isfinite(z_phot) & np.isfinite(z_spec)
    pdf = np.array(table.column("pdf").filter(pa.array(known)).to_pylist())
    return z_phot[known], z_spec[known], pdf


@pytest.fixture
def with_pdf(root: Path, asked: dict[str, Any]) -> skyfan.Run:
    """A run of three tasks over 80 rows, with a PDF, one dead image and two rows without a true redshift."""
    for number in range(1, 5):
        rows = make_rows(20, seed=number)
        rows["redshift"][3 if number < 3 else []] = np.nan
        rows["image"][5 if number == 4 else [], 0] = np.nan
        path = root / "sky" / "labelled" / f"{number}.safetensors"
        path.parent.mkdir(exist_ok=True)
        safetensors.numpy.save_file(rows, path, metadata={"bands": "ugriz"})
    tiny_model(root / "sky" / "models" / "pdf.onnx", metadata={"pdf_edges": json.dumps(EDGES.tolist())})
    changes = {"data_prefix": "labelled", "model": "models/pdf.onnx", "result_path": "results/pdf", "world_size": 3}
    return skyfan.run(asked | changes, store=root, workers=1)


@pytest.fixture
def unlabelled(root: Path, asked: dict[str, Any]) -> skyfan.Run:
    rows = make_rows(10)
    del rows["redshift"]
    write_partition(root / "sky" / "plain" / "1.safetensors", arrays=rows)
    return skyfan.run(asked | {"data_prefix": "plain", "result_path": "results/plain"}, store=root, workers=1)


def test_the_summarys_science_is_that_of_the_catalogue(with_pdf: skyfan.Run) -> None:
    z_phot, z_spec, pdf = columns(with_pdf)
    direct = metrics.scores(z_phot, z_spec)
    found = summary_of(with_pdf).science
    assert found is not None
    assert (found.rows, found.rows_without_prediction, found.rows_without_redshift) == (77, 1, 2)
    assert found.bias_mean == pytest.approx(direct.bias, rel=1e-12)
    assert found.mae == pytest.approx(direct.mae, rel=1e-12)
    assert found.mse == pytest.approx(direct.mse, rel=1e-12)
    assert found.r2 == pytest.approx(direct.r2, rel=1e-12)
    assert found.outlier_fraction_005 == direct.outlier_fraction_005
    assert found.outlier_fraction_015 == direct.outlier_fraction_015
    for name, within in (("bias_median", "quantiles_within"), ("sigma_68", "quantiles_within")):
        assert abs(getattr(found, name) - getattr(direct, name)) <= getattr(found, within)
    assert found.sigma_nmad is not None
    assert found.sigma_nmad_within is not None
    assert abs(found.sigma_nmad - direct.sigma_nmad) <= found.sigma_nmad_within
    pit, crps = probability.pit_and_crps(pdf, EDGES, z_spec)
    assert found.crps == pytest.approx(crps.mean())
    assert found.coverage_68 == np.mean(probability.pit_covered(pit, 0.68))
    assert found.pit_ks is not None
    assert 0 <= probability.pit_ks(pit) - found.pit_ks <= 0.005
    assert sum(item.rows for item in found.by_z) == sum(item.rows for item in found.by_r) == 77


@pytest.fixture
def doubtful(root: Path, asked: dict[str, Any]) -> skyfan.Run:
    """A run of a model with intervals over 12 rows, of which two have no redshift, three no interval and two no PDF."""
    write_partition(root / "sky" / "odd" / "1.safetensors", arrays=doubtful_rows(12))
    source = doubtful_model(pdf_edges=json.dumps(np.linspace(0.0, 0.5, 6).tolist()))
    (root / "sky" / "models" / "doubtful.onnx").write_bytes(source)
    changes = {"data_prefix": "odd", "model": "models/doubtful.onnx", "result_path": "results/odd"}
    return skyfan.run(asked | changes, store=root, workers=1)


def test_what_is_null_of_a_row_is_left_out_and_nothing_else(doubtful: skyfan.Run) -> None:
    table = pa.table(doubtful.predictions()).to_pylist()
    found, science = doubtful.evaluate(bootstrap=3), summary_of(doubtful).science
    assert science is not None
    for figures in (found, science):
        assert (figures.rows, figures.rows_without_prediction, figures.rows_without_redshift) == (10, 2, 0)
    ends = [row for row in table if row["z_phot"] is not None and row["z_l68"] is not None]
    assert len(ends) == 9
    for level in (68, 95):
        inside = [row[f"z_l{level}"] <= row["z_spec"] <= row[f"z_u{level}"] for row in ends]
        assert found.metrics[f"coverage_{level}"].value == getattr(science, f"coverage_{level}") == np.mean(inside)
    z_spec = [row["z_spec"] for row in table if row["z_phot"] is not None and row["pdf"] is not None]
    assert len(z_spec) == 9
    crps = probability.crps(np.ones((9, 5)), np.linspace(0.0, 0.5, 6), z_spec).mean()
    assert found.metrics["crps"].value == pytest.approx(crps)
    assert science.crps == pytest.approx(crps)


def test_plots_are_drawn_where_no_pdf_is_given(doubtful: skyfan.Run, root: Path, tmp_path: Path) -> None:
    rows = doubtful_rows(12)
    rows["magnitude"][:, 0] = 0
    write_partition(root / "sky" / "none" / "1.safetensors", arrays=rows)
    payload = doubtful.payload
    changes = {"data_prefix": "none", "result_path": "results/none"}
    run = skyfan.run(msgspec.to_builtins(payload) | changes, store=root, workers=1)
    found = run.evaluate(tmp_path / "out", bootstrap=3)
    assert (found.metrics["crps"].value, found.metrics["pit_ks"].value) == (None, None)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.?*g")) == PLOTS


def test_the_summarys_sums_are_those_of_the_reports(with_pdf: skyfan.Run, root: Path) -> None:
    files = sorted((root / "sky" / "results" / "pdf" / "reports").glob("*.json"))
    reports = [decode_report(file.read_bytes()) for file in files]
    sums = [report.science for report in reports if report is not None and report.science is not None]
    assert len(sums) == 3
    assert add(*sums) == summary_of(with_pdf).science_sums
    assert all(file.stat().st_size < 8000 for file in files)


def test_evaluate_is_exact(with_pdf: skyfan.Run) -> None:
    z_phot, z_spec, pdf = columns(with_pdf)
    direct = metrics.scores(z_phot, z_spec)
    found = with_pdf.evaluate(bootstrap=20)
    assert (found.rows, found.rows_without_prediction, found.rows_without_redshift) == (77, 1, 2)
    values = {name: item.value for name, item in found.metrics.items()}
    for name in ("bias_median", "sigma_nmad", "sigma_68", "outlier_fraction_005", "mae", "mse", "r2"):
        assert values[name] == getattr(direct, name)
    assert values["bias_mean"] == direct.bias
    pit, crps = probability.pit_and_crps(pdf, EDGES, z_spec)
    assert values["pit_ks"] == pytest.approx(probability.pit_ks(pit))
    assert values["crps"] == pytest.approx(crps.mean())
    assert all(item.error is None or item.error > 0 or item.value in {0.0, 1.0} for item in found.metrics.values())
    assert (found.warnings, found.files) == ([], [])
    assert sum(item.rows for item in found.by_z) == 77
    assert found.by_r == summary_of(with_pdf).science.by_r  # type: ignore[union-attr]
    assert with_pdf.evaluate(bootstrap=20) == found, "the same seed, the same errors"


def test_evaluate_writes_metrics_and_plots(with_pdf: skyfan.Run, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    found = with_pdf.evaluate(folder, bootstrap=5)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(["metrics.json", "metrics.md", "pit.png", "pit.svg", *PLOTS])
    assert sorted(Path(file).name for file in found.files) == names
    assert msgspec.json.decode((folder / "metrics.json").read_bytes(), type=Evaluation) == found
    page = (folder / "metrics.md").read_text()
    assert "| sigma_NMAD of dz | " in page
    assert "## By r magnitude" in page
    assert all(f"]({name})" in page for name in names if name.endswith(".png"))
    for path in folder.glob("*.png"):
        pixels = matplotlib.image.imread(path)
        assert pixels.shape[0] > 400
        assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20, f"{path} is blank"
    for path in folder.glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")  # noqa: S314


def test_plots_are_the_same_again(finished: skyfan.Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        finished.evaluate(tmp_path / name, bootstrap=0)
    for path in (tmp_path / "one").glob("*.svg"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_pdf_of_unknown_bins_is_left_aside_and_said(finished: skyfan.Run) -> None:
    found = finished.evaluate(bootstrap=0)
    assert "pit_ks" not in found.metrics
    assert found.warnings == [
        "the PDFs are not evaluated: the model models/tiny.onnx does not say in its metadata 'pdf_edges' what bins"
    ]
    assert all(item.error is None for item in found.metrics.values())
    science = summary_of(finished).science
    assert science is not None
    assert (science.rows, science.pit_ks, science.by_r) == (34, None, [])


def test_a_model_that_is_another_now_is_said(with_pdf: skyfan.Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_LOADED", {})
    tiny_model(root / "sky" / "models" / "pdf.onnx", metadata={"version": "another"})
    found = with_pdf.evaluate(bootstrap=0)
    assert found.metrics["sigma_nmad"].value is not None
    assert "pit_ks" not in found.metrics
    assert ["the PDFs are not evaluated: model models/pdf.onnx: its hash is" in text for text in found.warnings] == [
        True
    ]


def test_an_incomplete_run_is_said(finished: skyfan.Run, root: Path) -> None:
    results = root / "sky" / "results" / "one"
    (results / "summary.json").unlink()
    (results / "reports" / "00001.json").unlink()
    found = finished.evaluate(bootstrap=0)
    assert found.rows == 34 - 8
    assert any("the run is not complete" in text for text in found.warnings)


def test_without_true_redshifts_nothing_changes(unlabelled: skyfan.Run) -> None:
    found = summary_of(unlabelled)
    assert found.complete
    assert (found.science, found.science_sums) == (None, None)
    with pytest.raises(
        InputError, match=r"no numbers 'z_spec', so there is nothing to evaluate; true redshifts come from"
    ):
        unlabelled.evaluate()


def test_redshifts_that_are_all_unknown_are_refused(root: Path, asked: dict[str, Any]) -> None:
    rows = make_rows(6) | {"redshift": np.full(6, -9999, np.float32)}
    write_partition(root / "sky" / "unknown" / "1.safetensors", arrays=rows)
    run = skyfan.run(asked | {"data_prefix": "unknown", "result_path": "results/unknown"}, store=root, workers=1)
    science = summary_of(run).science
    assert science is not None
    assert (science.rows, science.rows_without_redshift, science.sigma_nmad) == (0, 6, None)
    with pytest.raises(InputError, match="none of its rows has both a prediction and a true redshift"):
        run.evaluate()


@pytest.mark.parametrize(("edges", "message"), [("[0, 1]", "expected one number more than bins"), ("x", "rising")])
def test_bins_that_do_not_fit_the_pdf_are_found_before_a_run_starts(
    root: Path, asked: dict[str, Any], edges: str, message: str
) -> None:
    tiny_model(root / "sky" / "models" / "bad.onnx", metadata={"pdf_edges": edges})
    with pytest.raises(ModelError, match=message):
        skyfan.run(asked | {"model": "models/bad.onnx", "result_path": "results/bad"}, store=root, workers=1)
    assert not (root / "sky" / "results" / "bad").exists()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(), (3,)], ids=["numbers", "lists"])
def test_a_column_is_nan_where_it_is_null_and_nowhere_else(share: float, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(1000, *shape)).astype(np.float32)
    values[rng.random(1000) < share] = np.nan
    outputs: dict[str, Any] = {"pdf": values, "whole": np.ones(1000)}
    table = build_part([("key", 1000)], {}, outputs, np.zeros(1000, np.uint16))
    for piece in (table.to_batches()[0], table.to_batches()[0].slice(13, 700)):
        start = 13 if piece.num_rows == 700 else 0
        found = comparison._numbers(piece, "pdf")
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, values[start : start + piece.num_rows])
        assert comparison._numbers(piece, "whole").all()


@pytest.mark.parametrize("samples", [-1, 1])
def test_bootstrap_needs_two_samples(finished: skyfan.Run, samples: int) -> None:
    with pytest.raises(InputError, match=f"bootstrap {samples}: expected 2 or more resamples, or 0 for no errors"):
        finished.evaluate(bootstrap=samples)


def test_a_folder_that_is_a_file_is_refused(finished: skyfan.Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot be written .*; name another folder with --out"):
        finished.evaluate(tmp_path / "file", bootstrap=0)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(0.0127812, 0.000304), "0.01278 ± 0.00030"),
        (Estimate(None, None), "not defined"),
        (Estimate(0.25, None), "0.25"),
        (Estimate(0.0, 0.0), "0"),
        (Estimate(1234.5, 20.0), "1234 ± 20"),
    ],
)
def test_figures_are_shown_with_the_digits_of_their_error(estimate: Estimate, text: str) -> None:
    assert shown(estimate) == text


def command(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "skyfan", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=cwd)


def test_the_command_prints_metrics_and_names_its_files(with_pdf: skyfan.Run, root: Path, tmp_path: Path) -> None:
    done = command("evaluate", with_pdf.id, "--store", str(root), "--bootstrap", "3", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sigma_NMAD of dz" in done.stdout
    assert (tmp_path / "evaluation-sky-results-pdf" / "metrics.md").is_file()
    done = command(
        "evaluate", with_pdf.id, "--store", str(root), "--bootstrap", "0", "--out", "x", "--json", cwd=tmp_path
    )
    assert json.loads(done.stdout)["rows"] == 77


def test_the_command_says_what_is_missing(unlabelled: skyfan.Run, root: Path, tmp_path: Path) -> None:
    done = command("evaluate", unlabelled.id, "--store", str(root), cwd=tmp_path)
    assert done.returncode == 2
    assert "add it to them, then run anew" in done.stderr
    assert list(tmp_path.glob("evaluation*")) == []


def test_the_demo_shows_the_summarys_science(tmp_path: Path) -> None:
    done = command("demo", "--rows", "150", "--store", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == f"next: skyfan report demo/results/first-run --store {tmp_path} (needs pip install '.[plots]')"
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)
    assert "sigma_NMAD" in lines
    science = summary_of(skyfan.open_run("demo/results/first-run", store=tmp_path)).science
    assert science is not None
    assert science.rows == 150
    assert sum(item.rows for item in science.by_r) == 150, "a simulated survey names its bands"
    assert science.sigma_nmad is not None
    assert lines["sigma_NMAD"] == f"{science.sigma_nmad:.5f}"
