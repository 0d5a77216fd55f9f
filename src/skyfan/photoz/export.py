"""A checkpoint to one ONNX file that carries everything a run needs to know about it."""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

from skyfan.errors import ModelError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz.calibration import bin_edges
from skyfan.photoz.checkpoint import Record
from skyfan.photoz.dataset import Rows, Survey, open_survey, split
from skyfan.photoz.metrics import Scores
from skyfan.photoz.network import Network, NetworkConfig, PhotoZ, count_parameters
from skyfan.photoz.onnx_file import load, quiet, set_metadata, strip
from skyfan.photoz.posterior import OUTPUTS, Calibration, describe_outputs
from skyfan.photoz.scoring import Evaluated, PdfScores, compare, evaluate, finite_rows
from skyfan.photoz.target import check_out, put_in_place

OPSET = 20
"""The first with Gelu as one operator."""
VERSION = "2"
"""Of what an exported model takes and gives; changes with its inputs, outputs or their meaning."""
PARITY = (
    dict.fromkeys(OUTPUTS, 1e-4) | dict.fromkeys(("z_l68", "z_u68", "z_l95", "z_u95"), 1e-3) | {"anomaly_score": 1e-2}
)
"""Largest |file - torch| / (1 + |torch|) of a float32 file, by output; of redshifts it is a difference in z / (1 + z).

A quantile is looser than a mean: where a PDF has next to nothing between two peaks, its last digit moves it far.
"""
KEPT_FLOAT = ("network.normalise.", "network.magnitudes.0.", "network.head.4.", "calibration.")
"""Layers that are never quantised: colours need more than 8 bits, and so do logits and what is made of features."""


@dataclass(frozen=True)
class Exported:
    """A model that was written."""

    path: Path
    size_bytes: int
    parameters: int
    max_dz: float
    """Largest |z(file) - z(torch)| / (1 + z(torch)); for an int8 file it is what quantising changed."""
    differences: dict[str, float]
    """By output, largest |file - torch| / (1 + |torch|)."""
    scores: Scores | None
    """Of the written file on the test survey, if one was given."""
    pdf_scores: PdfScores | None
    int8_change: dict[str, float] | None
    """Of an int8 file on the test survey: its figures less those of float32, and the largest change in a row."""


def export(
    checkpoint: Path, out: Path, *, name: str | None = None, int8: bool = False, test: Path | None = None
) -> Exported:
    """Write the averaged weights of a checkpoint as an ONNX file, with its calibration.

    Its inputs are `image` (n, 5, 32, 32) in nanomaggies a pixel and `magnitude` (n, 5) AB, float32, any n; its outputs
    are `skyfan.photoz.posterior.OUTPUTS`.

    Parameters
    ----------
    checkpoint : Path
        What `train` wrote.
    out : Path
        The ONNX file.
    name : str, optional
        Of the model, for its metadata; by default the file's name without its ending.
    int8 : bool
        Quantise the dense layers' weights: smaller and faster, slightly other redshifts.
    test : Path, optional
        A survey to score the written file on, for its metadata. Of the one that was trained on, only the 5 % of rows
        are used that `train` left for tests; a part of it is not recognised, so give that, or objects never seen.

    Returns
    -------
    exported : Exported
        Size, parity with torch and metrics.

    Raises
    ------
    InputError
        The checkpoint or the test survey cannot be used, as one with too few rows, or the float32 file does not agree
        with torch.
    """
    check_out(out, checkpoint, test)
    record, network, calibration = _open(checkpoint)
    survey = open_survey(test, record.config) if test else None
    rows = _test_rows(record, survey) if survey else np.empty(0, np.int64)
    model = PhotoZ(network, record.config, calibration).eval()
    example = survey.batch(rows[:256])[:2] if survey else draw_galaxies(record, network)
    with tempfile.TemporaryDirectory() as folder:
        file = plain = Path(folder) / "float32.onnx"
        write_onnx(network, record.config, plain, calibration)
        differences = compare(model, plain, example)
        _check_parity(differences)
        if int8:
            file = quantise(plain, Path(folder) / "int8.onnx")
            differences = compare(model, file, example)
        metadata = describe(record, name or out.stem, calibration, int8=int8)
        measured = evaluate(file, survey, rows, record.config) if survey else None
        before = evaluate(plain, survey, rows, record.config) if survey and int8 else None
        change = measured.change_from(before) if measured and before else None
        set_metadata(file, file, metadata | _describe_scores(survey, measured, change))
        put_in_place(file, out)
    return Exported(
        path=out,
        size_bytes=out.stat().st_size,
        parameters=count_parameters(network),
        max_dz=differences["z_phot"],
        differences=differences,
        scores=measured.scores if measured else None,
        pdf_scores=measured.pdf_scores if measured else None,
        int8_change=change,
    )


def export_random(out: Path, config: NetworkConfig | None = None, seed: int = 1) -> tuple[Path, Path]:
    """Write an untrained network, by default exactly of AstroMAE's shape, for benchmarks of speed.

    Returns
    -------
    float32, int8 : Path, Path
        `out`, and beside it `<stem>-int8.onnx`.
    """
    config = config or NetworkConfig(profile=False)
    torch.manual_seed(seed)
    network = Network(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx"
        write_onnx(network, config, plain)
        small = quantise(plain, Path(folder) / "int8.onnx")
        int8 = out.with_name(f"{out.stem}-int8.onnx")
        for file, target in ((plain, out), (small, int8)):
            description = f"{count_parameters(network):,} random weights of seed {seed}: for timing only"
            named = {"name": target.stem, "version": VERSION, "description": description, "seed": str(seed)}
            set_metadata(file, target, named | describe_outputs(bin_edges(config).tolist(), None))
    return out, int8


def write_onnx(network: Network, config: NetworkConfig, out: Path, calibration: Calibration | None = None) -> None:
    """Write a network as one float32 ONNX file without metadata."""
    model = PhotoZ(network, config, calibration).eval()
    pixels = config.image_pixels
    image, magnitude = torch.ones(2, config.bands, pixels, pixels), torch.full((2, config.bands), 17.0)
    batch = torch.export.Dim("batch")
    with quiet():
        program = torch.onnx.export(
            model,
            (image, magnitude),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image", "magnitude"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
        if program is None:
            raise ModelError("torch exported nothing, expected an ONNX program - report it with the version of torch")
        program.save(str(out), external_data=False)
    written = onnx.load(out)
    strip(written)
    onnx.save(written, out)


def quantise(path: Path, out: Path) -> Path:
    """Write an ONNX file with the weights of its dense layers as int8, a scale for each output channel.

    Activations are quantised as the model runs, to uint8 over the range of the whole batch: a row's result depends
    a little on the rows beside it, and a row that is not finite must not be in the batch at all. Convolutions stay
    float32.

    Returns
    -------
    path : Path
        `out`, with the metadata of `path`.

    Raises
    ------
    ModelError
        `path` is not an ONNX file, or `out` cannot be written.
    """
    model = load(path)
    nodes = [node.name for node in model.graph.node if any(i.startswith(KEPT_FLOAT) for i in node.input)]
    kept = [
        *nodes,
        *(f"{name}_MatMul" for name in nodes),
    ]  # what a Gemm is called when the quantiser has taken it apart
    with quiet():
        quantize_dynamic(
            path,
            out,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )
    return set_metadata(out, out, {entry.key: entry.value for entry in model.metadata_props})


def describe(record: Record, name: str, calibration: Calibration | None, *, int8: bool) -> dict[str, str]:
    """Return the metadata of a model, but its metrics."""
    low, high = record.valid_range.magnitude
    length = {
        "pretrain_epochs": record.pretrain_epochs,
        "epochs": record.epochs,
        "minutes": record.minutes,
        "steps": record.step,
        "seconds": record.seconds,
    }
    return {
        "name": name,
        "version": VERSION,
        "description": "photometric redshifts of SDSS-like ugriz cutouts and magnitudes; AstroMAE's shape with a PDF",
        "trained_on": f"{record.training_rows} objects of {record.survey_name} ({record.survey})",
        "valid_range": json.dumps(
            {
                "image": {"min": record.valid_range.image[0], "max": record.valid_range.image[1]},
                "magnitude": {"min": low, "max": high},
            }
        ),
        "bands": record.bands,
        "pixel_scale_arcsec": record.pixel_scale_arcsec,
        "recipe": json.dumps(
            asdict(record.config) | asdict(record.recipe) | length | {"weights": "int8" if int8 else "float32"}
        ),
        "seed": str(record.seed),
    } | describe_outputs(bin_edges(record.config).tolist(), calibration)


def _describe_scores(
    survey: Survey | None, measured: Evaluated | None, change: dict[str, float] | None
) -> dict[str, str]:
    named = {"survey": survey.path.name} if survey else {}
    metrics = {"metrics": _figures(named, measured.figures() if measured else {})}
    return metrics | ({"int8_change": _figures(named, change)} if change else {})


def _figures(named: Mapping[str, str], figures: Mapping[str, float]) -> str:
    """Return JSON of figures; null is one that is not defined, for JSON has no NaN."""
    defined = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    return json.dumps({**named, **defined}, allow_nan=False)


def _check_parity(differences: dict[str, float]) -> None:
    for name, difference in differences.items():
        if not difference <= PARITY[name]:
            raise ModelError(
                f"the exported file differs from torch by {difference:.1e} in {name}, expected at most "
                f"{PARITY[name]:.0e} - report it with the versions of torch and onnxruntime"
            )


def _open(path: Path) -> tuple[Record, Network, Calibration | None]:
    """Return what a checkpoint holds: its record, averaged network and, if one was measured, calibration."""
    loaded = checkpoints.load(path)
    config, tensors = loaded.record.config, loaded.calibration
    try:
        calibration = Calibration.from_tensors(tensors, config.width).eval() if tensors else None
        return loaded.record, loaded.averaged_network(), calibration
    except ModelError as e:
        raise ModelError(f"{path}: {e}") from e


def _test_rows(record: Record, survey: Survey) -> Rows:
    """Return the rows of a survey that were not trained on, are finite and are enough."""
    parts = split(survey.object_id)
    if record.learnt_from(survey, parts):
        return finite_rows(survey, parts.test)
    return finite_rows(survey, np.arange(len(survey)))


def draw_galaxies(record: Record, network: Network, rows: int = 64) -> tuple[Tensor, Tensor]:
    """Return images and magnitudes that look a little like those trained on, to compare on where no survey is given.

    A galaxy is about as bright in each band's range as in the others', and more are faint than bright. Its light is a
    round normal distribution, and its sky has the noise of the training images: half their softening.
    """
    config, noise = record.config, torch.Generator().manual_seed(0)
    low, high = (torch.tensor(values, dtype=torch.float32) for values in record.valid_range.magnitude)
    bright = torch.rand((rows, 1), generator=noise).square() + 0.2 * torch.rand((rows, config.bands), generator=noise)
    magnitude = high - (high - low) * bright / 1.2
    width = 1.5 + 3.0 * torch.rand((rows, 1), generator=noise)  # pixels
    across = torch.arange(config.image_pixels) - (config.image_pixels - 1) / 2
    profile = torch.softmax(-0.5 * (across / width).square(), dim=1)  # (n, x)
    flux = 10.0 ** (0.4 * (22.5 - magnitude))  # nanomaggies
    image = torch.einsum("nb,ny,nx->nbyx", flux, profile, profile)
    sky = 0.5 * network.normalise.softening.view(-1, 1, 1)
    image = image + sky * torch.randn(image.shape, generator=noise)
    return image.clamp(*record.valid_range.image), magnitude
