"""The Python API on runs: the same verbs as the command line, which only calls these."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyfan import pipeline, stages
from skyfan.blob import is_file
from skyfan.engines.choosing import choose_engine
from skyfan.keys import check_bucket, check_key
from skyfan.payload import Payload, load_payload, parse_payload
from skyfan.runs import Run
from skyfan.stages import Plan
from skyfan.storage import open_store
from skyfan.watching import Watcher, unwatched

PayloadLike = Payload | Mapping[str, Any] | str | Path
"""A payload, its keys as a mapping, or the path of its file."""


def run(
    payload: PayloadLike,
    *,
    store: str | Path | None = None,
    engine: str = "local",
    workers: int | None = None,
    watch: Watcher = unwatched,
    overwrite: bool = False,
    **overrides: Any,
) -> Run:
    """Run a model over every partition that a payload names, or go on where an earlier run of it ended.

    Parameters
    ----------
    payload : Payload, mapping, str or Path
        What to do; a str or Path is that of a JSON file.
    store : str or Path, optional
        Root of the buckets; default `SKYFAN_STORE`, then `./skyfan-data`.
    engine : str
        Where the tasks run: `local`.
    workers : int, optional
        Worker processes, each of one inference thread; default one a core.
    watch : callable, optional
        Is told of every event, see `skyfan.watching`.
    overwrite : bool
        Delete first what another run stored at the result path.
    **overrides
        Payload keys that replace the payload's own, such as `model` or `file_limit`.

    Returns
    -------
    Run
        Look at `run.summary.complete` before you trust it to be all.

    Raises
    ------
    SkyfanError
        See `skyfan.errors`.
    """
    checked, warnings = _payload(payload, overrides)
    opened = open_store(store)
    starter = choose_engine(engine, checked, workers, opened)
    pipeline.drive(checked, opened, starter, watch, warnings=warnings, overwrite=overwrite)
    return Run(opened, checked.bucket, checked.result_path)


def plan(payload: PayloadLike, *, store: str | Path | None = None, overwrite: bool = False, **overrides: Any) -> Plan:
    """Say what `run` would do, and write nothing.

    Parameters
    ----------
    payload, store, overwrite, **overrides
        As for `run`.

    Raises
    ------
    SkyfanError
        As `run`, for all that can be known beforehand.
    """
    checked, warnings = _payload(payload, overrides)
    opened = open_store(store)
    planned = stages.preview(checked, opened, overwrite=overwrite)
    planned.warnings[:0] = warnings
    return planned


def open_run(name: PayloadLike, *, store: str | Path | None = None) -> Run:
    """Open a run that was started before, here or elsewhere.

    Parameters
    ----------
    name : Payload, mapping, str or Path
        Its payload or payload file, or `<bucket>/<result_path>`.
    store : str or Path, optional
        As for `run`.

    Raises
    ------
    UnknownRunError
        If there is no such run.
    """
    opened = open_store(store)
    bucket, result_path = _run_name(name)
    found = Run(opened, bucket, result_path)
    _ = found.payload  # raises if there is none
    return found


def _run_name(name: PayloadLike) -> tuple[str, str]:
    if isinstance(name, str | Path) and not is_file(Path(name)) and not str(name).endswith(".json"):
        bucket, _, result_path = str(name).rstrip("/").partition("/")
        return check_bucket(bucket, "run"), check_key(result_path, "run: the result path after the bucket")
    payload, _ = _payload(name, {})
    return payload.bucket, payload.result_path


def _payload(payload: PayloadLike, overrides: Mapping[str, Any]) -> tuple[Payload, list[str]]:
    if isinstance(payload, str | Path):
        return load_payload(Path(payload), overrides)
    if isinstance(payload, Payload):
        return parse_payload(payload.to_mapping(), overrides)
    return parse_payload(payload, overrides)
