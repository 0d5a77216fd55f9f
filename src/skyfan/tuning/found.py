"""What is known of a payload once its pilot has ended."""

from msgspec import Struct

from skyfan.planning import Plan
from skyfan.profiling.profile import Profile
from skyfan.tuning.outcome import Ground
from skyfan.tuning.setting import Setting


class Found(Struct, frozen=True, kw_only=True):
    """What a pilot found."""

    plan: Plan
    """Of the whole payload."""
    profiles: tuple[Profile, ...]
    settings: list[Setting]
    ground: Ground
    stack: dict[str, str] | None = None
    """Parameters of the stack that there is; None if none was asked for."""
    notes: tuple[str, ...] = ()
    spent_usd: float | None = None
    """What the pilot cost on AWS, as far as its bills tell."""
