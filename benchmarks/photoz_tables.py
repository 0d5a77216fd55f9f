"""The figures of photoz.py as Markdown."""

from collections.abc import Sequence
from typing import Any

from skyfan.evaluation import LABELS, Estimate, shown

Figures = dict[str, Any]

NOT_SHOWN = ("sigma_68", "mse")


def page(figures: Figures) -> list[str]:
    """Return every table, each with a line on what it shows."""
    train, test = figures["train"], figures["test"]
    head = (
        f"{test['rows']:,} galaxies of `{figures['survey']}`, seed {test['seed']}; baselines learnt from "
        f"{train['learnt']:,} of {train['rows']:,}, seed {train['seed']}. dz = (z_phot - z_spec) / (1 + z_spec). "
        f"Errors are from {figures['bootstrap']} bootstrap samples."
    )
    lines = [
        head,
        "",
        *scores(figures),
        "",
        *choices(figures),
        "",
        f"What the images gain, row by row of the same galaxies; the best baseline is {figures['best_baseline']}:",
        "",
        *gains(figures),
        "",
        *by_redshift(figures),
        "",
        *speed(figures),
    ]
    return [*lines, "", *pair(figures["pair"], figures["models"]), ""] if "pair" in figures else [*lines, ""]


def scores(figures: Figures) -> list[str]:
    """Return every metric of every model and baseline."""
    methods = figures["models"] | figures["baselines"]
    names = [n for n in LABELS if n not in NOT_SHOWN and any(n in method["metrics"] for method in methods.values())]
    rows = [[LABELS[name], *(cell(method["metrics"].get(name)) for method in methods.values())] for name in names]
    return table(["metric", *methods], rows)


def choices(figures: Figures) -> list[str]:
    """Return what each model was trained on, and what each baseline chose."""
    trained = [
        f"- {name}: trained on {each['trained_on'] or 'what it does not say'}"
        + ("" if each["same_training_rows"] else "; these are **not** the rows that the baselines learnt from")
        for name, each in figures["models"].items()
    ]
    chosen = [
        f"- {name}: {', '.join(f'{key} {value}' for key, value in each['choices'].items())}, by the validation rows"
        for name, each in figures["baselines"].items()
    ]
    return trained + chosen


def gains(figures: Figures) -> list[str]:
    """Return what every model gains over every baseline."""
    rows = [
        [model, other + (" (best)" if other == figures["best_baseline"] else ""), *gain(found)]
        for model, each in figures["gains"].items()
        for other, found in each.items()
    ]
    return table(["model", "over", "less sigma_NMAD, %", "|dz| > 0.05, points", "|dz| > 0.15, points"], rows)


def gain(found: Figures) -> list[str]:
    """Return one gain in per cent, and two differences of shares in points of a per cent."""
    names = ("sigma_nmad_gain", "outlier_005_difference", "outlier_015_difference")
    return [percent(found[name], found[f"{name}_error"]) for name in names]


def by_redshift(figures: Figures) -> list[str]:
    """Return the default model's metrics in bins of true redshift."""
    names = ("bias_mean", "sigma_nmad", "outlier_fraction_005")
    found = figures["models"][figures["default"]]["by_z"]
    rows = [
        [f"{b['low']:g} to {b['high']:g}", f"{b['rows']:,}", *(cell(b["metrics"][name]) for name in names)]
        for b in found
        if b["low"] is not None and b["high"] is not None
    ]
    return table([f"z_spec, {figures['default']}", "galaxies", *(LABELS[name] for name in names)], rows)


def speed(figures: Figures) -> list[str]:
    """Return every model's size and speed."""
    rows = [
        [name, f"{each['size_bytes'] / 1e6:.1f}", f"{each['images_per_s_one_thread']:,.0f}"]
        for name, each in figures["models"].items()
    ]
    return table(["model", "MB", "images/s, one thread, batches of 32"], rows)


def pair(found: Figures, models: Figures) -> list[str]:
    """Return what the second of a pair changes of the first."""
    plain, small = found["of"]
    names = [name for name in LABELS if name not in NOT_SHOWN and name in models[plain]["metrics"]]
    rows = [[LABELS[name], *(cell(models[each]["metrics"].get(name)) for each in (plain, small))] for name in names]
    scatter, *outliers = gain(found["gain"])
    rows += [
        ["less sigma_NMAD, %", "", scatter],
        ["|dz| > 0.05 and > 0.15, points", "", " and ".join(outliers)],
        ["largest change of z / (1 + z)", "", f"{found['largest_change_dz']:.2g}"],
        ["mean change of z / (1 + z)", "", f"{found['mean_change_dz']:.2g}"],
        ["size", "", f"{found['share_of_size']:.2f} times"],
        ["images/s", "", f"{found['times_faster']:.2f} times"],
    ]
    return table(["", plain, small], rows)


def cell(estimate: dict[str, float | None] | None) -> str:
    """Return a metric with its error; a dash where a method has none."""
    return "-" if estimate is None else shown(Estimate(**estimate))


def percent(value: float, error: float) -> str:
    """Return a share with its error in per cent; an error of 0 is one of a figure that no sample changes."""
    return f"{100 * value:+.1f} ± {100 * error:.1f}" if abs(value) > 0.1 else f"{100 * value:+.2f} ± {100 * error:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [
        "| " + " | ".join(text.replace("|", "\\|") for text in line) + " |"
        for line in [head, ["---"] * len(head), *rows]
    ]
