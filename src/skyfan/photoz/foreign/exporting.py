"""A pickled network to one ONNX file: translated elsewhere, held against torch's results, described, scored."""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from skyfan.blob import MappedBlob
from skyfan.errors import ModelError
from skyfan.measure import Meter
from skyfan.partitions import Partition, open_partition
from skyfan.photoz.export import quantise
from skyfan.photoz.foreign.exchange import FLOAT32, WAYS, Job, Translation, read_expected, write_job
from skyfan.photoz.foreign.parity import PARITY, difference
from skyfan.photoz.foreign.pickles import is_pickled
from skyfan.photoz.foreign.process import translate_elsewhere
from skyfan.photoz.foreign.samples import COMPARED_ROWS, draw_samples, usual_shapes
from skyfan.photoz.metrics import Scores, has_truth, scores
from skyfan.photoz.onnx_file import set_metadata
from skyfan.photoz.probability import EDGES_KEY, parse_edges
from skyfan.predictions import NO_VALUE
from skyfan.predictor import Predictor


@dataclass(frozen=True)
class ExportedModule:
    """A network of someone else's that was written."""

    path: Path
    size_bytes: int
    translation: Translation
    compared_rows: int
    max_difference: float
    """Largest relative difference from torch on these rows; for an int8 file it is what quantising changed."""
    scores: Scores | None
    """Of `z_phot` on the test survey, if there are both, and true redshifts in it."""


def export_pickled(
    checkpoint: Path,
    out: Path,
    *,
    code: Path | None = None,
    inputs: Mapping[str, Sequence[int]] | None = None,
    inputs_as: str | None = None,
    outputs: Sequence[str] = (),
    name: str | None = None,
    metadata: Mapping[str, str] | None = None,
    int8: bool = False,
    test: Path | None = None,
) -> ExportedModule:
    """Write a pickled torch module as an ONNX file; this runs the code in `checkpoint` and in `code`.

    `DataParallel` is taken off; the network is put on the CPU, to float32, and to eval().

    Parameters
    ----------
    checkpoint : Path
        What `torch.save(network, ...)` wrote, or a dict with the network under a key such as `model`.
    out : Path
        The ONNX file.
    code : Path, optional
        The folder that the network's modules are imported from.
    inputs : mapping, optional
        Tensors of a partition in the order that forward takes them, and the shape of one row of each. By default
        `image` and `magnitude`, or `image` alone if that is what it takes, of the test survey's shapes, else
        `samples.INPUTS`.
    inputs_as : str, optional
        One of `WAYS`; by default found out by trying.
    outputs : sequence of str
        Names. By default the keys of a dict that forward returns; else one number a row is `z_phot`, and anything
        other `output`, or `output_1`, `output_2`.
    name : str, optional
        Of the model, for its metadata; by default the file's name without its ending.
    metadata : mapping, optional
        More of it, as `bands` or `valid_range`.
    int8 : bool
        Quantise the dense layers' weights: smaller and faster, slightly other results.
    test : Path, optional
        A file of rows, `.safetensors`, `.pt` or `.npz`: torch and the file are compared on the first of them too, and
        the file is scored on all if they have true redshifts.

    Raises
    ------
    InputError
        The checkpoint, its code or the test survey cannot be used, or the float32 file does not agree with torch.
    """
    _check_paths(checkpoint, out, code)
    _check_way(inputs_as)
    survey = open_partition(MappedBlob(_existing(test))) if test else None
    shapes = {key: tuple(shape) for key, shape in (inputs or usual_shapes(survey)).items()}
    samples = draw_samples(shapes, survey)
    job = Job(
        checkpoint=str(checkpoint),
        code=str(code) if code else None,
        inputs=list(shapes),
        may_drop=not inputs,
        inputs_as=inputs_as,
        outputs=list(outputs),
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_job(folder, job, samples)
        found = translate_elsewhere(folder, checkpoint)
        expected = read_expected(folder)
        file = folder / FLOAT32
        worst = difference(file, samples, expected, found)
        _check_parity(checkpoint, worst, found)
        if int8:
            file = quantise(file, folder / "int8.onnx")
            worst = difference(file, samples, expected, found)
        described = _describe(checkpoint, found, name or out.stem) | dict(metadata or {})
        finished = set_metadata(file, folder / "named.onnx", described)
        measured = _scores(finished, described, survey)
        if test and measured:
            described["metrics"] = json.dumps({"survey": test.name, **asdict(measured)})
        set_metadata(finished, out, described)
    rows = sum(len(values) for key, values in expected.items() if key.endswith("/0"))
    return ExportedModule(out, out.stat().st_size, found, rows, worst, measured)


def _check_paths(checkpoint: Path, out: Path, code: Path | None) -> None:
    if not is_pickled(_existing(checkpoint)):
        raise ModelError(
            f"{checkpoint} is not a file of torch.save; expected a zip or a pickle with a whole torch module - check "
            "the path; a checkpoint of 'skyfan train' and an ONNX file need no --trust-pickle"
        )
    if code and not code.is_dir():
        raise ModelError(f"--code {code}: there is no such folder; expected the one that the modules are imported from")
    if out.is_dir() or not out.parent.is_dir():
        raise ModelError(
            f"{out} cannot be written; expected the name of a file in a folder that exists - make it first"
        )


def _check_way(inputs_as: str | None) -> None:
    if inputs_as not in (None, *WAYS):
        raise ModelError(f"inputs_as is {inputs_as!r}; expected one of {', '.join(WAYS)}, or none to have it found out")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file - check the path")
    return path


def _check_parity(checkpoint: Path, worst: float, found: Translation) -> None:
    if not worst <= PARITY:
        raise ModelError(
            f"{checkpoint}: the exported file differs from torch by {worst:.1e}, expected at most {PARITY:.0e}"
            f"{f' (it was traced, as {found.traced})' if found.traced else ''} - take what depends on the "
            "data, on chance or on the batch out of forward"
        )


def _describe(checkpoint: Path, found: Translation, name: str) -> dict[str, str]:
    with checkpoint.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    meaning = {"z_phot": "photometric redshift"}
    return {
        "name": name,
        "version": "1",
        "description": f"{found.network} as it was pickled, {found.parameters:,} parameters",
        "outputs": json.dumps(
            {key: {"unit": "", "description": meaning.get(key, f"{key} of {name}")} for key in found.outputs}
        ),
        "exported_from": checkpoint.name,
        "checkpoint_sha256": sha256,
    }


def _scores(file: Path, metadata: Mapping[str, str], survey: Partition | None) -> Scores | None:
    """Open the file as a run does, and score it where that can be done."""
    predictor = Predictor(file, metadata["name"])
    parse_edges(metadata.get(EDGES_KEY), predictor.name)
    if survey is None:
        return None
    predicted = predictor.predict(survey, COMPARED_ROWS, Meter())
    z_phot, truth = predicted.outputs.get("z_phot"), survey.columns().get("redshift")
    if z_phot is None or truth is None or z_phot.ndim > 1:
        return None
    good = has_truth(truth) & ((predicted.flags & NO_VALUE.value) == 0)
    return scores(z_phot[good], truth[good])
