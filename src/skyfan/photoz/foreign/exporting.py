"""A pickled network to one ONNX file: translated elsewhere, held against torch's results, described, scored."""

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from skyfan.blob import MappedBlob
from skyfan.errors import ModelError
from skyfan.measure import Meter
from skyfan.partitions import Partition, open_partition
from skyfan.photoz.export import quantise
from skyfan.photoz.foreign.asked import check_asked, check_metadata, checked_shapes
from skyfan.photoz.foreign.exchange import FLOAT32, Job, Translation, read_expected, write_job
from skyfan.photoz.foreign.parity import PARITY, difference
from skyfan.photoz.foreign.pickles import is_pickled
from skyfan.photoz.foreign.process import translate_elsewhere
from skyfan.photoz.foreign.samples import COMPARED_ROWS, draw_samples, usual_shapes
from skyfan.photoz.metrics import Scores, has_truth, scores
from skyfan.photoz.onnx_file import set_metadata
from skyfan.photoz.target import check_out, put_in_place
from skyfan.predictions import missing
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
    """Of `z_phot` on the test survey, if there are both, and true redshifts in it; NaN where one is not defined."""


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
        Names. By default the keys of a dict that forward returns; else one number per row is `z_phot`, and anything
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
        The checkpoint, its code or the test survey cannot be used, the float32 file does not agree with torch, or a run
        would refuse it.
    """
    _check_paths(checkpoint, code)
    check_out(out, checkpoint, test)
    check_asked(inputs_as, outputs)
    check_metadata(metadata or {})
    survey = open_partition(MappedBlob(_existing(test))) if test else None
    shapes = checked_shapes(inputs or usual_shapes(survey))
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
        measured = _finish(file, described, found, survey)
        put_in_place(file, out)
    rows = sum(len(values) for key, values in expected.items() if key.endswith("/0"))
    return ExportedModule(out, out.stat().st_size, found, rows, worst, measured)


def _check_paths(checkpoint: Path, code: Path | None) -> None:
    if not is_pickled(_existing(checkpoint)):
        raise ModelError(
            f"{checkpoint} is not a file of torch.save; expected a zip or a pickle with a whole torch module - check "
            "the path; a checkpoint of 'skyfan train' and an ONNX file need no --trust-pickle"
        )
    if code and not code.is_dir():
        raise ModelError(f"--code {code}: there is no such folder; expected the one that the modules are imported from")


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


def _finish(file: Path, described: dict[str, str], found: Translation, survey: Partition | None) -> Scores | None:
    """Give a file its metadata, refuse what a run would refuse of it, and return its scores, if it can be scored."""
    set_metadata(file, file, described)
    predictor = Predictor(file, described["name"])
    for output, shape in found.outputs.items():
        predictor.check_output(output, (None, *shape))
    measured = _scores(predictor, survey) if survey else None
    if survey and measured is not None:
        # null is a figure that is not defined: JSON has no NaN
        figures = {key: value if math.isfinite(value) else None for key, value in asdict(measured).items()}
        metrics = json.dumps({"survey": Path(survey.name).name, **figures}, allow_nan=False)
        set_metadata(file, file, described | {"metrics": metrics})
    return measured


def _scores(predictor: Predictor, survey: Partition) -> Scores | None:
    """Score a model on the rows that have both a redshift of it and a true one; None where there is no such row."""
    predicted = predictor.predict(survey, COMPARED_ROWS, Meter())
    z_phot, truth = predicted.outputs.get("z_phot"), survey.columns().get("redshift")
    if z_phot is None or truth is None or z_phot.ndim > 1:
        return None
    good = has_truth(truth) & ~missing(z_phot, predicted.flags)
    return scores(z_phot[good], truth[good]) if good.any() else None
