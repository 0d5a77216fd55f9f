"""A payload for the tests' store, and that store's bucket."""

from typing import Any

import pytest

from skyfan.payload import Payload, parse_payload
from skyfan.storage import Bucket, Store


@pytest.fixture
def payload(asked: dict[str, Any]) -> Payload:
    return parse_payload(asked)[0]


@pytest.fixture
def bucket(store: Store) -> Bucket:
    return store.bucket("sky")
