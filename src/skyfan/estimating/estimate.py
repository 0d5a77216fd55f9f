"""The outlook of a payload, or of a survey that is only thought of: from what a user says to what is reckoned."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from skyfan import api
from skyfan.aws.forecast import FULL_CORE_MB, ROW_BYTES, prices_of
from skyfan.cost import LAMBDA_MB, Architecture, Workflow
from skyfan.engines.choosing import AWS
from skyfan.engines.local import default_workers
from skyfan.errors import ClaimedError, InputError
from skyfan.estimating.basis import Basis, aws_basis, local_basis
from skyfan.estimating.bill import Setup
from skyfan.estimating.fleet import ACCOUNT_CONCURRENCY, CHILDREN
from skyfan.estimating.outlook import Outlook, outlook
from skyfan.estimating.place import Cloud, Machine, Place
from skyfan.estimating.volume import Volume
from skyfan.planning import Plan
from skyfan.prices import DEFAULT_REGION
from skyfan.profiling.measuring import profile_of_run
from skyfan.profiling.profile import Profile, load_profile
from skyfan.profiling.samples import refuse_script
from skyfan.storage import open_store
from skyfan.survey import parse_size

PARTITION_SIZE = "25MB"


class Asked(Struct, frozen=True, kw_only=True):
    """What a user says beside the payload; None is not said."""

    store: str | Path | None = None
    engine: str | None = None
    """`local` or `aws`; by default `local` with a payload and `aws` without."""
    data: str | None = None
    """Without a payload: how much, as in `1TB`."""
    rows: float | None = None
    """Without a payload: how many galaxies."""
    partition_size: str | None = None
    model: str | None = None
    """In place of the payload's, or of its script."""
    file_limit: int | None = None
    """Of the payload: at most so many partitions."""
    world_size: int | None = None
    batch_size: int | None = None
    threads: int | None = None
    workers: int | None = None
    """On this machine."""
    concurrency: int | None = None
    """Tasks at a time, at most."""
    account_concurrency: int | None = None
    """On AWS: Lambdas at a time, at most."""
    memory: int | None = None
    """On AWS: of a worker, MB."""
    architecture: Architecture | None = None
    children: Workflow | None = None
    region: str | None = None
    """Whose prices."""
    speed: str | Path | None = None
    """A profile's file."""
    from_run: str | None = None
    """A run whose reports say the speed."""
    seed: int = 0


def estimate(payload: api.PayloadLike | None, asked: Asked) -> tuple[str, Outlook]:
    """Say what a payload would take, or without one a survey that is made up; nothing is written.

    Parameters
    ----------
    payload : Payload, mapping, str, Path or None
        As for `skyfan.run`.
    asked : Asked

    Returns
    -------
    title, outlook : str, Outlook

    Raises
    ------
    InputError
        If what is asked does not go together, or the payload runs a script and no model takes its place.
    SkyfanError
        As `skyfan.plan`.
    """
    engine = asked.engine or ("local" if payload is not None else AWS)
    _check(payload, asked, engine)
    profile = _asked_profile(asked)
    notes: list[str] = []
    if payload is None:
        volume, title = _imagined(asked, profile), "a survey that is made up"
    else:
        plan, begun, notes = _plan(payload, asked)
        profile = profile or (_so_far(plan, asked) if begun else None)
        volume, title = Volume.of(plan, profile.row_bytes if profile else ROW_BYTES), plan.payload.run_id
        notes = [*notes, *plan.warnings]
    volume = volume.with_run(batch_size=asked.batch_size, threads=asked.threads, max_concurrency=asked.concurrency)
    place, basis = _place(volume, profile, asked, on_aws=engine == AWS)
    prices, of_prices = prices_of(asked.region or DEFAULT_REGION, strict=False)
    found = outlook(volume, basis, place, prices, seed=asked.seed)
    return title, structs.replace(found, warnings=(*notes, *found.warnings, *of_prices))


def _check(payload: api.PayloadLike | None, asked: Asked, engine: str) -> None:
    """Refuse what has no meaning, before anything is read."""
    of_payload, made_up = ("model", "file_limit"), ("data", "rows", "partition_size")
    places = dict.fromkeys(of_payload, "with a payload") | dict.fromkeys(made_up, "without a payload")
    refused = list(of_payload if payload is None else made_up)
    refused += ["workers"] if engine == AWS else ["account_concurrency", "memory", "architecture", "children"]
    for name in refused:
        if getattr(asked, name) is not None:
            where = places.get(name, "with the other engine")
            raise InputError(
                f"{name}: got {getattr(asked, name)!r}; expected it only {where}: leave it out, or see --engine"
            )
    if asked.speed is not None and asked.from_run is not None:
        raise InputError("speed: got a profile's file and a run as well; expected one of --speed and --from-run")
    for name in ("file_limit", "world_size", "batch_size", "threads", "workers", "concurrency", "account_concurrency"):
        value = getattr(asked, name)
        if value is not None and not 1 <= value <= 10**9:
            raise InputError(f"{name}: got {value}; expected 1 or more")
    if asked.seed < 0:
        raise InputError(f"seed: got {asked.seed}; expected 0 or more")
    least, most = LAMBDA_MB
    if asked.memory is not None and not least <= asked.memory <= most:
        raise InputError(f"memory: got {asked.memory} MB; expected {least} to {most}, as Lambda has them")


def _asked_profile(asked: Asked) -> Profile | None:
    if asked.speed is not None:
        return load_profile(Path(asked.speed))
    if asked.from_run is not None:
        run = api.open_run(asked.from_run, store=asked.store)
        return profile_of_run(run)
    return None


def _imagined(asked: Asked, profile: Profile | None) -> Volume:
    return Volume.imagined(
        row_bytes=profile.row_bytes if profile else ROW_BYTES,
        partition_bytes=parse_size(asked.partition_size or PARTITION_SIZE),
        data_bytes=parse_size(asked.data) if asked.data is not None else None,
        rows=asked.rows,
        world_size=asked.world_size,
    )


def _plan(payload: api.PayloadLike, asked: Asked) -> tuple[Plan, bool, list[str]]:
    """Return the plan of what is still to do, whether tasks of the run are done, and what is to be said of it.

    Of a run that is done, and of another payload's path, it is the plan of all tasks.
    """
    if asked.model is None:
        refuse_script(payload, "estimate")
    names = ("model", "file_limit", "world_size", "batch_size", "threads")
    options: dict[str, Any] = {name: getattr(asked, name) for name in names}
    try:
        plan = api.plan(payload, store=asked.store, **options)
        begun, again = bool(plan.done), "" if plan.pending else "all tasks are done: this is for doing them again"
    except ClaimedError:
        begun, again = False, "the result path holds a run of another payload: this is for doing all tasks"
    if again:
        plan = api.plan(payload, store=asked.store, overwrite=True, **options)
    return plan, begun, [again] if again else []


def _so_far(plan: Plan, asked: Asked) -> Profile | None:
    """Return what the tasks that are done tell of the speed, if they do."""
    run = api.open_run(plan.payload, store=asked.store)
    with suppress(InputError):  # of several models, or without a worker's start
        return profile_of_run(run)
    return None


def _place(volume: Volume, profile: Profile | None, asked: Asked, *, on_aws: bool) -> tuple[Place, Basis]:
    batch_size, threads = volume.batch_size, volume.threads
    if not on_aws:
        workers = min(asked.workers or default_workers(threads), volume.max_concurrency or volume.tasks, volume.tasks)
        remote = open_store(asked.store).is_server
        basis = local_basis(profile, volume.model, batch_size=batch_size, threads=threads, workers=workers)
        return Machine(workers, remote), basis
    memory_mb = asked.memory or FULL_CORE_MB
    account = asked.account_concurrency or ACCOUNT_CONCURRENCY
    setup = Setup(memory_mb=memory_mb, architecture=asked.architecture or "arm64", children=asked.children or "EXPRESS")
    basis = aws_basis(profile, volume.model, batch_size=batch_size, threads=threads, memory_mb=memory_mb)
    return Cloud(setup, volume.max_concurrency or min(account, CHILDREN), account), basis
