"""What a whole run does, whatever its engine.

`local` and `dask`, the latter on a cluster of others, on a folder; `aws` on an emulated AWS with the same content.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import skyfan
from aws.stacks import deploy
from aws.states import Machine, serve
from engines.sites import ROWS, Aws, Dask, Local, Seen, Site, everything_of, reports, spoil, stored
from factories import expected_z, make_rows, write_partition
from running import check_run
from s3 import request as ask
from skyfan.aws import following, handlers
from skyfan.errors import ClaimedError, RunFailedError, SurveyError
from skyfan.keys import RunKeys
from skyfan.watching import Ended, Planned, RunEvent, Started, TaskDone, TaskGivenUp


@pytest.fixture(scope="module")
def _server() -> Iterator[Machine]:
    with serve() as machine:
        yield machine


@pytest.fixture
def open_aws(_server: Machine, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Aws]]:
    """Open an AWS of which nothing is left of other tests, with our stack, and the store's content in its bucket."""

    def start() -> Aws:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": _server.address,
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(following, "look_every_s", lambda tasks: 0.2)
        ask(_server.address, "POST", "/moto-api/reset")
        ask(_server.address, "PUT", "/sky")
        site = Aws(_server)
        for path in (root / "sky").rglob("*.*"):
            site.bucket.put(path.relative_to(root / "sky").as_posix(), path.read_bytes())
        _server.handlers = {
            "Initialize": handlers.initialize,
            "Infer": handlers.infer,
            "InferLarge": handlers.infer,
            "Summarize": handlers.summarize,
        }
        deploy(_server, (files("skyfan.aws") / "statemachine.asl.json").read_text())
        return site

    handlers._store.cache_clear()
    yield start
    handlers._store.cache_clear()


@pytest.fixture(params=["local", "dask", "aws"])
def site(request: pytest.FixtureRequest, root: Path) -> Site:
    if request.param == "local":
        return Local(root)
    if request.param == "dask":
        return Dask(root, request.getfixturevalue("scheduler"))
    opened: Aws = request.getfixturevalue("open_aws")()
    return opened


@pytest.fixture
def payload(asked: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """With a path of its own: an execution that a failed test leaves under way must not meet the next one's."""
    digest = hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    return asked | {"result_path": f"results/{digest}"}


@pytest.fixture
def keys(payload: dict[str, Any]) -> RunKeys:
    return RunKeys(payload["result_path"])


def test_a_run_gives_the_whole_catalogue_and_tells_of_every_task(
    site: Site, payload: dict[str, Any], finished: skyfan.Run, root: Path
) -> None:
    seen = Seen()
    run = site.run(payload, watch=seen)
    check_run(run, ROWS)
    assert seen.names == ["Planned", *["TaskDone"] * 4, "Ended"]
    (planned,), (end,) = seen.of(Planned), seen.of(Ended)
    assert (planned.run, planned.tasks, planned.tasks_done, planned.rows_done) == (run.id, 4, 0, 0)
    assert seen.ranks_done == [0, 1, 2, 3]
    assert sum(event.report.rows_out for event in seen.of(TaskDone)) == end.summary.rows_out == ROWS

    rows = [make_rows(6 + number, seed=number) for number in range(1, 5)]
    table = pa.table(run.predictions())
    assert table["object_id"].to_pylist() == np.concatenate([part["object_id"] for part in rows]).tolist()
    np.testing.assert_allclose(table["z_phot"], np.concatenate([expected_z(part) for part in rows]), rtol=1e-5)
    assert not np.any(table["flags"])
    # by the local engine, with one worker
    same = [(root / "sky" / key).read_bytes() for key in finished.part_keys()]
    assert [site.bucket.get(key) for key in run.part_keys()] == same


def test_a_run_does_only_what_is_not_done(site: Site, payload: dict[str, Any], keys: RunKeys) -> None:
    site.run(payload)
    site.bucket.delete([keys.report(2), keys.part(0)])
    before = {rank: site.bucket.get(keys.report(rank)) for rank in (1, 3)}
    seen = Seen()
    run = site.run(payload, watch=seen)
    assert seen.of(Planned)[0].tasks_done == 2
    assert seen.of(Planned)[0].rows_done == 8 + 10
    assert seen.ranks_done == [0, 2]
    assert {rank: site.bucket.get(keys.report(rank)) for rank in before} == before
    check_run(run, ROWS)
    assert run.summary is not None
    assert (run.summary.drive.tasks, run.summary.drive.rows) == (2, 7 + 9)


def test_a_run_that_is_finished_is_found_so_and_nothing_is_touched(
    site: Site, payload: dict[str, Any], keys: RunKeys
) -> None:
    site.run(payload)
    before, seen = everything_of(site, keys), Seen()
    run = site.run(payload, watch=seen)
    assert [type(event) for event in seen.everything] == [Ended]
    assert seen.of(Ended)[0].found_finished
    assert everything_of(site, keys) == before
    assert {keys.manifest, keys.summary, keys.combined, keys.part(3)} < before.keys()
    check_run(run, ROWS)


def test_a_bad_partition_fails_the_run_and_once_mended_is_all_that_is_done(
    site: Site, payload: dict[str, Any], keys: RunKeys
) -> None:
    whole, seen = spoil(site), Seen()
    with pytest.raises(RunFailedError, match=r"25MB/4\.safetensors.*only what is not done is done") as at:
        site.run(payload, watch=seen)
    assert at.value.exit_code == 2
    assert seen.names[0] == "Planned"
    assert [event.rank for event in seen.of(TaskGivenUp)] == [3]
    assert seen.names[-1] == "Ended"
    run = site.open(payload)
    summary = run.summary
    assert summary is not None
    assert (summary.complete, summary.tasks_ok, summary.tasks_failed, summary.tasks_missing) == (False, 3, 1, 0)
    assert summary.rows_in == summary.rows_out == ROWS - 10
    assert [problem.split(";")[0] for problem in summary.problems] == ["1 of 4 tasks failed (task 3)"]
    (failure,) = summary.failures
    assert (failure.rank, failure.partitions, failure.error.kind) == (3, ("25MB/4.safetensors",), "PartitionError")
    assert run.status().state == "incomplete"

    site.bucket.put("25MB/4.safetensors", whole)
    seen = Seen()
    run = site.run(payload, watch=seen)
    assert seen.ranks_done == [3]
    check_run(run, ROWS)
    assert run.status().state == "complete"


def test_a_failure_that_is_tolerated_ends_incomplete_without_an_error(site: Site, payload: dict[str, Any]) -> None:
    spoil(site)
    run = site.run(payload, tolerated_failure_count=1)
    assert run.summary is not None
    assert (run.summary.complete, run.summary.tasks_ok, run.summary.rows_out) == (False, 3, ROWS - 10)
    assert [failure.rank for failure in run.summary.failures] == [3]
    assert pa.table(run.predictions()).num_rows == ROWS - 10
    proof = run.verify()
    assert (proof.complete, proof.tasks_proven) == (False, 3)
    assert proof.problems == run.summary.problems


def test_a_path_is_its_first_payloads_until_it_is_overwritten(
    site: Site, payload: dict[str, Any], keys: RunKeys
) -> None:
    site.run(payload)
    before, seen = everything_of(site, keys), Seen()
    with pytest.raises(ClaimedError, match=r"another payload, with file_limit nothing \(asked now: 3\)") as at:
        site.run(payload, file_limit=3, watch=seen)
    assert at.value.exit_code == 2
    assert seen.everything == []
    assert everything_of(site, keys) == before

    run = site.run(payload, file_limit=3, overwrite=True, watch=seen)
    assert seen.ranks_done == [0, 1, 2]
    check_run(run, ROWS - 10)
    assert sorted(stored(site, keys.predictions)) == [keys.part(rank) for rank in range(3)]
    assert run.payload.file_limit == 3


def test_an_empty_prefix_is_refused_before_anything_is_stored(site: Site, payload: dict[str, Any]) -> None:
    seen = Seen()
    with pytest.raises(SurveyError, match="25MB/none") as at:
        site.run(payload, data_prefix="25MB/none", watch=seen)
    assert at.value.exit_code == 2
    assert seen.everything == []
    keys = RunKeys(payload["result_path"])
    assert everything_of(site, keys) == {}
    assert site.bucket.list(keys.leases) == []


def test_bad_rows_are_flagged_and_not_lost(site: Site, payload: dict[str, Any], tmp_path: Path) -> None:
    content = make_rows(8, seed=2)
    content["image"][1, 0, 3, 3] = np.nan
    content["magnitude"][2, 1] = np.inf
    content["image"][3, 2] = 5.0
    write_partition(tmp_path / "bad.safetensors", arrays=content)
    site.bucket.put("25MB/2.safetensors", (tmp_path / "bad.safetensors").read_bytes())
    run = site.run(payload)
    check_run(run, ROWS)
    assert run.summary is not None
    assert run.summary.rows_flagged == 3
    assert run.summary.flags == {"non_finite_image": 1, "non_finite_magnitude": 1, "dead_band": 1}
    rows = [row for row in pa.table(run.predictions()).to_pylist() if row["source"] == "25MB/2.safetensors"]
    assert [row["object_id"] for row in rows] == content["object_id"].tolist()
    assert [row["flags"] for row in rows] == [0, 1, 2, 4, 0, 0, 0, 0]
    assert [row["row"] for row in rows if row["z_phot"] is None] == [1, 2, 3]


def test_no_more_tasks_at_once_than_asked(site: Site, payload: dict[str, Any], keys: RunKeys, tmp_path: Path) -> None:
    for number in range(1, 5):  # long enough to overlap, if two were under way
        write_partition(tmp_path / "long.safetensors", rows=400, seed=number)
        site.bucket.put(f"25MB/{number}.safetensors", (tmp_path / "long.safetensors").read_bytes())
    run = site.run(payload, max_concurrency=1, batch_size=1)
    check_run(run, 4 * 400)
    spans = sorted((report.started_at, report.ended_at) for report in reports(site, keys))
    assert len(spans) == 4
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans)), spans
    assert run.summary is not None
    assert run.summary.drive.workers == 1  # however many there are


def test_two_runs_at_once_do_not_touch_each_other(site: Site, payload: dict[str, Any]) -> None:
    go = site.hold()
    both_planned = threading.Barrier(2, action=go.set)

    def meet(event: RunEvent) -> None:
        if isinstance(event, Planned):
            both_planned.wait(60)

    other = payload | {"result_path": payload["result_path"] + "-two", "file_limit": 3}
    watchers = [Seen(meet), Seen(meet)]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda asked, seen: site.run(asked, watch=seen), (payload, other), watchers))
    for run, seen, rows, ranks in zip(runs, watchers, (ROWS, ROWS - 10), ([0, 1, 2, 3], [0, 1, 2]), strict=True):
        check_run(run, rows)
        assert seen.of(Planned)[0].run == run.id
        assert seen.ranks_done == ranks
    first, second = ([site.bucket.get(key) for key in run.part_keys()] for run in runs)
    assert first[:3] == second


def test_a_second_driver_does_nothing_twice(site: Site, payload: dict[str, Any], keys: RunKeys) -> None:
    go = site.hold()
    second = Seen(lambda event: go.set() if isinstance(event, Planned) else None)
    outcome: list[skyfan.Run | ClaimedError] = []

    def second_comes(event: RunEvent) -> None:
        if isinstance(event, Planned):
            try:
                outcome.append(site.run(payload, watch=second))
            except ClaimedError as error:
                outcome.append(error)

    seen = Seen(second_comes)
    check_run(site.run(payload, watch=seen), ROWS)
    assert seen.ranks_done == [0, 1, 2, 3]
    assert [report.attempt for report in reports(site, keys)] == [1] * 4
    (came_to,) = outcome
    if site.name == "aws":  # it watches the run that is under way
        assert not isinstance(came_to, ClaimedError)
        check_run(came_to, ROWS)
        assert second.ranks_done == [0, 1, 2, 3]
        (started,), (watched,) = seen.of(Started), second.of(Started)
        assert (watched.execution, watched.attached, started.attached) == (started.execution, True, False)
    else:
        assert isinstance(came_to, ClaimedError)
        assert "drives this run; expected no other driver" in str(came_to)
        assert second.everything == []
