"""Where a run that is reckoned would go: on this machine, or to AWS."""

from msgspec import Struct

from skyfan.estimating.bill import Setup
from skyfan.estimating.ends import LOCAL_DISPATCH_S
from skyfan.estimating.fleet import ACCOUNT_CONCURRENCY, Fleet, Lambdas, Workers


class Machine(Struct, frozen=True, tag="local"):
    """Workers on this machine."""

    workers: int
    """As asked for; more than there are tasks are not started."""
    remote: bool = False
    """Partitions lie on a server: they are fetched into memory, not mapped."""

    def fleet(self, cold_start_s: float) -> Fleet:
        """Return it as the simulator sees it."""
        return Workers(workers=self.workers, cold_start_s=cold_start_s, dispatch_s=LOCAL_DISPATCH_S)


class Cloud(Struct, frozen=True, tag="aws"):
    """Lambdas on AWS."""

    setup: Setup
    concurrency: int = ACCOUNT_CONCURRENCY
    """Of the map, as asked for."""
    account_concurrency: int = ACCOUNT_CONCURRENCY

    @property
    def remote(self) -> bool:
        """Partitions are fetched into memory."""
        return True

    def fleet(self, cold_start_s: float) -> Fleet:
        """Return it as the simulator sees it."""
        return Lambdas(
            concurrency=self.concurrency, account_concurrency=self.account_concurrency, cold_start_s=cold_start_s
        )


Place = Machine | Cloud
