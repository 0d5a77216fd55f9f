"""The plots of an evaluation, each as PNG and SVG. The colours are for colour-blind readers too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from skyfan.comparison import Compared
from skyfan.photoz import metrics

Floats = NDArray[np.float64]

# after Okabe & Ito 2008, "Color Universal Design"
BLACK, ORANGE, BLUE, GREY = "#000000", "#d55e00", "#0072b2", "#b8b8b8"
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "skyfan",  # the same plot gives the same bytes
}
Z_SPEC, Z_PHOT = (rf"$z_\mathrm{{{name}}}$" for name in ("spec", "phot"))
DZ = r"$\Delta z = (z_\mathrm{phot} - z_\mathrm{spec}) / (1 + z_\mathrm{spec})$"
HALO = [withStroke(linewidth=3.5, foreground="white")]
"""Around lines that cross a density."""
PIT_BINS = 20


def draw(compared: Compared, run: str, folder: Path, suffixes: Sequence[str] = (".png", ".svg")) -> list[Path]:
    """Draw every plot that the columns allow into a folder; return the files."""
    plots = {"redshifts": _redshifts, "residuals": _residuals, "n_of_z": _n_of_z}
    if np.isfinite(compared.columns.get("pit", np.nan)).any():
        plots["pit"] = _pit
    files: list[Path] = []
    with mpl.rc_context(STYLE):
        for name, plot in plots.items():
            figure = Figure(figsize=(6.4, 5.2), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
            canvas = FigureCanvasAgg(figure)
            plot(figure, figure.add_subplot(), compared)
            figure.suptitle(f"{run}: {len(compared):,} galaxies", fontsize=10, color="#555555")
            for suffix in suffixes:
                file = folder / f"{name}{suffix}"
                canvas.print_figure(file, dpi=150, metadata={"Date": None} if suffix == ".svg" else {})
                files.append(file)
    return files


def _redshifts(figure: Figure, axes: Axes, compared: Compared) -> None:
    """Predicted against true redshift: how many galaxies where."""
    z_phot, z_spec = compared.columns["z_phot"], compared.columns["z_spec"]
    low, high = _range(np.concatenate([z_phot, z_spec]))
    _density(figure, axes, (z_spec, z_phot), [(low, high)] * 2)
    line = np.array([low, high])
    axes.plot(line, line, color=BLACK, linewidth=1, label=f"{Z_PHOT} = {Z_SPEC}")
    for sign in (-1, 1):
        label = r"$|\Delta z| = 0.05$" if sign > 0 else None
        axes.plot(line, line + sign * 0.05 * (1 + line), color=ORANGE, linewidth=1.2, linestyle="--", label=label)
    axes.set(
        xlim=(low, high), ylim=(low, high), xlabel=f"true redshift {Z_SPEC}", ylabel=f"predicted redshift {Z_PHOT}"
    )
    axes.set_aspect("equal")
    axes.legend(loc="upper left")


def _residuals(figure: Figure, axes: Axes, compared: Compared) -> None:
    """Error against true redshift, with its median and the 68 % around it."""
    z_spec = compared.columns["z_spec"]
    dz = metrics.dz(compared.columns["z_phot"], z_spec)
    low, high = _range(z_spec)
    half = max(1.35 * float(np.quantile(np.abs(dz), 0.998)), 1e-6)
    _density(figure, axes, (z_spec, dz), [(low, high), (-half, half)])
    edges = np.quantile(z_spec, np.linspace(0, 1, int(np.clip(len(dz) // 50, 1, 20)) + 1))
    number = np.clip(np.searchsorted(edges, z_spec, side="right") - 1, 0, len(edges) - 2)
    bins = [dz[number == i] for i in np.unique(number)]
    centre = [float(np.median(z_spec[number == i])) for i in np.unique(number)]
    quantiles = np.array([np.quantile(item, (0.16, 0.5, 0.84)) for item in bins])
    axes.axhline(0, color=BLACK, linewidth=1)
    axes.plot(centre, quantiles[:, 1], color=ORANGE, linewidth=2, path_effects=HALO, label="median")
    for column, label in ((0, "16 % and 84 %"), (2, None)):
        axes.plot(centre, quantiles[:, column], color=ORANGE, linestyle="--", path_effects=HALO, label=label)
    axes.set(xlim=(low, high), ylim=(-half, half), xlabel=f"true redshift {Z_SPEC}")
    axes.set_ylabel(DZ)
    axes.legend(loc="upper right", ncols=2)


def _pit(_: Figure, axes: Axes, compared: Compared) -> None:
    """PIT histogram, and what chance alone would give."""
    values = compared.columns["pit"][np.isfinite(compared.columns["pit"])]
    counts, edges = np.histogram(values, PIT_BINS, (0, 1))
    expected = len(values) / PIT_BINS
    scatter = np.sqrt(expected * (1 - 1 / PIT_BINS))
    axes.stairs(counts / expected, edges, fill=True, color=BLUE, alpha=0.55)
    axes.axhline(1, color=BLACK, linewidth=1, label="calibrated")
    axes.axhspan(
        1 - 2 * scatter / expected, 1 + 2 * scatter / expected, color=ORANGE, alpha=0.25, label="95 % of chance"
    )
    axes.set(xlim=(0, 1), xlabel=f"PIT: share of the PDF below {Z_SPEC}", ylabel="galaxies / expected")
    axes.set_ylim(0, max(1.5, 1.25 * float((counts / expected).max())))
    axes.legend(loc="upper right", ncols=2)


def _n_of_z(_: Figure, axes: Axes, compared: Compared) -> None:
    """Redshift distributions: true, predicted, and the sum of the PDFs."""
    z_phot, z_spec = compared.columns["z_phot"], compared.columns["z_spec"]
    low, high = _range(np.concatenate([z_phot, z_spec]))
    edges = np.linspace(low, high, int(np.clip(np.sqrt(len(z_spec)), 10, 50)) + 1)
    width = edges[1] - edges[0]
    for values, colour, fill, label in (
        (z_spec, GREY, True, f"true, {Z_SPEC}"),
        (z_phot, BLUE, False, f"predicted, {Z_PHOT}"),
    ):
        counts = np.histogram(values, edges)[0] / (len(values) * width)
        axes.stairs(counts, edges, color=colour, fill=fill, linewidth=1.8, label=label)
    if compared.stacked_pdf is not None and compared.edges is not None and compared.stacked_pdf.any():
        density = compared.stacked_pdf / compared.stacked_pdf.sum() / np.diff(compared.edges)
        centre = (compared.edges[1:] + compared.edges[:-1]) / 2
        axes.plot(centre, density, color=ORANGE, linewidth=1.8, linestyle="--", label="sum of the PDFs")
    axes.set(xlim=(low, high), xlabel="redshift z", ylabel="n(z), share of galaxies a unit of redshift")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right")


def _density(figure: Figure, axes: Axes, points: tuple[Floats, Floats], frame: list[tuple[float, float]]) -> None:
    """Colour a grid by the number of points in each cell."""
    counts, x_edges, y_edges = np.histogram2d(*points, int(np.clip(np.sqrt(len(points[0])) * 0.8, 25, 100)), frame)
    norm = LogNorm(1, max(float(counts.max()), 2.0))
    cells = np.ma.masked_equal(counts.T, 0)
    image = axes.pcolormesh(x_edges, y_edges, cells, norm=norm, cmap="viridis_r", rasterized=True)
    figure.colorbar(image, ax=axes, pad=0.02, format="%g").set_label("galaxies a cell")
    outside = len(points[0]) - int(counts.sum())
    if outside:
        axes.set_title(f"{outside:,} outside the frame", fontsize=9)


def _range(values: Floats) -> tuple[float, float]:
    """Return ends that hold all but the farthest 0.1 % of the values on either side."""
    low, high = (float(end) for end in np.quantile(values, (0.001, 0.999)))
    pad = max(0.05 * (high - low), 1e-3)
    return low - pad, high + pad
