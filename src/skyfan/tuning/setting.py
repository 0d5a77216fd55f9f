"""What a worker can be: batch size, threads, and how many on this machine or how much memory on AWS; with its speed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, structs

from skyfan.aws.forecast import SPREAD_SHIPPED
from skyfan.cost import Architecture
from skyfan.estimating.basis import Basis, aws_basis, local_basis
from skyfan.profiling.profile import Point, Profile

FunctionKind = tuple[int, Architecture]
"""Memory in MB and processor of a function."""


class Setting(Struct, frozen=True, kw_only=True):
    """A way for workers to be, and how fast one is then."""

    batch_size: int
    threads: int
    workers: int | None = None
    """On this machine; None on AWS."""
    memory_mb: int | None = None
    """Configured, on AWS."""
    architecture: Architecture | None = None
    """On AWS."""
    basis: Basis
    """Its speed, and how sure that is."""
    measured: bool
    """Where it would run; else it is reckoned from what was measured elsewhere."""


def local_settings(profile: Profile) -> list[Setting]:
    """Return every way that was measured on this machine."""
    return [
        Setting(
            batch_size=point.batch_size,
            threads=point.threads,
            workers=point.workers,
            basis=local_basis(
                profile, profile.model, batch_size=point.batch_size, threads=point.threads, workers=point.workers
            ),
            measured=True,
        )
        for point in profile.points
    ]


def disturbed(settings: Iterable[Setting], load: float) -> list[Setting]:
    """Return what was measured while others were at work: it may be off by as much as they took.

    Parameters
    ----------
    settings : iterable of Setting
    load : float
        Programs that wanted a core beside the pilot, divided by the cores.
    """
    factor = 1 + max(0.0, load)
    said = f"others were at work here while it was measured: it may be off by a factor of {factor:.2g}"

    def doubted(basis: Basis) -> Basis:
        if factor <= basis.factor:
            return basis
        return structs.replace(basis, factor=factor, said=(*basis.said, said))

    return [structs.replace(one, basis=doubted(one.basis)) for one in settings]


def aws_settings(
    here: Profile | None,
    piloted: Mapping[FunctionKind, Profile],
    memory_mb: Iterable[int],
    architectures: Sequence[Architecture],
) -> list[Setting]:
    """Return the ways for a function to be: as a pilot measured it, or reckoned from this machine's speed.

    Parameters
    ----------
    here : Profile or None
        Of this machine; needed where there was no pilot with that memory.
    piloted : mapping
        Profiles of pilots on AWS by memory and processor.
    memory_mb : iterable of int
    architectures : sequence of str
    """
    found: list[Setting] = []
    for memory in memory_mb:
        for architecture in architectures:
            kind = (memory, architecture)
            other = next((profile for (had, _), profile in piloted.items() if had == memory), here)
            profile = piloted.get(kind, other)
            if profile is not None:
                points = [point for point in profile.points if point.workers == 1]
                found += [_function(profile, point, kind, measured=kind in piloted) for point in points]
    return found


def _function(profile: Profile, point: Point, kind: FunctionKind, *, measured: bool) -> Setting:
    memory_mb, architecture = kind
    basis = aws_basis(profile, profile.model, batch_size=point.batch_size, threads=point.threads, memory_mb=memory_mb)
    if not measured:
        said = (*basis.said, f"{architecture} is taken to be as fast as the processor that was measured")
        basis = structs.replace(basis, factor=max(basis.factor, SPREAD_SHIPPED), said=said)
    return Setting(
        batch_size=point.batch_size,
        threads=point.threads,
        memory_mb=memory_mb,
        architecture=architecture,
        basis=basis,
        measured=measured,
    )


def worth_trying(settings: Iterable[Setting]) -> list[Setting]:
    """Leave out a batch size that is slower and takes no less memory than another, all else equal."""
    groups: dict[object, list[Setting]] = {}
    for setting in settings:
        kind = (setting.threads, setting.workers, setting.memory_mb, setting.architecture)
        groups.setdefault(kind, []).append(setting)
    return [setting for group in groups.values() for setting in _unbeaten(group)]


def _unbeaten(group: Sequence[Setting]) -> Iterator[Setting]:
    least = float("inf")
    for setting in sorted(group, key=lambda one: (one.basis.speed.s_per_row, one.basis.peak_memory_mb)):
        peak_mb = setting.basis.peak_memory_mb or 0.0
        if peak_mb < least:
            yield setting
            least = peak_mb
