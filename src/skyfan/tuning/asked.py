"""What a user says of how to tune, beside the payload and what is wanted."""

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

from msgspec import Struct

from skyfan.cost import LAMBDA_MB, Architecture
from skyfan.errors import InputError
from skyfan.payload import Payload
from skyfan.tuning import pilot

MEMORY_MB = (1024, 1769, 3008)
ARCHITECTURES: tuple[Architecture, ...] = ("arm64", "x86_64")
PARTITION_SIZES = ("10MB", "25MB", "50MB", "100MB")
S3 = "s3://"


class Asked(Struct, frozen=True, kw_only=True):
    """How to tune; None takes the default."""

    engine: Literal["local", "aws"] = "local"
    store: str | Path | None = None
    model: str | None = None
    """In place of the payload's, or of its script."""
    pilot_partitions: int = pilot.PARTITIONS
    seconds: float = pilot.SECONDS
    """Of each way in the pilot on this machine."""
    partition_sizes: tuple[str, ...] = PARTITION_SIZES
    batch_sizes: tuple[int, ...] | None = None
    threads: tuple[int, ...] | None = None
    workers: tuple[int, ...] | None = None
    """On this machine."""
    memory: tuple[int, ...] | None = None
    """On AWS, MB."""
    architectures: tuple[Architecture, ...] | None = None
    """On AWS."""
    concurrency: int | None = None
    """On AWS: tasks at a time."""
    no_pilot: bool = False
    """On AWS: reckon from this machine's speed, and ask nothing of AWS."""
    stack: str | None = None
    region: str | None = None
    profile: str | None = None
    max_cost: Decimal | None = None
    """On AWS: of the pilot, USD."""

    @property
    def pilots_on_aws(self) -> bool:
        """Whether a pilot is to run on a stack."""
        return self.engine == "aws" and not self.no_pilot

    def at_a_time(self, payload: Payload, stack_limit: int) -> int:
        """Return how many tasks a map starts at once: what is asked, else what payload and stack both allow."""
        return self.concurrency or min(payload.max_concurrency or stack_limit, stack_limit)

    def check(self) -> None:
        """Refuse what has no meaning, before anything is measured.

        Raises
        ------
        InputError
        """
        self._check_engine()
        for name in ("batch_sizes", "threads", "workers", "memory"):
            values = getattr(self, name)
            if values is not None and (not values or min(values) < 1):
                raise InputError(f"{name}: got {values or 'none'}; expected numbers of 1 or more")
        for value in self.memory or ():
            if not LAMBDA_MB[0] <= value <= LAMBDA_MB[1]:
                raise InputError(
                    f"memory: got {value} MB; expected {LAMBDA_MB[0]} to {LAMBDA_MB[1]}, as Lambda has them"
                )
        for name, number in (("pilot_partitions", self.pilot_partitions), ("concurrency", self.concurrency or 1)):
            if not 1 <= number <= 10**6:
                raise InputError(f"{name}: got {number}; expected 1 to 1,000,000")

    def _check_engine(self) -> None:
        """Refuse what is for the other engine."""
        others = ("memory", "architectures", "concurrency", "stack", "region", "profile", "max_cost")
        names = ("workers",) if self.engine == "aws" else others
        for name in names:
            if getattr(self, name) is not None:
                raise InputError(
                    f"{name}: got {getattr(self, name)} with the engine {self.engine!r}; expected it with the other "
                    "one: leave it out, or change --engine"
                )
        if self.engine == "local" and self.no_pilot:
            raise InputError("no_pilot: got it with the engine 'local'; expected it with 'aws': see --engine")
        if self.pilots_on_aws and self.store is not None and str(self.store).rstrip("/") != S3.rstrip("/"):
            raise InputError(
                f"store: got {self.store} with a pilot on AWS; expected {S3}, or none: its buckets lie on S3. To "
                "reckon from this machine's speed instead, give --no-pilot"
            )


def decimal(text: str | None) -> Decimal | None:
    """Return an amount of USD, None for none.

    Raises
    ------
    InputError
        If it is no number above 0.
    """
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise InputError(f"max_cost: got {text}; expected USD above 0, as in 0.50")
    return amount
