"""From a payload and what is wanted of its run to what is recommended: pilot, ways, outcomes, choice."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from skyfan import api
from skyfan.aws.forecast import prices_of
from skyfan.claim import read_claim
from skyfan.engines.local import default_workers
from skyfan.errors import InputError
from skyfan.estimating.cautions import STACK_CONCURRENCY
from skyfan.estimating.memory import free_memory_mb
from skyfan.host import usable_cores
from skyfan.keys import RunKeys
from skyfan.prices import DEFAULT_REGION
from skyfan.profiling.samples import refuse_script
from skyfan.storage import open_store
from skyfan.survey import parse_size
from skyfan.tuning.asked import ARCHITECTURES, MEMORY_MB, Asked
from skyfan.tuning.choosing import Choice, choose
from skyfan.tuning.found import Found
from skyfan.tuning.layout import Layout, layouts
from skyfan.tuning.outcome import MARGIN, Ground, Outcome, outcome_of
from skyfan.tuning.pilot import pilot_here
from skyfan.tuning.recommendation import Recommendation, Way, commands, keys, left_out, others
from skyfan.tuning.setting import aws_settings, disturbed, local_settings, worth_trying
from skyfan.tuning.wish import Wish
from skyfan.wording import counted

MOST_WAYS = 5_000

Watch = Callable[[str], None]
"""Is told in words what goes on."""


class Reckoned(Struct, frozen=True, kw_only=True):
    """All ways to run, and the one that is chosen."""

    outcomes: list[Outcome]
    choice: Choice
    own: Outcome | None


def tune(
    payload: api.PayloadLike,
    wish: Wish,
    asked: Asked,
    *,
    watch: Watch = lambda said: None,
    ask: Callable[[str], bool] = lambda question: False,
) -> Recommendation:
    """Recommend how to run a payload: a pilot measures, every way is reckoned, the goal picks one.

    Parameters
    ----------
    payload : Payload, mapping, str or Path
        As for `skyfan.run`.
    wish : Wish
    asked : Asked
    watch : callable
        Is told in words what goes on.
    ask : callable
        Is asked before anything is changed or paid for on AWS; no by default.

    Raises
    ------
    InputError
        If what is asked does not go together, no way can run, or the payload runs a script and no model takes its
        place.
    SkyfanError
        As `skyfan.plan` and `skyfan.profiling.measuring.measure_profile`.
    """
    asked.check()
    if asked.model is None:
        refuse_script(payload, "tune")
    for size in asked.partition_sizes:
        parse_size(size)
    if asked.pilots_on_aws:
        from skyfan.tuning.aws_pilot import pilot_on_aws

        found = pilot_on_aws(payload, asked, watch=watch, ask=ask)
    else:
        found = _found_here(payload, asked, watch)
    reckoned = reckon(found, wish, asked, watch)
    return _recommended(payload, wish, asked, found=found, reckoned=reckoned)


def reckon(found: Found, wish: Wish, asked: Asked, watch: Watch = lambda said: None) -> Reckoned:
    """Reckon every way to run, and choose.

    Raises
    ------
    InputError
        If there are too many ways, or none can run.
    """
    crowds = {setting.workers or found.ground.concurrency for setting in found.settings}
    row_bytes = found.profiles[0].row_bytes
    ways = layouts(found.plan, row_bytes, sizes=asked.partition_sizes, workers=sorted(crowds))
    settings = worth_trying(found.settings)
    count = len(ways) * len(settings)
    if count > MOST_WAYS:
        raise InputError(f"tune: {count:,} ways to run; expected at most {MOST_WAYS:,}: name fewer sizes")
    watch(f"reckoning {counted(count, 'way')} to run")
    outcomes = [outcome_of(layout, setting, found.ground, wish) for layout in ways for setting in settings]
    return Reckoned(outcomes=outcomes, choice=choose(outcomes, wish), own=_own(found, asked, ways[0], wish))


def _found_here(payload: api.PayloadLike, asked: Asked, watch: Watch) -> Found:
    """Measure on this machine, for a run here or, reckoned from it, on AWS."""
    plan = api.plan(payload, store=asked.store, overwrite=True, model=asked.model)
    on_aws = asked.engine == "aws"
    load = os.getloadavg()[0] / usable_cores()
    profile = pilot_here(
        plan.payload,
        asked.store,
        partitions=asked.pilot_partitions,
        batch_sizes=asked.batch_sizes,
        threads=asked.threads,
        workers=(1,) if on_aws else asked.workers,
        seconds=asked.seconds,
        watch=watch,
    )
    store = open_store(asked.store)
    prices, notes = prices_of(asked.region or DEFAULT_REGION, strict=False)
    if read_claim(store.bucket(plan.payload.bucket, create="on paper"), RunKeys(plan.payload.result_path)) is not None:
        notes.append(
            f"{plan.payload.run_id} holds a run already: give --result-path another, or --overwrite deletes it"
        )
    at_once = plan.payload.max_concurrency
    if at_once is not None and not on_aws and at_once < max(asked.workers or [default_workers(1)]):
        notes.append(f"max_concurrency is {at_once}: no more workers than that would be at work")
    concurrency = asked.at_a_time(plan.payload, STACK_CONCURRENCY)
    memory, architectures = asked.memory or MEMORY_MB, asked.architectures or ARCHITECTURES
    settings = aws_settings(profile, {}, memory, architectures) if on_aws else local_settings(profile)
    return Found(
        plan=plan,
        profiles=(profile,),
        settings=disturbed(settings, load),
        ground=Ground(
            prices=prices,
            remote=store.is_server,
            memory_mb=None if on_aws else free_memory_mb(),
            concurrency=concurrency,
        ),
        notes=(*plan.warnings, *notes),
    )


def _own(found: Found, asked: Asked, own: Layout, wish: Wish) -> Outcome | None:
    """Return what the payload as it is would come to, where that was measured; on AWS with what the stack has."""
    payload, stack = found.plan.payload, found.stack or {}
    here = default_workers(payload.threads)
    workers = None if asked.engine == "aws" else min(here, payload.max_concurrency or here)
    memory_mb = int(stack.get("InferMemory", "1769")) if asked.engine == "aws" else None
    architecture = stack.get("Architecture", "arm64") if asked.engine == "aws" else None
    wanted = (payload.batch_size, payload.threads, workers, memory_mb, architecture)
    for one in found.settings:
        if (one.batch_size, one.threads, one.workers, one.memory_mb, one.architecture) == wanted:
            return outcome_of(own, one, found.ground, wish)
    return None


def _recommended(
    payload: api.PayloadLike, wish: Wish, asked: Asked, *, found: Found, reckoned: Reckoned
) -> Recommendation:
    choice, pick = reckoned.choice, reckoned.choice.pick
    named = str(payload) if isinstance(payload, str | Path) else "PAYLOAD"
    options = (("--stack", asked.stack), ("--region", asked.region), ("--profile", asked.profile))
    place = [piece for name, value in options if value is not None for piece in (name, value)]
    typed = commands(
        pick,
        found.plan.payload,
        named=named,
        place=place,
        store=asked.store,
        stack=found.stack,
        concurrency=asked.concurrency,
        model=asked.model,
    )
    return Recommendation(
        run=found.plan.payload.run_id,
        engine=asked.engine,
        wish=wish,
        met=choice.met,
        pick=Way.of(pick),
        payload=keys(pick, found.plan.payload, asked.concurrency, asked.model),
        commands=tuple(typed),
        own=Way.of(reckoned.own) if reckoned.own else None,
        frontier=tuple(map(Way.of, choice.frontier)),
        others=others(reckoned.outcomes, choice),
        left_out=left_out(reckoned.outcomes),
        tried=len(reckoned.outcomes),
        sure=tuple(_sure(pick, found, asked)),
        pilot_usd=found.spent_usd,
        profiles=found.profiles,
    )


def _sure(pick: Outcome, found: Found, asked: Asked) -> Iterator[str]:
    """Say what was measured, what is reckoned, and how far that may be off."""
    profile = found.profiles[0]
    usual_mb = max(ref.bytes for task in found.plan.tasks for ref in task.partitions) / 1024**2
    yield (
        f"measured: speed and memory by batch size, threads and {'workers' if asked.engine == 'local' else 'memory'}, "
        f"seconds of a task and of a cold start, on {profile.machine or 'an unknown machine'}, with partitions of at "
        f"most {usual_mb:.1f} MiB"
        if pick.setting.measured
        else f"measured: on {profile.machine or 'an unknown machine'} only; nothing was measured on AWS with "
        f"{pick.setting.memory_mb} MB and {pick.setting.architecture}"
    )
    yield (
        "reckoned: wall clock, by simulation; other numbers of tasks and sizes of partitions, whose rows take as long "
        f"and whose tasks take the same besides; memory, which must fit {MARGIN:g} times"
    )
    yield f"nine of ten runs should take at most {pick.wall_p90_s / max(pick.wall_s, 1e-9):.2f} times the middle one"
    yield from pick.setting.basis.said
    if asked.engine == "local":
        instance = found.ground.prices.instance
        yield f"cost: core-hours as a share of {instance.name} on demand; your own cores have no bill"
    if found.ground.concurrency > found.ground.account_concurrency and asked.engine == "aws":
        yield (
            f"reckoned: {found.ground.account_concurrency:,} Lambdas at a time, as an account has them unless it asked "
            f"for more; {found.ground.concurrency:,} were asked for"
        )
    yield from found.notes
