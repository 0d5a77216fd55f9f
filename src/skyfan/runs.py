"""A run as a user holds it: what was asked, where it stands, its catalogue."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from arro3.core import RecordBatchReader
from numpy.typing import NDArray

from skyfan.claim import read_claim
from skyfan.comparison import compare
from skyfan.errors import InputError, PartitionError, UnknownRunError
from skyfan.evaluation import BOOTSTRAP, Evaluation, evaluate, write
from skyfan.keys import RunKeys
from skyfan.manifest import decode_manifest
from skyfan.payload import Payload
from skyfan.predictions import FOOTER_KEY, chain_parts, read_part
from skyfan.reports import collect
from skyfan.staging import find_pdf_edges
from skyfan.standing import Standing, stand
from skyfan.storage import Store
from skyfan.summary import Summary, decode_summary
from skyfan.task import PartRef, Report, Task, decode_report
from skyfan.verification import AGAIN, Verification, verify_run
from skyfan.watching import Billed, decode_bill

if TYPE_CHECKING:
    from skyfan.catalog.writing import Format


class Run:
    """A run, as its store shows it. Open one with `skyfan.open_run`, or get it from `skyfan.run`.

    Parameters
    ----------
    store : Store
    bucket, result_path : str
        Together they name the run.
    """

    def __init__(self, store: Store, bucket: str, result_path: str) -> None:
        self.id = f"{bucket}/{result_path}"
        self._keys = RunKeys(result_path)
        self._bucket = store.bucket(bucket)

    def __repr__(self) -> str:
        return f"<skyfan run {self.id} in {self._bucket.where}>"

    @property
    def payload(self) -> Payload:
        """What was asked for.

        Raises
        ------
        UnknownRunError
            If there is no such run.
        """
        payload = read_claim(self._bucket, self._keys)
        if payload is None:
            raise UnknownRunError(
                f"{self.id}: there is no run in {self._bucket.where}; expected <bucket>/<result_path>, "
                "or its payload file"
            )
        return payload

    @property
    def tasks(self) -> list[Task]:
        """The plan; empty if the run was interrupted before it had one."""
        data = self._bucket.get(self._keys.manifest)
        return decode_manifest(data, f"{self._bucket.name}/{self._keys.manifest}") if data else []

    @property
    def summary(self) -> Summary | None:
        """The verdict of the last drive that came to its end; None if none did."""
        return decode_summary(self._bucket.get(self._keys.summary))

    @property
    def bill(self) -> Billed | None:
        """What its last execution on AWS did cost; None elsewhere, and if nobody watched it to its end."""
        return decode_bill(self._bucket.get(self._keys.bill))

    def reports(self) -> Iterator[Report]:
        """Yield the reports of the tasks that are done, by rank, one at a time."""
        tasks = self.tasks
        found = map(decode_report, self._bucket.get_many(self._keys.report(task.rank) for task in tasks))
        return (report for task, report in zip(tasks, found, strict=True) if report and report.answers(task))

    def status(self) -> Standing:
        """Say where the run stands, from the store alone."""
        return stand(self.payload, self.tasks, self._bucket, self._keys)

    def verify(self) -> Verification:
        """Prove that the catalogue is complete: every part is read, hashed and counted again."""
        return verify_run(self.payload, self.tasks, self._bucket, self._keys)

    def predictions(self) -> RecordBatchReader:
        """Stream the catalogue, in the order of the ranks.

        Returns
        -------
        RecordBatchReader
            An Arrow stream: `pyarrow.table(...)`, `polars.DataFrame(...)` and others take it without a copy. Parts of
            tasks that are not done are not in it; `summary.complete` tells.

        Raises
        ------
        InputError
            If its tasks ran a script.
        """
        self._check_catalogue()
        return chain_parts(self._parts())

    def evaluate(self, out: str | Path | None = None, *, bootstrap: int = BOOTSTRAP) -> Evaluation:
        """Hold the predictions against the true redshifts: every metric, with errors and in bins.

        Parameters
        ----------
        out : str or Path, optional
            Folder for metrics.json, metrics.md and the plots, which need the extra `plots`; without it nothing is
            written.
        bootstrap : int
            Resamples that the errors come from; 0 for no errors.

        Raises
        ------
        InputError
            If its tasks ran a script, the catalogue has no true redshifts, or the folder cannot be written.
        """
        standing, predictions = self.status(), self.predictions()
        edges: NDArray[np.float64] | None = None
        warnings: list[str] = []
        if "pdf" in predictions.schema.names and (model := self.tasks[0].model) is not None:
            edges, warnings = find_pdf_edges(model, self._bucket)
        compared = compare(predictions, self.id, edges)
        evaluation = evaluate(compared, self.id, self.summary, bootstrap, warnings, standing=standing)
        return evaluation if out is None else write(evaluation, compared, Path(out))

    def catalog(
        self,
        out: str | Path,
        format: "Format" = "parquet",  # noqa: A002  (what astropy and every other tool calls it)
        *,
        overwrite: bool = False,
        allow_incomplete: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Path:
        """Write the predictions as one catalogue with units and UCDs. Needs the extra `catalog`.

        Parameters
        ----------
        out : str or Path
            The file, or with `hats` the folder, to write; it appears when it is whole.
        format : str
            `parquet` (VOParquet), `fits`, `votable` or `hats`.
        overwrite : bool
            Replace what is there.
        allow_incomplete : bool
            Write what is there of a run that is not complete; the catalogue then says so.
        progress : callable
            Told of the rows done and their total.

        Raises
        ------
        InputError
            If its tasks ran a script, the run is not complete, the target exists or cannot be written, the extra is
            missing, or the format cannot hold these rows.
        PartitionError
            If a part is not what its task wrote.
        """
        from skyfan.catalog.writing import write_catalog

        self._check_catalogue()
        return write_catalog(
            self, Path(out), format, overwrite=overwrite, allow_incomplete=allow_incomplete, progress=progress
        )

    @property
    def metadata(self) -> dict[str, str]:
        """What the parts say of where they come from: `model`, `model_sha256`, `version`, and the model's `outputs`.

        Empty if no task is done.
        """
        for name, data in self._parts():
            said: dict[str, str] = json.loads(read_part(data, name).schema.metadata_str[FOOTER_KEY])
            return said
        return {}

    def part_keys(self) -> list[str]:
        """Return the keys of the parts of the tasks that are done, by rank."""
        return [part.key for part in self._done_parts()]

    @property
    def where(self) -> str:
        """Where the catalogue's parts lie; if its tasks ran a script, where all that the run stored does."""
        folder = self._keys.result_path if self.payload.is_script else self._keys.predictions
        return f"{self._bucket.where}/{folder}"

    def _check_catalogue(self) -> None:
        payload = self.payload
        if payload.is_script:
            raise InputError(
                f"{self.id}: its tasks ran the script {payload.script!r}: skyfan has no catalogue of it; what it wrote "
                "is its own. Expected a run of a model; the results that scripts left for skyfan are in "
                f"{self._keys.combined}"
            )

    def _parts(self) -> Iterator[tuple[str, bytes]]:
        for part in self._done_parts():
            data = self._bucket.get(part.key) or b""
            if hashlib.sha256(data).hexdigest() != part.sha256:
                raise PartitionError(f"{part.key}: is not what its task wrote; {AGAIN} (see 'skyfan verify')")
            yield part.key, data

    def _done_parts(self) -> list[PartRef]:
        done = collect(self._bucket, self._keys, self.tasks).done.values()
        return [task.part for task in done if task.part is not None]
