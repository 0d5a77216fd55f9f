"""What is recommended: the keys and commands, what they come to, from what that was chosen, and how sure it is."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from skyfan.aws.template import parameter_defaults
from skyfan.estimating.bill import MB_BYTES
from skyfan.estimating.fleet import CHILDREN
from skyfan.payload import Payload
from skyfan.profiling.profile import Profile
from skyfan.storage import DEFAULT_STORE, resolve_store
from skyfan.tuning.choosing import Choice
from skyfan.tuning.outcome import Fault, Outcome
from skyfan.tuning.wish import Wish

SURVEY = "SURVEY"
"""Stands in a command for the file that the partitions were cut from, which a payload does not name."""

_SIZED = re.compile(r"\d+(?:\.\d+)?\s*[KMGT]i?B", re.ASCII | re.IGNORECASE)


class Way(Struct, frozen=True, kw_only=True):
    """A way to run, flat, as a row of a table."""

    tasks: int
    partitions: int
    partition_mb: float
    """Of the largest."""
    cut_anew: str
    """Size to cut partitions to; empty for those that are there."""
    world_size: int | None
    """None for one task per partition."""
    batch_size: int
    threads: int
    workers: int | None
    """Processes on this machine; None on AWS."""
    memory_mb: int | None
    """Configured, on AWS."""
    architecture: str | None
    wall_s: float
    wall_p90_s: float
    cost_usd: float
    cost_p90_usd: float
    worker_memory_mb: float
    task_s: float
    """Of the largest, cold, nine times in ten."""
    measured: bool
    """Its speed, where it would run and at this partition size."""
    faults: tuple[Fault, ...] = ()
    """Why it does not do, for what is wished or at all."""

    @classmethod
    def of(cls, one: Outcome) -> "Way":
        """Return an outcome as a row."""
        volume, setting = one.layout.volume, one.setting
        return cls(
            tasks=volume.tasks,
            partitions=volume.partitions,
            partition_mb=round(volume.largest_partition_bytes / MB_BYTES, 3),
            cut_anew=one.layout.size,
            world_size=one.layout.world_size,
            batch_size=setting.batch_size,
            threads=setting.threads,
            workers=setting.workers,
            memory_mb=setting.memory_mb,
            architecture=setting.architecture,
            wall_s=round(one.wall_s, 3),
            wall_p90_s=round(one.wall_p90_s, 3),
            cost_usd=float(f"{one.cost_usd:.6g}"),
            cost_p90_usd=float(f"{one.cost_p90_usd:.6g}"),
            worker_memory_mb=round(one.memory_mb, 1),
            task_s=round(one.task_s, 3),
            measured=setting.measured and not one.layout.size,
            faults=one.faults,
        )


class LeftOut(Struct, frozen=True):
    """Ways that do not do."""

    why: str
    """`memory`, `task time`, `deadline` or `budget`."""
    ways: int
    instance: str
    """What was said of one."""


class Recommendation(Struct, frozen=True, kw_only=True):
    """What is recommended for a payload."""

    schema: int = 1
    run: str
    engine: Literal["local", "aws"]
    wish: Wish
    met: bool
    """Whether it is within deadline and budget; if not, it is the nearest that can be had."""
    pick: Way
    payload: dict[str, int | str]
    """Keys to set."""
    commands: tuple[str, ...]
    own: Way | None
    """The payload as it is; None if that was not measured."""
    frontier: tuple[Way, ...]
    """By wall clock: none is both faster and cheaper than another."""
    others: tuple[Way, ...]
    """Whatever else can run."""
    left_out: tuple[LeftOut, ...]
    tried: int
    """Ways that were reckoned."""
    sure: tuple[str, ...]
    """What was measured, what is reckoned, and how far it may be off."""
    pilot_usd: float | None = None
    """What the pilot cost on AWS, as far as its bills tell."""
    profiles: tuple[Profile, ...]
    """What was measured."""

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def left_out(outcomes: Sequence[Outcome]) -> tuple[LeftOut, ...]:
    """Count the ways that do not do, by why."""
    says: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for one in outcomes:
        for kind in dict.fromkeys(fault.kind for fault in one.faults):
            counts[kind] += 1
            says.setdefault(kind, next(fault.says for fault in one.faults if fault.kind == kind))
    return tuple(LeftOut(kind, count, says[kind]) for kind, count in counts.items())


def others(outcomes: Sequence[Outcome], choice: Choice) -> tuple[Way, ...]:
    """Return what can run and is not on the frontier."""
    known = {id(one) for one in (*choice.frontier, *choice.left_out)}
    return tuple(Way.of(one) for one in outcomes if id(one) not in known)


def keys(
    pick: Outcome, payload: Payload, concurrency: int | None = None, model: str | None = None
) -> dict[str, int | str]:
    """Return the payload keys to set; `concurrency` and `model` are what was asked for, None if nothing was."""
    layout, setting = pick.layout, pick.setting
    found: dict[str, int | str] = {"model": model} if model is not None else {}
    found |= {"batch_size": setting.batch_size, "threads": setting.threads}
    if layout.world_size is not None:
        found["world_size"] = layout.world_size
    elif payload.world_size is not None:
        found["world_size"] = layout.volume.tasks
    if layout.size:
        found["data_prefix"] = prefix_for(payload.data_prefix, layout.size)
        if payload.file_limit is not None:  # as many rows as before, in partitions of another size
            found["file_limit"] = layout.volume.partitions
    if concurrency is not None and concurrency != payload.max_concurrency:
        found["max_concurrency"] = concurrency
    return found


def prefix_for(prefix: str, size: str) -> str:
    """Return a folder for partitions of another size: `surveys/25MB` becomes `surveys/50MB`."""
    folder, slash, last = prefix.rpartition("/")
    return f"{folder}{slash}{size if _SIZED.fullmatch(last) else f'{last}-{size}'}"


def commands(
    pick: Outcome,
    payload: Payload,
    *,
    named: str,
    place: Sequence[str],
    store: str | Path | None = None,
    stack: Mapping[str, str] | None = None,
    concurrency: int | None = None,
    model: str | None = None,
) -> Iterator[str]:
    """Yield what to type, ready for a shell.

    Parameters
    ----------
    pick : Outcome
    payload : Payload
    named : str
        The payload's file.
    place : sequence of str
        Options that say where AWS is, as --stack.
    store : str or Path, optional
        As it was given.
    stack : mapping, optional
        Parameters of the stack that there is; without it what a new one has.
    concurrency : int, optional
        Tasks at a time, as asked for.
    model : str, optional
        In place of the payload's, as asked for.
    """
    at = ["--store", str(store)] if store is not None else []
    set_keys = keys(pick, payload, concurrency, model)
    on_aws = pick.setting.memory_mb is not None
    if pick.layout.size:
        made = f"{payload.data_bucket}/{set_keys['data_prefix']}"
        root = _folder(store)
        kept = ["--store", root] if on_aws else at
        yield shlex.join(["skyfan", "partition", SURVEY, made, "--size", pick.layout.size, *kept])
        if on_aws:
            yield shlex.join(["skyfan", "aws", "upload", f"{root.rstrip('/')}/{made}", made, *place])
    if on_aws and (settings := _stack_options(pick, stack, concurrency)):
        yield shlex.join(["skyfan", "aws", "deploy", *settings, *place])
    options = [piece for key, value in set_keys.items() for piece in (f"--{key.replace('_', '-')}", str(value))]
    where = ["--engine", "aws", *place] if on_aws else [*at, "--workers", str(pick.setting.workers)]
    yield shlex.join(["skyfan", "run", named, *where, *options])


def _folder(store: str | Path | None) -> str:
    """Return the folder on this machine that partitions are cut into before they are uploaded."""
    root = resolve_store(None if store is None else str(store))
    return DEFAULT_STORE if "://" in root else root


def _stack_options(pick: Outcome, stack: Mapping[str, str] | None, concurrency: int | None) -> list[str]:
    """Return the options of a deployment that make a stack as recommended; none if it is so already."""
    defaults = {name: value or "" for name, value in parameter_defaults().items()}
    there = defaults | dict(stack or {})
    setting = pick.setting
    options: list[str] = []
    for option, name, value in (
        ("--memory", "InferMemory", str(setting.memory_mb)),
        ("--architecture", "Architecture", str(setting.architecture)),
    ):
        if stack is None or there[name] != value:
            options += [option, value]
    if concurrency is not None and concurrency > int(there["MaxConcurrency"]):
        options += ["--max-concurrency", str(min(concurrency, CHILDREN))]
    if pick.task_s > float(there["InferTimeout"]):
        options += ["--set", f"InferTimeout={math.ceil(pick.task_s)}"]
    return options
