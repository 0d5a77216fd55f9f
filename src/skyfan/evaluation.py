"""Every metric of a run's redshifts against the true ones, from its whole catalogue, with errors; as files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from skyfan.comparison import Compared
from skyfan.errors import InputError
from skyfan.photoz import metrics, probability
from skyfan.photoz.science import Bin
from skyfan.photoz.sums import LEVELS, Z_EDGES
from skyfan.standing import Standing
from skyfan.summary import Summary
from skyfan.wording import with_extra

BOOTSTRAP = 200
"""Resamples, if not told otherwise: errors are then good to 5 %."""
LABELS = {
    "bias_mean": "bias, mean of dz",
    "bias_median": "bias, median of dz",
    "sigma_nmad": "sigma_NMAD of dz",
    "sigma_68": "sigma_68 of dz",
    "outlier_fraction_005": "share of |dz| > 0.05",
    "outlier_fraction_015": "share of |dz| > 0.15",
    "mae": "mean |z_phot - z_spec|",
    "mse": "mean (z_phot - z_spec)^2",
    "r2": "R2",
    "pit_ks": "KS distance of the PIT",
    "crps": "mean CRPS",
    "coverage_68": "coverage of 68 % intervals",
    "coverage_95": "coverage of 95 % intervals",
}
"""The metrics, in the order shown. dz = (z_phot - z_spec) / (1 + z_spec)."""


class Estimate(Struct, frozen=True):
    """A metric with its error."""

    value: float | None
    """None where it is not defined."""
    error: float | None
    """Standard error by bootstrap; None where it is not defined, or none was asked for."""


class EvaluatedBin(Struct, frozen=True):
    """The metrics of the rows in one bin of true redshift."""

    low: float | None
    """None for the bin that has no lower end."""
    high: float | None
    """Not in the bin itself; None for the bin that has no upper end."""
    rows: int
    metrics: dict[str, Estimate]


class Evaluation(Struct, frozen=True, kw_only=True):
    """What `skyfan evaluate` finds."""

    run: str
    rows: int
    """Galaxies with both a prediction and a true redshift: all metrics are of these."""
    rows_without_prediction: int
    rows_without_redshift: int
    bootstrap: int
    """Resamples that the errors are from."""
    metrics: dict[str, Estimate]
    by_z: list[EvaluatedBin]
    by_r: list[Bin]
    """In bins of r magnitude, from the run's summary: the catalogue has no magnitudes. Empty if the summary is of other
    rows than the catalogue has now."""
    warnings: list[str]
    """What is to be known of the figures, such as tasks that are not in them."""
    files: list[str] = field(default_factory=list)
    """What was written; empty if nothing was."""

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def evaluate(
    compared: Compared,
    run: str,
    summary: Summary | None,
    bootstrap: int,
    warnings: Sequence[str],
    *,
    standing: Standing | None = None,
) -> Evaluation:
    """Compute every metric, of all rows and in bins of true redshift, with errors.

    Parameters
    ----------
    compared : Compared
        From `skyfan.comparison.compare`.
    run : str
        The run's name.
    summary : Summary, optional
        The run's, for the bins in r; it is not believed if it is of other rows than were compared.
    bootstrap : int
        Resamples; 0 for no errors.
    warnings : sequence of str
        What is known already.
    standing : Standing, optional
        Where the run stands; without it, whether the run is complete is what the summary says.

    Raises
    ------
    InputError
        If `bootstrap` is negative or 1.
    """
    if bootstrap < 0 or bootstrap == 1:
        raise InputError(f"bootstrap {bootstrap}: expected 2 or more resamples, or 0 for no errors")
    seen = len(compared) + compared.rows_without_prediction + compared.rows_without_redshift
    if summary is not None and summary.rows_out != seen:
        summary = None
    number = metrics.in_bins(compared.columns["z_spec"], Z_EDGES)
    ends = [None, *Z_EDGES, None]
    in_bins = (
        (int(i), {name: values[number == i] for name, values in compared.columns.items()}) for i in np.unique(number)
    )
    return Evaluation(
        run=run,
        rows=len(compared),
        rows_without_prediction=compared.rows_without_prediction,
        rows_without_redshift=compared.rows_without_redshift,
        bootstrap=bootstrap,
        metrics=_estimates(compared.columns, bootstrap),
        by_z=[
            EvaluatedBin(ends[i], ends[i + 1], len(columns["z_spec"]), _estimates(columns, bootstrap))
            for i, columns in in_bins
        ],
        by_r=list(summary.science.by_r) if summary is not None and summary.science is not None else [],
        warnings=[*warnings, *_incomplete(summary, standing)],
    )


def _incomplete(summary: Summary | None, standing: Standing | None) -> list[str]:
    """Say that tasks are not in the figures, if it may be so."""
    if standing is not None and standing.state != "complete":
        advice = "wait for its end" if standing.state == "running" else "run its payload again: it goes on"
        counts = f"{standing.tasks_ok} of its {standing.tasks} tasks are in these figures"
        return [f"the run is not complete: {counts}; {advice}"]
    if summary is None or not summary.complete:
        return ["the run is not complete: the tasks that are not done are not in these figures"]
    return []


def _estimates(columns: Mapping[str, NDArray[Any]], bootstrap: int) -> dict[str, Estimate]:
    names = list(columns)

    def measure(*values: NDArray[Any]) -> dict[str, float]:
        return _metrics(dict(zip(names, values, strict=True)))

    errors = metrics.bootstrap(measure, list(columns.values()), bootstrap) if bootstrap else {}
    return {
        name: Estimate(_known(value), _known(errors.get(name, math.nan))) for name, value in _metrics(columns).items()
    }


def _metrics(columns: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return every metric that the columns allow, in the order of `LABELS`."""
    point = metrics.scores(columns["z_phot"], columns["z_spec"])
    found = {name: float(getattr(point, "bias" if name == "bias_mean" else name)) for name in list(LABELS)[:9]}
    if "pit" in columns:
        found["pit_ks"] = probability.pit_ks(_finite(columns["pit"]))
        found["crps"] = _mean(columns["crps"])
    for level in LEVELS:
        if f"within_{level}" in columns:
            found[f"coverage_{level}"] = _mean(columns[f"within_{level}"])
    return found


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    """Leave out the rows whose PDF or interval is null."""
    known: NDArray[Any] = values[np.isfinite(values)]
    return known


def _mean(values: NDArray[Any]) -> float:
    known = _finite(values)
    return float(np.mean(known)) if len(known) else math.nan


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write(evaluation: Evaluation, compared: Compared, folder: Path) -> Evaluation:
    """Write metrics.json, metrics.md and the plots; return the evaluation with the names of its files.

    Needs the extra `plots`.

    Raises
    ------
    InputError
        If matplotlib is not installed, or the folder cannot be written.
    """
    try:
        from skyfan.plots import draw
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed, and the plots need it; {with_extra('plots')}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plots = draw(compared, evaluation.run, folder)
        files = [folder / "metrics.json", folder / "metrics.md", *plots]
        written = msgspec.structs.replace(evaluation, files=[str(file) for file in files])
        files[0].write_bytes(msgspec.json.format(written.encode(), indent=2) + b"\n")
        files[1].write_text(markdown(evaluation, [file.name for file in plots if file.suffix == ".png"]))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error}); name another folder with --out") from error
    return written


def markdown(evaluation: Evaluation, images: Sequence[str]) -> str:
    """Return the metrics as a page, with the images below them."""
    lines = [f"# {evaluation.run}", ""]
    lines += [f"{evaluation.rows:,} galaxies with a prediction and a true redshift; {_left_out(evaluation)}.", ""]
    lines += [f"**{text}**\n" for text in evaluation.warnings]
    lines += ["dz = (z_phot - z_spec) / (1 + z_spec)." + _errors_from(evaluation.bootstrap), ""]
    lines += _table(["metric", "value"], [(LABELS[name], shown(item)) for name, item in evaluation.metrics.items()])
    columns = [name for name in ("bias_mean", "sigma_nmad", "outlier_fraction_005") if name in evaluation.metrics]
    lines += ["", "## By true redshift", ""]
    lines += _table(
        ["z_spec", "galaxies", *(LABELS[name] for name in columns)],
        [
            (_ends(item.low, item.high), f"{item.rows:,}", *(shown(item.metrics[name]) for name in columns))
            for item in evaluation.by_z
        ],
    )
    if evaluation.by_r:
        lines += ["", "## By r magnitude", "", "From the sums that the tasks reported; sigma_NMAD within 0.003.", ""]
        lines += _table(
            ["r", "galaxies", *(LABELS[name] for name in columns)],
            [
                (
                    _ends(item.low, item.high),
                    f"{item.rows:,}",
                    shown(Estimate(item.bias_mean, item.bias_mean_error)),
                    shown(Estimate(item.sigma_nmad, None)),
                    shown(Estimate(item.outlier_fraction_005, None)),
                )
                for item in evaluation.by_r
            ],
        )
    return "\n".join([*lines, "", *(f"![{name}]({name})" for name in images), ""])


def shown(estimate: Estimate) -> str:
    """Return a metric and its error with as many digits as the error allows."""
    if estimate.value is None:
        return "not defined"
    if not estimate.error:
        return f"{estimate.value:.4g}"
    digits = max(1 - math.floor(math.log10(estimate.error)), 0)
    return f"{estimate.value:.{digits}f} ± {estimate.error:.{digits}f}"


def _left_out(evaluation: Evaluation) -> str:
    unpredicted, unknown = evaluation.rows_without_prediction, evaluation.rows_without_redshift
    return f"{unpredicted:,} without a prediction and {unknown:,} without a true redshift are left out"


def _errors_from(bootstrap: int) -> str:
    return f" Errors are from {bootstrap} bootstrap samples." if bootstrap else ""


def _ends(low: float | None, high: float | None) -> str:
    if low is None:
        return f"below {high:g}"
    return f"{low:g} to {high:g}" if high is not None else f"{low:g} and above"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in [head, ["---"] * len(head), *rows]
    ]
