"""Functions that are tried again, or whose run is done by another driver, while the first try is still at work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import skyfan
from aws.events import EXECUTION, begin, items
from skyfan import stages
from skyfan.aws import handlers
from skyfan.errors import LeaseLostError
from skyfan.keys import RunKeys
from skyfan.lease import read_lease
from skyfan.storage import Store

KEYS = RunKeys("results/one")


@pytest.fixture
def store(in_folder: Path) -> Store:
    return Store(str(in_folder))


def results(store: Store) -> dict[str, bytes | None]:
    """Return all that the run stored, but for who drives it."""
    bucket = store.bucket("sky")
    entries = bucket.list(KEYS.result_path)
    return {entry.key: bucket.get(entry.key) for entry in entries if not entry.key.startswith(KEYS.leases)}


def once_after(patch: pytest.MonkeyPatch, name: str, meanwhile: Callable[[], None]) -> None:
    """Have something done after the first call of a function that the stages use, as if that took long."""
    real = getattr(stages, name)

    def slow(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        patch.undo()
        meanwhile()
        return result

    patch.setattr(stages, name, slow)


@pytest.mark.parametrize("place", ["preview", "claim", "encode_manifest"])
def test_an_initialize_that_is_still_at_work_when_it_is_tried_again_deletes_nothing(
    store: Store, asked: dict[str, Any], place: str
) -> None:
    skyfan.run(asked, store=store.url, workers=1)
    done: dict[str, bytes | None] = {}

    def again() -> None:
        begun = begin(asked, overwrite=True)
        for item in items(begun, store):
            handlers.infer(item, None)
        done.update(results(store))

    with pytest.MonkeyPatch.context() as patch:
        once_after(patch, place, again)
        with pytest.raises(LeaseLostError, match=f"the lease went to the execution {EXECUTION}"):
            begin(asked, overwrite=True)
    assert results(store) == done
    assert KEYS.report(3) in done
    holder = read_lease(store.bucket("sky"), KEYS)
    assert holder is not None
    assert not holder.lapsed(), "the execution still drives its run"


def test_a_summarize_that_is_still_at_work_when_another_has_done_the_run_writes_nothing(
    store: Store, asked: dict[str, Any]
) -> None:
    begun = begin(asked)
    for item in items(begun, store):
        handlers.infer(item, None)
    ended = {"begun": begun, "map_ended_at": begun["planned_at"]}
    done: dict[str, bytes | None] = {}

    def another() -> None:
        assert handlers.summarize(ended, None)["status"] == "complete"
        assert skyfan.run(asked, store=store.url, workers=1, overwrite=True).status().state == "complete"
        done.update(results(store))

    with pytest.MonkeyPatch.context() as patch:
        once_after(patch, "collect", another)
        with pytest.raises(LeaseLostError, match="the lease went to process"):
            handlers.summarize(ended, None)
    assert results(store) == done


def test_a_summarize_that_is_tried_again_says_the_same(store: Store, asked: dict[str, Any]) -> None:
    begun = begin(asked)
    for item in items(begun, store):
        handlers.infer(item, None)
    ended = {"begun": begun, "map_ended_at": begun["planned_at"]}
    assert handlers.summarize(ended, None) == handlers.summarize(ended, None)
