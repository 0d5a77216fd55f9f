"""A checkpoint to one ONNX file that carries everything a run needs to know about it."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

from skyfan.errors import ModelError
from skyfan.photoz import checkpoint as checkpoints
from skyfan.photoz.checkpoint import Record
from skyfan.photoz.dataset import Survey, blocks, open_survey
from skyfan.photoz.metrics import Scores, scores
from skyfan.photoz.network import Network, NetworkConfig, PhotoZ, count_parameters
from skyfan.photoz.onnx_file import load, open_session, quiet, set_metadata, strip

OPSET = 20
"""The first with Gelu as one operator."""
VERSION = "1"
"""Of what an exported model takes and gives; changes with its inputs, outputs or their meaning."""
PARITY_DZ = 1e-4
"""Largest difference in z / (1 + z) between torch and a float32 file."""
OUTPUTS = {
    "z_phot": {"unit": "", "description": "photometric redshift: the mean of the PDF over redshift bins"},
    "z_phot_std": {"unit": "", "description": "standard deviation of the PDF over redshift bins"},
}
KEPT_FLOAT = ("network.magnitudes.0.", "network.head.4.")
"""Layers that are never quantised: colours need more than 8 bits, and so do the logits."""


@dataclass(frozen=True)
class Exported:
    """A model that was written."""

    path: Path
    size_bytes: int
    parameters: int
    max_dz: float
    """Largest |z(file) - z(torch)| / (1 + z(torch)); for an int8 file it is what quantising changed."""
    scores: Scores | None
    """Of the written file on the test survey, if one was given."""


def export(
    checkpoint: Path, out: Path, *, name: str | None = None, int8: bool = False, test: Path | None = None
) -> Exported:
    """Write the averaged weights of a checkpoint as an ONNX file.

    Its inputs are `image` (n, 5, 32, 32) in nanomaggies a pixel and `magnitude` (n, 5) AB, float32, any n.

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
        A survey that was not trained on; the written file's metrics on it go into the metadata.

    Returns
    -------
    exported : Exported
        Size, parity with torch and metrics.

    Raises
    ------
    InputError
        The checkpoint or the test survey cannot be used, or the float32 file does not agree with torch.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise ModelError(
            f"{out} cannot be written; expected the name of a file in a folder that exists - make it first"
        )
    loaded = checkpoints.load(checkpoint)
    record, network = loaded.record, loaded.averaged_network()
    survey = open_survey(test, record.config) if test else None
    metadata = describe(record, name or out.stem, int8=int8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "float32.onnx"
        write_onnx(network, record.config, file)
        example = _example(record, survey)
        max_dz = _difference(network, record.config, file, example)
        if not max_dz <= PARITY_DZ:
            raise ModelError(
                f"the exported file differs from torch by {max_dz:.1e} in dz, expected at most {PARITY_DZ:.0e} - "
                "report it with the versions of torch and onnxruntime"
            )
        if int8:
            file = quantise(file, Path(folder) / "int8.onnx")
            max_dz = _difference(network, record.config, file, example)
        measured = evaluate(file, survey) if survey else None
        metrics = {"survey": survey.path.name, **asdict(measured)} if survey and measured else {}
        set_metadata(file, out, metadata | {"metrics": json.dumps(metrics)})
    return Exported(out, out.stat().st_size, count_parameters(network), max_dz, measured)


def export_random(out: Path, config: NetworkConfig | None = None, seed: int = 1) -> tuple[Path, Path]:
    """Write an untrained network, by default of AstroMAE's size, for benchmarks of speed.

    Returns
    -------
    float32, int8 : Path, Path
        `out`, and beside it `<stem>-int8.onnx`.
    """
    config = config or NetworkConfig()
    torch.manual_seed(seed)
    network = Network(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx"
        write_onnx(network, config, plain)
        small = quantise(plain, Path(folder) / "int8.onnx")
        int8 = out.with_name(f"{out.stem}-int8.onnx")
        for file, target in ((plain, out), (small, int8)):
            description = f"{count_parameters(network):,} random weights of seed {seed}: for timing only"
            named = {"name": target.stem, "version": VERSION, "description": description}
            set_metadata(file, target, named | {"outputs": json.dumps(OUTPUTS), "seed": str(seed)})
    return out, int8


def write_onnx(network: Network, config: NetworkConfig, out: Path) -> None:
    """Write a network as one float32 ONNX file without metadata."""
    model = PhotoZ(network, config).eval()
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
    kept = [node.name for node in model.graph.node if any(i.startswith(KEPT_FLOAT) for i in node.input)]
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


def describe(record: Record, name: str, *, int8: bool) -> dict[str, str]:
    """Return the metadata of a model, but its metrics."""
    low, high = record.valid_range.magnitude
    length = {"epochs": record.epochs, "minutes": record.minutes, "steps": record.step, "seconds": record.seconds}
    return {
        "name": name,
        "version": VERSION,
        "description": "photometric redshifts of SDSS-like ugriz cutouts and magnitudes; AstroMAE's shape with a PDF",
        "trained_on": f"{record.training_rows} objects of {record.survey_name} ({record.survey})",
        "outputs": json.dumps(OUTPUTS),
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
    }


def evaluate(model: Path, survey: Survey) -> Scores:
    """Return the metrics of an ONNX file on every row of a survey."""
    session = open_session(model)
    rows = np.arange(len(survey))
    z_phot = [_run(session, *survey.batch(block)[:2])[0] for block in blocks(rows, 64)]
    return scores(np.concatenate(z_phot), survey.redshift)


def _example(record: Record, survey: Survey | None) -> tuple[Tensor, Tensor]:
    """Return inputs to compare on: the first rows of the test survey, else noise over the range of training."""
    if survey:
        image, magnitude, _ = survey.batch(np.arange(min(256, len(survey))))
        return image, magnitude
    noise = torch.Generator().manual_seed(0)
    config = record.config
    low, high = (torch.tensor(values, dtype=torch.float32) for values in record.valid_range.magnitude)
    image = torch.randn((64, config.bands, config.image_pixels, config.image_pixels), generator=noise)
    return image, low + (high - low) * torch.rand((64, config.bands), generator=noise)


def _difference(network: Network, config: NetworkConfig, path: Path, example: tuple[Tensor, Tensor]) -> float:
    with torch.no_grad():
        expected = PhotoZ(network, config).eval()(*example)[0].numpy()
    return float(np.max(np.abs(_run(open_session(path), *example)[0] - expected) / (1.0 + expected)))


def _run(session: onnxruntime.InferenceSession, image: Tensor, magnitude: Tensor) -> list[NDArray[np.float32]]:
    inputs: dict[str, Any] = {"image": image.numpy(), "magnitude": magnitude.numpy()}
    return session.run(list(OUTPUTS), inputs)  # type: ignore[no-any-return]
