"""How good the redshifts of a run are, where true ones are known."""

import tempfile
from pathlib import Path

from skyfan.evaluation import BOOTSTRAP, LABELS, Estimate, Evaluation, evaluate, shown
from skyfan.photoz.science import Bin, Science
from skyfan.plots import draw
from skyfan.report import amounts
from skyfan.report.catalogue import Glance
from skyfan.report.document import Block, Figure, Grid, Notice, Text
from skyfan.report.record import Record
from skyfan.report.verdict import partial, unended

EVALUATED_ROWS = 300_000
"""Above, the figures are the summary's, which need no second look at the catalogue."""
BOOTSTRAPPED_ROWS = 20_000
"""Above, there are no errors by bootstrap: they are small there, and take long."""
PLOTS = {
    "redshifts": (
        "Predicted against true redshift",
        "How many galaxies lie where; the black line is a perfect prediction.",
    ),
    "residuals": ("Error against true redshift", "dz by true redshift, with its median and the 68 % around it."),
    "n_of_z": (
        "Distribution of redshifts",
        "Of the true ones, of the predicted ones, and the sum of the PDFs if there are.",
    ),
    "pit": ("PIT histogram", "Flat if the PDFs are as wide as they should be; the band is what chance alone does."),
}
"""By the name of a plot's file: what it shows, and how to read it."""
DZ = "dz = (z_phot - z_spec) / (1 + z_spec)."
DIGITS = {"mse": 7}
"""Decimals of metrics that have other than five."""
NO_BREAK = "\N{NO-BREAK SPACE}"
"""Before an error: a narrow page breaks the line before its sign, not behind it."""
BINNED = ("bias_mean", "sigma_nmad", "outlier_fraction_005")


def is_evaluated(record: Record) -> bool:
    """Return whether a run's whole catalogue is held against the true redshifts; else the summary's figures stand."""
    summary = record.summary
    return summary is not None and summary.science is not None and 0 < summary.rows_out <= EVALUATED_ROWS


def science(record: Record, found: Glance, name: str) -> list[Block]:
    """Return the metrics of a run, with plots if its catalogue was compared.

    Parameters
    ----------
    record : Record
    found : Glance
        Its catalogue, held against the true redshifts or not.
    name : str
        With which the figures' names begin.
    """
    summary = record.summary
    if summary is None:
        return [Text(f"There are no metrics: they are added up when a run comes to its end. {unended(record)}")]
    if summary.science is None or not summary.science.rows:
        return [
            Text(
                "There are no metrics: the partitions have no true redshifts (tensor 'redshift'), or the model gives "
                "no 'z_phot' to hold against them."
            )
        ]
    if found.compared is not None and not found.problem:
        return [*partial(record, len(record.found.done)), *_evaluated(record, found, name)]
    problem = partial(record, summary.tasks_ok)
    if found.problem:
        problem.append(
            Notice("bad", "The catalogue could not be read; these are the summary's figures", (found.problem,))
        )
    science = summary.science
    return [*problem, _of_summary(science), *_by(science.by_z, "true redshift"), *_r(science.by_r)]


def _evaluated(record: Record, seen: Glance, name: str) -> list[Block]:
    compared = seen.compared
    if compared is None:
        return []
    bootstrap = BOOTSTRAP if len(compared) <= BOOTSTRAPPED_ROWS else 0
    found = evaluate(compared, record.id, record.summary, bootstrap, seen.warnings, standing=record.standing)
    with tempfile.TemporaryDirectory(prefix="skyfan-report-") as folder:
        drawn = draw(compared, record.id, Path(folder), (".png",))
        files = {file.stem: file.read_bytes() for file in drawn if file.suffix == ".png"}
    plots = [
        Figure(
            f"{name}-{stem}", files[stem], "png", f"{title} of {found.rows:,} galaxies", f"{title}. {said}", half=True
        )
        for stem, (title, said) in PLOTS.items()
        if stem in files
    ]
    warnings = [Notice("note", "To be known of these figures", tuple(found.warnings))] if found.warnings else []
    return [*warnings, _metrics(found), *plots, *_by_z(found), *_r(found.by_r)]


def _metrics(found: Evaluation) -> Grid:
    rows = tuple((LABELS[name], _estimate(estimate)) for name, estimate in found.metrics.items())
    errors = f" Errors are from {found.bootstrap} bootstrap samples." if found.bootstrap else ""
    notes = (_left_out(found), f"{DZ}{errors}")
    return Grid(("Metric", "Value"), rows, "Predictions against true redshifts", notes)


def _left_out(found: Evaluation | Science) -> str:
    unpredicted, unknown = found.rows_without_prediction, found.rows_without_redshift
    return (
        f"Of {found.rows:,} galaxies with a prediction and a true redshift; {unpredicted:,} without a prediction and "
        f"{unknown:,} without a true redshift are left out."
    )


def _by_z(found: Evaluation) -> list[Block]:
    names = [name for name in BINNED if name in found.metrics]
    rows = tuple(
        (_ends(item.low, item.high), f"{item.rows:,}", *(_estimate(item.metrics[name]) for name in names))
        for item in found.by_z
    )
    head = ("z_spec", "Galaxies", *(LABELS[name] for name in names))
    return [Grid(head, rows, "By true redshift")] if rows else []


def _of_summary(found: Science) -> Grid:
    values = {name: getattr(found, name) for name in LABELS}
    rows = [
        (LABELS[name], _bias(found) if name == "bias_mean" else _number(value, DIGITS.get(name, 5)))
        for name, value in values.items()
        if value is not None
    ]
    said = "From the sums that the tasks reported; 'skyfan evaluate' gives every metric with its error, and plots."
    notes = (_left_out(found), f"{DZ} {said}")
    return Grid(("Metric", "Value"), tuple(rows), "Predictions against true redshifts", notes)


def _by(bins: list[Bin], what: str) -> list[Block]:
    rows = tuple(
        (
            _ends(item.low, item.high),
            f"{item.rows:,}",
            _bias(item),
            _number(item.sigma_nmad),
            _number(item.outlier_fraction_005),
        )
        for item in bins
    )
    head = (what, "Galaxies", *(LABELS[name] for name in BINNED))
    return (
        [Grid(head, rows, f"By {what}", ("From the sums that the tasks reported; sigma_NMAD within 0.003.",))]
        if rows
        else []
    )


def _r(bins: list[Bin]) -> list[Block]:
    return _by(bins, "r magnitude")


def _estimate(found: Estimate) -> str:
    return shown(found).replace("± ", f"±{NO_BREAK}")


def _bias(found: Bin | Science) -> str:
    """Return the mean of dz, with its error where there is one."""
    error = f" ±{NO_BREAK}{_number(found.bias_mean_error)}" if found.bias_mean_error else ""
    return f"{_number(found.bias_mean)}{error}"


def _number(value: float | None, digits: int = 5) -> str:
    """Return a number with the decimals that its column has; a zero has no sign."""
    return amounts.UNKNOWN if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def _ends(low: float | None, high: float | None) -> str:
    if low is None:
        return f"below {high:g}"
    return f"{low:g} to {high:g}" if high is not None else f"{low:g} and above"
