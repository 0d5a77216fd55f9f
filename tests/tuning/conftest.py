"""Two AWS on loopback for pilots, as the tests of AWS have them: moto, which runs, and ministack, which deploys."""

from aws.conftest import (
    _machine,
    cloud,
    definition,
    emulator,
    fast,
    fresh_store,
    machine,
    often,
    own_credentials,
    package,
)

__all__ = [
    "_machine",
    "cloud",
    "definition",
    "emulator",
    "fast",
    "fresh_store",
    "machine",
    "often",
    "own_credentials",
    "package",
]
