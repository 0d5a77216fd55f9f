"""The built-in worker: an ONNX model, loaded once per process, run over a partition batch by batch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skyfan.errors import ModelError, PartitionError
from skyfan.measure import Meter
from skyfan.partitions import Partition
from skyfan.photoz.probability import EDGES_KEY, parse_edges
from skyfan.predictions import NO_VALUE, RESERVED
from skyfan.screening import ValidRange, parse_unusual_above, parse_valid_range, screen, screen_outputs
from skyfan.session import open_session, run_session
from skyfan.wording import counted

_MEND = "mend the partition, or the model in its export"

_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
}


@dataclass(frozen=True)
class ModelInput:
    """One input of a model."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]
    """None where any size goes; the first is the batch."""

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of that shape fits, its rows aside."""
        pairs = zip(self.shape[1:], shape[1:], strict=False)
        return len(self.shape) == len(shape) and all(want in (None, got) for want, got in pairs)


@dataclass(frozen=True)
class Predicted:
    """What a model returned for one partition."""

    outputs: dict[str, NDArray[Any]]
    """By name, shape (rows,) or (rows, values)."""
    flags: NDArray[np.uint16]
    """Shape (rows,); see `skyfan.predictions.Flag`."""
    batches: int


class Predictor:
    """A loaded model.

    Parameters
    ----------
    source : Path or bytes
        The ONNX file, or its content.
    name : str
        For messages.
    to_predict : bool
        False to look at its inputs and outputs only: it is then loaded in a fraction of the time, and slow to run.
    threads : int
        Of one call of `predict`. One a process, and a process a core, is the fastest way to fill a machine.

    Raises
    ------
    ModelError
        If it is not ONNX, or cannot take partitions.
    """

    def __init__(self, source: Path | bytes, name: str, *, to_predict: bool = True, threads: int = 1) -> None:
        self.name = name
        self._session = open_session(source, name, to_predict, threads)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs = tuple(_model_input(node, name) for node in self._session.get_inputs())
        self.outputs = tuple(str(node.name) for node in self._session.get_outputs())
        self._ranges: Mapping[str, ValidRange] = parse_valid_range(self.metadata.get("valid_range"), name)
        self._unusual_above: Mapping[str, float] = parse_unusual_above(self.metadata.get("unusual_above"), name)
        self.pdf_edges = parse_edges(self.metadata.get(EDGES_KEY), name)
        """Redshifts between the bins of the output `pdf`, (bins + 1,); None if the model does not say."""
        if clash := sorted(RESERVED.intersection(self.outputs)):
            raise ModelError(
                f"model {name}: an output is called {clash[0]!r}, which is a column of its own; rename it in the export"
            )
        if not self.inputs:
            raise ModelError(f"model {name}: has no input; expected tensors of a partition, as image; export it anew")
        self._refuse_unknown("valid_range", self._ranges, [needed.name for needed in self.inputs], "input")
        self._refuse_unknown("unusual_above", self._unusual_above, self.outputs, "output")
        for needed in self.inputs:
            bands = _bands(needed.shape)
            if needed.name in self._ranges and bands is not None:
                self._ranges[needed.name].check(needed.name, bands, name)
        for node in self._session.get_outputs():
            if node.shape:  # none where the model does not say how many axes there are
                self.check_output(node.name, _sizes(node))

    def _refuse_unknown(self, key: str, named: Iterable[str], known: Iterable[str], kind: str) -> None:
        """Refuse metadata that speak of what the model does not have."""
        if unknown := sorted(set(named).difference(known)):
            raise ModelError(
                f"model {self.name}: its metadata {key!r} names {unknown[0]!r}, which is not an {kind}; "
                f"expected some of {', '.join(known)}; correct it in the export"
            )

    def check(self, partition: Partition) -> None:
        """Check that a partition has what the model needs.

        Raises
        ------
        PartitionError
            If an input is missing, has another shape, or other bands than the model's valid range.
        """
        for needed in self.inputs:
            tensor = partition.tensors.get(needed.name)
            if tensor is None:
                raise PartitionError(
                    f"{partition.name}: no tensor {needed.name!r}, which the model {self.name} needs; "
                    f"it has {', '.join(sorted(partition.tensors))}; rename the model's inputs in its export, "
                    "or the tensors"
                )
            if not needed.accepts(tensor.shape):
                raise PartitionError(
                    f"{partition.name}: {needed.name} has the shape {tensor.shape}; expected {_shown(needed.shape)} "
                    f"for the model {self.name}"
                )
            bands = _bands(tensor.shape)
            if needed.name in self._ranges and bands is not None and not self._ranges[needed.name].fits(bands):
                raise PartitionError(
                    f"{partition.name}: its {needed.name} has {counted(bands, 'band')}, and the limits of the model "
                    f"{self.name} ('valid_range' in its metadata) are not for as many; expected one number, or a list "
                    f"of {bands}; {_MEND}"
                )

    def check_output(self, name: str, shape: tuple[int | None, ...]) -> None:
        """Refuse an output `pdf` of another number of bins than the metadata say, as far as its shape is known."""
        edges = self.pdf_edges if name == "pdf" else None
        if edges is not None and (len(shape) != 2 or shape[1] not in (None, len(edges) - 1)):
            raise ModelError(
                f"model {self.name}: its output 'pdf' has the shape {_shown(shape)} and its metadata {EDGES_KEY!r} "
                f"{len(edges)} numbers; expected one number more than bins; correct it in the export"
            )

    def predict(self, partition: Partition, batch_size: int, meter: Meter) -> Predicted:
        """Run the model over every row of a partition.

        Rows that cannot be predicted (see `NO_VALUE`) are flagged, never skipped; their outputs mean nothing.

        Raises
        ------
        PartitionError
            As `check`, or if the model fails on its rows, or returns another number of rows than it was given.
        """
        self.check(partition)
        names = [needed.name for needed in self.inputs]
        flags = np.zeros(partition.rows, np.uint16)
        outputs: dict[str, NDArray[Any]] = {}
        starts = range(0, partition.rows, batch_size)
        for start in starts:
            stop = min(start + batch_size, partition.rows)
            with meter.phase("read"):
                batch = self._narrowed(partition.read(names, start, stop))
                flags[start:stop] = screen(batch, self._ranges)
                feed, usable = self._feed(batch, flags[start:stop])
            if usable:
                with meter.phase("predict"):
                    self._store(outputs, self._run(feed, partition), start, stop, partition)
            partition.blob.release()
        if not outputs:
            self._store(outputs, self._without_a_good_row(partition), 0, 0, partition)
        flags |= screen_outputs(outputs, self._unusual_above, flags)
        return Predicted(outputs, flags, len(starts))

    def _narrowed(self, batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Convert to the model's floats before rows are screened: 1e39 is a number in float64, infinite in float32."""
        floats = {needed.name: needed.dtype for needed in self.inputs if needed.dtype.kind == "f"}
        with np.errstate(over="ignore"):
            return batch | {name: batch[name].astype(dtype, copy=False) for name, dtype in floats.items()}

    def _feed(self, batch: dict[str, NDArray[Any]], flags: NDArray[np.uint16]) -> tuple[dict[str, NDArray[Any]], bool]:
        """Convert a batch to what the model takes, bad rows replaced by a good one; say if there is any good one.

        A bad row must not reach the model: with int8 weights, one infinity would spoil the scale of its whole batch.
        """
        bad = np.flatnonzero(flags & NO_VALUE.value)
        if len(bad) == len(flags):
            return {}, False
        if len(bad):
            good = int(np.flatnonzero((flags & NO_VALUE.value) == 0)[0])
            batch = {name: values.copy() for name, values in batch.items()}
            for values in batch.values():
                values[bad] = values[good]
        return {needed.name: batch[needed.name].astype(needed.dtype, copy=False) for needed in self.inputs}, True

    def _run(self, feed: dict[str, NDArray[Any]], partition: Partition) -> dict[str, NDArray[Any]]:
        rows = len(next(iter(feed.values())))
        try:
            results = run_session(self._session, feed)
        except ValueError as error:
            said = f"{partition.name}: the model {self.name} failed on a batch of {counted(rows, 'row')}: {error}"
            raise PartitionError(f"{said}; expected a batch that it takes; {_MEND}") from error
        for name, values in zip(self.outputs, results, strict=True):
            if (
                not isinstance(values, np.ndarray)
                or values.ndim == 0
                or len(values) != rows
                or values.dtype.kind not in "fiub"
            ):
                got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
                raise PartitionError(
                    f"{partition.name}: output {name!r} of the model {self.name} is {got} for {counted(rows, 'row')}; "
                    f"expected one number or list per row; {_MEND}"
                )
        return dict(zip(self.outputs, results, strict=True))

    def _store(
        self,
        outputs: dict[str, NDArray[Any]],
        results: dict[str, NDArray[Any]],
        start: int,
        stop: int,
        partition: Partition,
    ) -> None:
        for name, values in results.items():
            if name not in outputs:
                self._check_found(name, values.shape, partition)
                outputs[name] = np.zeros((partition.rows, *values.shape[1:]), values.dtype)
            if outputs[name].shape[1:] != values.shape[1:]:
                raise PartitionError(
                    f"{partition.name}: output {name!r} of the model {self.name} is {values.shape} for one batch, "
                    f"{outputs[name].shape[1:]} a row for another; expected lists of one length; {_MEND}"
                )
            outputs[name][start:stop] = values[: stop - start]

    def _check_found(self, name: str, shape: tuple[int, ...], partition: Partition) -> None:
        """Check an output as `check_output`: found in one partition, it may be that partition's alone."""
        try:
            self.check_output(name, shape)
        except ModelError as error:
            raise PartitionError(f"{partition.name}: {error}") from error

    def _without_a_good_row(self, partition: Partition) -> dict[str, NDArray[Any]]:
        """Run the model on one row of zeros, to learn what columns it has."""
        shapes = {needed.name: (1, *partition.tensors[needed.name].shape[1:]) for needed in self.inputs}
        return self._run(
            {needed.name: np.zeros(shapes[needed.name], needed.dtype) for needed in self.inputs}, partition
        )


def _model_input(node: Any, name: str) -> ModelInput:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise ModelError(f"model {name}: input {node.name!r} is {node.type}; expected one of {', '.join(_DTYPES)}")
    shape = _sizes(node)
    if not shape or shape[0] is not None:
        raise ModelError(
            f"model {name}: input {node.name!r} has the shape {_shown(shape)}; expected a first axis of any length "
            "(export with a dynamic batch axis)"
        )
    return ModelInput(node.name, dtype, shape)


def _sizes(node: Any) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in node.shape)


def _bands(shape: tuple[int | None, ...]) -> int | None:
    return shape[1] if len(shape) > 1 else 1


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
