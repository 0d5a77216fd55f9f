"""The Python API on runs: the same verbs as the command line, which only calls these."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyfan import pipeline, planning
from skyfan.blob import is_file
from skyfan.engines.choosing import AWS, Wanted, choose_engine
from skyfan.errors import InputError
from skyfan.keys import RunKeys, check_bucket, check_key
from skyfan.payload import Payload, load_payload, parse_payload
from skyfan.planning import Plan
from skyfan.runs import Run
from skyfan.stopping import stop_run
from skyfan.storage import open_store
from skyfan.watching import Watcher, unwatched

if TYPE_CHECKING:
    from skyfan.aws.session import Cloud

S3 = "s3://"

PayloadLike = Payload | Mapping[str, Any] | str | Path
"""A payload, its keys as a mapping, or the path of its file."""


def run(
    payload: PayloadLike,
    *,
    store: str | Path | None = None,
    engine: str = "local",
    workers: int | None = None,
    scheduler: str | None = None,
    cluster_options: str | Path | None = None,
    watch: Watcher = unwatched,
    overwrite: bool = False,
    allow_scripts: bool = False,
    compat_payload_json: bool = False,
    stack: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    max_cost: float | None = None,
    detach: bool = False,
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
        Where the tasks run: `local`; `dask`; or `aws`, on a stack that 'skyfan aws deploy' made: the store is then S3.
    workers : int, optional
        Worker processes, each of one inference thread; default one per core.
    scheduler : str, optional
        Of Dask: the address of a scheduler that there is, the path of its scheduler file, or `slurm`, which submits the
        workers as jobs; default a cluster on this machine.
    cluster_options : str or Path, optional
        YAML file that says what the jobs are with `slurm`.
    watch : callable, optional
        Is told of every event, see `skyfan.watching`.
    overwrite : bool
        Delete first what another run stored at the result path.
    allow_scripts : bool
        Let a payload's `script` run: a program that can do whatever its caller can. On AWS the stack decides.
    compat_payload_json : bool
        Write payload.json at the root of the bucket too, with `data_map`, for scripts that read the original system's.
        Two runs at once write over each other's.
    stack, region, profile : str, optional
        On AWS: the stack, by default `SKYFAN_STACK`, then `skyfan`; its region and the credentials, by default what
        boto3 finds.
    max_cost : float, optional
        On AWS, USD: refuse to start what may cost more, and stop what has.
    detach : bool
        On AWS: return as soon as the run is started. It goes on by itself; the same call again watches it.
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
    if engine == AWS:
        from skyfan.aws import driver

        _check_not_on_aws(scheduler=scheduler, cluster_options=cluster_options, compat_payload_json=compat_payload_json)
        cloud, name = _place_on_aws(store, workers, stack, region, profile)
        options: dict[str, Any] = {"overwrite": overwrite, "max_cost": max_cost, "detach": detach}
        driver.drive(checked, cloud, name, watch, warnings=warnings, **options)
        return Run(cloud.store(), checked.bucket, checked.result_path)
    _check_for_others(engine, stack=stack, region=region, profile=profile, max_cost=max_cost, detach=detach or None)
    opened = open_store(store)
    options_path = Path(cluster_options) if cluster_options is not None else None
    starter = choose_engine(Wanted(engine, workers, scheduler, options_path), checked, opened)
    pipeline.drive(
        checked,
        opened,
        starter,
        watch,
        warnings=warnings,
        overwrite=overwrite,
        allow_scripts=allow_scripts,
        share_payload=compat_payload_json,
    )
    return Run(opened, checked.bucket, checked.result_path)


def plan(
    payload: PayloadLike,
    *,
    store: str | Path | None = None,
    engine: str = "local",
    watch: Watcher = unwatched,
    overwrite: bool = False,
    stack: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    max_cost: float | None = None,
    **overrides: Any,
) -> Plan:
    """Say what `run` would do, and write nothing.

    Parameters
    ----------
    payload, store, engine, watch, overwrite, stack, region, profile, max_cost, **overrides
        As for `run`; on AWS `watch` is told what it would cost.

    Raises
    ------
    SkyfanError
        As `run`, for all that can be known beforehand.
    """
    checked, warnings = _payload(payload, overrides)
    if engine == AWS:
        from skyfan.aws import driver

        cloud, name = _place_on_aws(store, None, stack, region, profile)
        return driver.preview(checked, cloud, name, watch, warnings=warnings, overwrite=overwrite, max_cost=max_cost)
    _check_for_others(engine, stack=stack, region=region, profile=profile, max_cost=max_cost)
    opened = open_store(store)
    planned = planning.preview(checked, opened, overwrite=overwrite)
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


def stop(
    name: PayloadLike,
    *,
    store: str | Path | None = None,
    stack: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> str:
    """Stop a run that is under way, here or on AWS; running its payload again goes on.

    Parameters
    ----------
    name : Payload, mapping, str or Path
        As for `open_run`.
    store : str or Path, optional
        As for `run`; S3 if something of AWS is named.
    stack : str, optional
        Stack on which it was started; needed only in the seconds in which nothing in the store says so yet.
    region, profile : str, optional
        As for `run`.

    Returns
    -------
    str
        What was done. That nobody drives the run is no error.

    Raises
    ------
    InputError
        If a process of another machine drives it.
    SkyfanError
        If it does not stop.
    """
    bucket_name, result_path = _run_name(name)
    keys, run_name = RunKeys(result_path), f"{bucket_name}/{result_path}"
    on_aws = store is None and any(value is not None for value in (stack, region, profile))
    bucket = (_cloud(region, profile).store() if on_aws else open_store(store)).bucket(bucket_name)
    if stack is not None:
        from skyfan.aws import machine
        from skyfan.aws.stack import describe_stack

        cloud = _cloud(region, profile)
        arn = describe_stack(cloud, stack).state_machine_arn
        execution = machine.find_execution(cloud, arn, run_name, bucket, keys)
        if execution is not None and machine.stop(cloud, execution, bucket, keys):
            return f"{run_name}: the execution {execution} stopped; running the same payload again goes on"
    return stop_run(run_name, bucket, keys, lambda found: _cloud(found, profile))


def _cloud(region: str | None, profile: str | None) -> "Cloud":
    from skyfan.aws.session import Cloud

    return Cloud(region, profile)


def _place_on_aws(
    store: str | Path | None, workers: int | None, stack: str | None, region: str | None, profile: str | None
) -> "tuple[Cloud, str]":
    """Return the account and the stack to run on; what only other engines take is refused."""
    from skyfan.aws.session import resolve_stack

    if store is not None and str(store).rstrip("/") != S3.rstrip("/"):
        raise InputError(f"store: got {store} with the engine 'aws'; expected {S3}, or none: its buckets lie on S3")
    if workers is not None:
        raise InputError(f"workers: got {workers} with the engine 'aws'; expected none: limit it with max_concurrency")
    return _cloud(region, profile), resolve_stack(stack)


def _check_for_others(engine: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise InputError(
                f"{name}: got {value!r} with the engine {engine!r}; expected it with the engine 'aws' only"
            )


def _check_not_on_aws(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise InputError(f"{name}: got {value!r} with the engine 'aws'; expected it with other engines only")


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
