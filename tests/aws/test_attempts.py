"""How attempts at a task are counted on AWS, and by which names the state machine learns how they ended."""

from pathlib import Path
from typing import Any

import pytest

from aws.events import begin, items
from skyfan import stages
from skyfan.aws import handlers
from skyfan.errors import AttemptsSpentError, StoreError
from skyfan.keys import RunKeys
from skyfan.storage import Store
from skyfan.task import decode_report

KEYS = RunKeys("results/one")


@pytest.fixture
def store(in_folder: Path) -> Store:
    return Store(str(in_folder))


def broken_store(message: str = "the store failed") -> Any:
    def infer(task: Any, store: Store, attempt: int = 1, **options: Any) -> Any:
        error = StoreError(message)
        stages.record_failure(task, store.bucket(task.bucket), attempt, error)
        raise error

    return infer


def test_attempts_are_counted_and_end(store: Store, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begin(asked | {"max_attempts": 2})
    item = items(begun, store)[0]
    with monkeypatch.context() as patch:
        patch.setattr(stages, "infer", broken_store())
        with pytest.raises(StoreError):
            handlers.infer(item, None)
        with pytest.raises(AttemptsSpentError, match="after 2 attempts: the store failed"):
            handlers.infer(item | {"retry_count": 1}, None)
    report = decode_report(store.bucket("sky").get(KEYS.failure(0)))
    assert report is not None
    assert report.attempt == 2


def test_throttled_starts_are_no_attempts(store: Store, asked: dict[str, Any]) -> None:
    item = items(begin(asked), store)[0]
    handlers.infer(item | {"retry_count": 4}, None)
    report = decode_report(store.bucket("sky").get(KEYS.report(0)))
    assert report is not None
    assert report.attempt == 1


def test_failures_of_an_earlier_execution_do_not_count(
    store: Store, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(stages, "infer", broken_store())
        with pytest.raises(StoreError):
            handlers.infer(items(begin(asked), store)[0], None)
    item = items(begin(asked), store)[0] | {"started_at": "2100-01-01T00:00:00.000+00:00"}
    handlers.infer(item | {"retry_count": 1}, None)
    report = decode_report(store.bucket("sky").get(KEYS.report(0)))
    assert report is not None
    assert report.attempt == 1


def test_a_death_without_a_word_is_written_down_by_the_larger_worker(
    store: Store, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    item = items(begin(asked), store)[0]
    caught = {"Error": "Runtime.ExitError", "Cause": "signal: killed"}
    handlers.infer(item | {"caught": caught}, None)
    bucket = store.bucket("sky")
    report, failure = decode_report(bucket.get(KEYS.report(0))), decode_report(bucket.get(KEYS.failure(0)))
    assert report is not None
    assert failure is not None
    assert failure.error is not None
    assert (failure.attempt, report.attempt) == (1, 2)
    assert "Runtime.ExitError: signal: killed" in failure.error.message


def test_memory_that_ran_out_keeps_its_name_for_the_state_machine(
    store: Store, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*arguments: Any) -> Any:
        raise MemoryError

    item = items(begin(asked), store)[0]
    with monkeypatch.context() as patch:
        patch.setattr(stages, "predict_task", greedy)
        with pytest.raises(MemoryError):
            handlers.infer(item, None)
    handlers.infer(item | {"caught": {"Error": "MemoryError", "Cause": "{}"}}, None)
    report = decode_report(store.bucket("sky").get(KEYS.report(0)))
    assert report is not None
    assert report.attempt == 2
