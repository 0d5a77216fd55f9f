"""A sweep on Dask: a cluster on this machine has the workers that are asked for, another has its own."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from bench.small import TRIAL, sweep
from skyfan.bench.folder import beginning, is_whole
from skyfan.bench.sweep import Cut, Sweep, Trial, plan_sweep
from skyfan.bench.sweeping import run_sweep
from skyfan.bench.trial import command_of, payload_of
from skyfan.storage import Store

CUT = Cut("25MB", 1000, 8, 4)
ADDRESS = {"scheduler": "tcp://10.0.0.1:8786"}
JOBS = {"scheduler": "slurm", "cluster_options": "night.yaml"}


def command(wanted: Sweep, trial: Trial = TRIAL) -> str:
    return " ".join(command_of(wanted, trial, Path("payload.json"), Store("/x"), overwrite=False))


def workers(wanted: Sweep) -> list[int | None]:
    return [item.workers for item in plan_sweep(structs.replace(wanted, workers=()), [CUT], 4).configurations]


@pytest.mark.parametrize("place", [{}, {"scheduler": "local"}])
def test_a_cluster_on_this_machine_has_the_workers_asked_for(place: dict[str, str]) -> None:
    wanted = sweep(engine="dask", place=place)
    asked = f" --scheduler {place['scheduler']}" if place else ""
    assert command(wanted).endswith(f"--engine dask{asked} --store /x --workers 1")
    assert "max_concurrency" not in payload_of(wanted, TRIAL, "25MB")
    assert workers(wanted) == [2], "two tasks need no more of the four cores"


def test_jobs_are_started_in_the_number_asked_for(store: Store) -> None:
    wanted = sweep(engine="dask", place=JOBS)
    assert "--engine dask --cluster-options night.yaml --scheduler slurm --store /x --workers 1" in command(wanted)
    assert "max_concurrency" not in payload_of(wanted, TRIAL, "25MB")
    assert workers(wanted) == [None]
    assert beginning(wanted, "", store).machine == ""


def test_a_scheduler_that_is_there_has_its_own_workers(store: Store) -> None:
    wanted = sweep(engine="dask", place=ADDRESS)
    assert command(wanted).endswith("--engine dask --scheduler tcp://10.0.0.1:8786 --store /x")
    assert payload_of(wanted, TRIAL, "25MB")["max_concurrency"] == 1
    assert workers(wanted) == [None]
    assert plan_sweep(structs.replace(wanted, workers=(2,), threads=(64,)), [CUT], 4).notes == ()
    assert beginning(wanted, "", store).machine == ""


def test_another_scheduler_is_another_sweep(store: Store) -> None:
    fixed = [beginning(sweep(engine="dask", place=place), "", store).fixed() for place in ({}, ADDRESS)]
    assert fixed[0] != fixed[1]


def test_a_sweep_on_dask_is_measured_as_one(store: Store, out: Path) -> None:
    pytest.importorskip("distributed")
    (found,) = run_sweep(sweep(engine="dask"), out, store)
    assert is_whole(found), found.problem
    assert (found.engine, found.workers, found.partitions, found.rows) == ("dask", 1, 2, 15)


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_crowded_cores_are_said_where_they_are_ours(engine: str) -> None:
    found: Any = plan_sweep(structs.replace(sweep(engine=engine), threads=(64,)), [CUT], 4)
    assert "more than the 4 cores here" in found.notes[0]
