"""The Python API on what a run needs: surveys, partitions, models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyfan.errors import InputError
from skyfan.ingest.opening import find_survey, open_survey
from skyfan.ingest.options import ingest_options
from skyfan.keys import check_bucket, check_prefix
from skyfan.partitions import Index
from skyfan.storage import open_store
from skyfan.survey import Progress, parse_size, rows_per_partition, split
from skyfan.wording import with_extra

if TYPE_CHECKING:
    from skyfan.photoz.export import Exported
    from skyfan.photoz.foreign import ExportedModule
    from skyfan.photoz.trainer import Progress as TrainingProgress


def partition(
    source: str | Path,
    dest: str,
    *,
    size: str | int | None = None,
    rows: int | None = None,
    store: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
    **ingest: Any,
) -> Index:
    """Split a survey into partitions, with an index that says what they must hold.

    Parameters
    ----------
    source : str or Path
        A file (`.safetensors`, `.pt`, `.npz`), an `s3://bucket/key` address, or `<bucket>/<key>` in the store; or a
        local FITS table, HDF5 file, Zarr group, or folder of FITS cutouts, which need the extra `ingest`.
    dest : str
        `<bucket>/<prefix>` in the store.
    size : str or int
        Largest partition: `"25MB"` (MB = 1,048,576 bytes) or a number of bytes.
    rows : int
        Rows of a partition, instead of `size`.
    store : str or Path, optional
        As for `run`.
    overwrite : bool
        Delete the partitions that are there.
    progress : callable
        Told of the rows done and their total.
    **ingest
        What must be said of FITS, HDF5 and Zarr, as in `skyfan.ingest.options.IngestOptions`: `bands="ugriz"`,
        `size_pixels`, `pad`, `image_unit`, `zero_point`, `magnitude_columns`, `magnitude_system`, `catalog`, `columns`,
        `pixel_scale`, `survey`.

    Raises
    ------
    PartitionError
        If the survey cannot be read.
    SurveyError
        If partitions are there already, or the survey does not say what must be known of it.
    """
    options = ingest_options(**ingest)
    opened = open_store(store)
    bucket, _, prefix = dest.partition("/")
    check_bucket(bucket, "destination")
    check_prefix(prefix, "destination: the prefix after the bucket")
    size_bytes = parse_size(size) if isinstance(size, str) else size
    survey = open_survey(find_survey(source, opened), options)
    rows_each = rows_per_partition(survey, size_bytes, rows)
    target = opened.bucket(bucket, create="store")  # not before all else is clear: it makes a folder
    return split(survey, target, prefix.rstrip("/"), rows_each, overwrite=overwrite, progress=progress)


def simulate(
    out: str | Path,
    rows: int,
    seed: int = 1,
    *,
    workers: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Simulate a survey; see `skyfan.photoz.simulate`. Needs the extra `simulate`.

    Parameters
    ----------
    out : str or Path
        The safetensors file to write.
    rows : int
        Number of galaxies.
    seed : int
        The same seed gives the same bytes, whatever the number of workers.
    workers : int, optional
        Processes; default one per core.
    progress : callable
        Told of the galaxies done and their total.

    Raises
    ------
    SurveyError
        If the extra is missing, or the file cannot be written.
    """
    from skyfan.photoz.simulate import simulate as simulate_survey

    return simulate_survey(Path(out), rows, seed, workers=workers, progress=progress)


def train(
    survey: str | Path,
    out: str | Path,
    *,
    size: str | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    pretrain: float | None = None,
    seed: int | None = None,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    recipe: Mapping[str, float | str] | None = None,
    progress: "Callable[[TrainingProgress], None] | None" = None,
) -> Path:
    """Train a photometric-redshift network; see `skyfan.photoz.train`. Needs the extra `train`.

    Parameters
    ----------
    survey : str or Path
        A survey file with true redshifts, as `simulate` writes it.
    out : str or Path
        The checkpoint.
    size : str, optional
        Of the network: `small`, the default, or `astromae`.
    epochs, minutes : float, optional
        How long; of both, whichever ends first; default 10 epochs.
    pretrain : float, optional
        Epochs in which the encoder first learns as a masked autoencoder; default none. They come on top.
    seed : int, optional
        Of weights, order and augmentation; default 1.
    device : str
        `cpu` or `cuda`.
    resume : bool
        Go on from `out` if it exists; a training at its end is calibrated anew.
    overwrite : bool
        Replace `out` if it exists.
    recipe : mapping, optional
        Numbers of the optimisation that are not to be as suits the size: `batch_size`, `learning_rate`,
        `warmup_steps`, `precision` and the rest of `skyfan.photoz.checkpoint.Recipe`.
    progress : callable, optional
        Told where the training stands.

    Raises
    ------
    InputError
        If the extra is missing, or the survey, the checkpoint or the device cannot be used.
    """
    with _extra("train"):
        from skyfan.photoz.network import NetworkConfig
        from skyfan.photoz.train import train as train_network
    sizes = {"small": NetworkConfig.small, "astromae": NetworkConfig}
    if size is not None and size not in sizes:
        raise InputError(f"size {size!r}: there is no such network; expected one of {', '.join(sizes)}")
    return train_network(
        Path(survey),
        Path(out),
        config=sizes[size]() if size else None,
        epochs=epochs,
        minutes=minutes,
        pretrain=pretrain,
        seed=seed,
        device=device,
        resume=resume,
        overwrite=overwrite,
        recipe=recipe,
        progress=progress,
    )


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    name: str | None = None,
    int8: bool = False,
    test: str | Path | None = None,
    trust_pickle: bool = False,
    code: str | Path | None = None,
    inputs: Mapping[str, Sequence[int]] | None = None,
    inputs_as: str | None = None,
    outputs: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> "Exported | ExportedModule":
    """Write a checkpoint as one ONNX file; see `skyfan.photoz.export` and `skyfan.photoz.foreign`.

    Needs the extra `train`. From `code` on, arguments are for pickled networks alone.

    Parameters
    ----------
    checkpoint : str or Path
        From `train`; or, with `trust_pickle`, any torch network that was pickled whole.
    out : str or Path
        The ONNX file.
    name : str, optional
        Of the model, in its metadata.
    int8 : bool
        Quantise the dense layers.
    test : str or Path, optional
        A survey to score the file with; of the one that was trained on, the rows left for tests.
    trust_pickle : bool
        Load a pickled network. This runs code that is in it: give it only for files of people whom you trust.
    code : str or Path, optional
        The folder that the network's modules are imported from.
    inputs : mapping, optional
        Tensors of a partition, in the order that forward takes them, and the shape of a row of each; default
        `{"image": (5, 32, 32), "magnitude": (5,)}`, or as in the test survey.
    inputs_as : str, optional
        `list` for `forward([image, magnitude])`, `arguments` for `forward(image, magnitude)`; by default found out.
    outputs : sequence of str
        Names of the outputs; default `z_phot` for one number per row.
    metadata : mapping, optional
        More to write into the file, as `bands` or `valid_range`.

    Raises
    ------
    InputError
        If the extra is missing, the checkpoint cannot be used, or the file does not predict the same as torch.
    """
    with _extra("train"):
        from skyfan.photoz.export import export as export_checkpoint
        from skyfan.photoz.foreign import export_pickled, refuse_pickled
    checkpoint, out, test = Path(checkpoint), Path(out), Path(test) if test else None
    if trust_pickle:
        return export_pickled(
            checkpoint,
            out,
            code=Path(code) if code else None,
            inputs=inputs,
            inputs_as=inputs_as,
            outputs=outputs,
            name=name,
            metadata=metadata,
            int8=int8,
            test=test,
        )
    refuse_pickled(checkpoint)
    foreign = {"code": code, "inputs": inputs, "inputs_as": inputs_as, "outputs": outputs, "metadata": metadata}
    if given := [key for key, value in foreign.items() if value]:
        raise InputError(
            f"{given[0]!r} was given without trust_pickle (--trust-pickle); it is for a network that was pickled "
            "whole - give both, or neither for a checkpoint of 'skyfan train'"
        )
    return export_checkpoint(checkpoint, out, name=name, int8=int8, test=test)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Say which extra to install if a module of one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; {with_extra(name)}") from error
