"""Whether a file of results is the whole of its run: the original system never asked, and averaged what was left."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeVar

from skyfan.bench.beside import UNPAGED, Beside, Expected
from skyfan.bench.records import Records
from skyfan.wording import counted

_SHOWN = 5

Verdict = Literal["complete", "partial", "truncated", "mixed", "damaged", "unclear", "unreadable"]
"""partial: fewer records than workers. truncated: 1,000 records exactly. mixed: of several runs. damaged: a record that
cannot be used. unclear: nothing says how many records there should be. unreadable: no list of records."""

T = TypeVar("T", bound=Hashable)


def fullest_of_repeats(counts: Sequence[tuple[T, int]]) -> dict[T, int]:
    """Return how many records the fullest runs of a group have, where at least two of them have so many.

    Parameters
    ----------
    counts : sequence of (group, records)
        Of each run. A count of 1,000 says nothing: it may be a listing's end.
    """
    groups: defaultdict[T, Counter[int]] = defaultdict(Counter)
    for group, count in counts:
        if count != UNPAGED:
            groups[group][count] += 1
    return {group: max(found) for group, found in groups.items() if found[max(found)] > 1}


def judge(records: Records, beside: Beside) -> tuple[Verdict, str]:
    """Say whether a file is the whole of its run, and if not, everything that is wrong with it."""
    found: list[tuple[Verdict, str]] = []
    if beside.lost:
        found.append(("partial", f"its summary.json says that the run is not complete: {beside.lost}"))
    found += [*_of_number(records, beside.expected), *_of_names(records, beside)]
    found += [*_of_ranks(records), *_of_mixing(records, beside), *_of_content(records)]
    if not found:
        return "complete", ""
    return found[0][0], "; ".join(text for _, text in found)


def _of_number(records: Records, expected: Sequence[Expected]) -> list[tuple[Verdict, str]]:
    """Hold the number of records and partitions against all that is expected: none of it stands in for the others."""
    faults: list[tuple[Verdict, str]] = []
    for item in expected:
        found = item.found(records)
        if found < item.least:
            faults.append(("partial", f"{item.said(records)}, expected {item}: the others are lost"))
        elif item.most is not None and found > item.most:
            faults.append(("mixed", f"{item.said(records)}, expected {item}: older results may be among them"))
    settled = any(item.settles(records) for item in expected)
    by = f", expected {'; '.join(map(str, expected))}" if expected else ""
    if records.count == UNPAGED and (faults or not settled):
        return [("truncated", f"exactly 1,000 records{by}: a listing that was not paged ends there")]
    if not faults and not settled:
        must = f"{by}, and nothing says" if expected else ", and nothing says"
        return [("unclear", f"{counted(records.count, 'record')}{must} how many there must be")]
    return faults


def _of_names(records: Records, beside: Beside) -> list[tuple[Verdict, str]]:
    """Hold the partitions read against those that the payload names."""
    found, wanted = set(records.data_paths), beside.data_paths
    faults: list[tuple[Verdict, str]] = []
    if wanted is not None and beside.all_paths and (lost := len(wanted - found)):
        faults.append(("partial", f"{counted(lost, 'partition')} of the data_map of its payload.json without a record"))
    if wanted is not None and (other := len(found - wanted)):
        faults.append(("mixed", f"{counted(other, 'data_path')} that the data_map of its payload.json does not have"))
    return faults


def _of_ranks(records: Records) -> list[tuple[Verdict, str]]:
    if not records.ours:
        return []
    twice = sum(count > 1 for count in records.ranks.values())
    gaps = max(records.ranks) + 1 - len(records.ranks)
    faults: list[tuple[Verdict, str]] = []
    if twice:
        faults.append(("mixed", f"{counted(twice, 'rank')} more than once"))
    if gaps > 0:
        faults.append(("partial", f"{counted(gaps, 'rank')} below {max(records.ranks)} without a record"))
    return faults


def _of_mixing(records: Records, beside: Beside) -> list[tuple[Verdict, str]]:
    faults: list[tuple[Verdict, str]] = []
    repeated = sum(count > 1 for count in records.data_paths.values())
    if repeated:
        faults.append(
            ("mixed", f"{counted(repeated, 'data_path')} more than once: results of several runs, or repeats")
        )
    several: Mapping[str, int] = {
        "batch sizes": len(records.batch_sizes),
        "devices": len(records.devices),
        "result_paths": len(records.result_paths),
        "folders of data": 0 if records.ours or beside.summary else len(records.folders),
    }
    faults += [("mixed", f"{count} different {name}") for name, count in several.items() if count > 1]
    if records.without_data:
        faults.append(("damaged", f"{counted(records.without_data, 'record')} without a data_path: nothing was read"))
    return faults


def _of_content(records: Records) -> list[tuple[Verdict, str]]:
    """Say what is wrong with single records."""
    of = f"of {counted(records.count, 'record')}"
    faults = [
        f"{count:,} {of} {'has' if count == 1 else 'have'} no {key!r}" for key, count in records.lacking.most_common()
    ]
    faults += [f"{count:,} {of}: {fault}" for fault, count in records.faults.most_common(_SHOWN)]
    return [("damaged", fault) for fault in faults]
