"""What a script may take while it runs."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a script may take; one that takes more is ended."""

    timeout_s: float = 900.0
    """From its start to its end."""
    memory_mb: float | None = None
    """Of the script and all processes that it starts, resident, in MiB; None: no limit."""
    processes: int = 256
    """At once, the script and its descendants."""
    disk_mb: float | None = None
    """By how much its directory grows, looked at every second and at the end, and any one file that it writes, in MiB;
    None: no limit."""
