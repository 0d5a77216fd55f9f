"""Results of the original system as measurements: what its combined_data.json files say, and which are whole."""

import statistics
from collections import Counter
from pathlib import Path
from typing import Any, get_args

from msgspec import Struct, structs

from skyfan.bench.beside import Beside, Expected, said_beside
from skyfan.bench.measurement import Measurement
from skyfan.bench.measuring import origin_of
from skyfan.bench.pathnames import Named, read_path
from skyfan.bench.places import FILE_NAME, plain, result_files, telling_path
from skyfan.bench.records import LEAST_SECONDS, Records, read_records
from skyfan.bench.wholeness import Verdict, fullest_of_repeats, judge
from skyfan.cost import GB_BYTES, seed_cost_usd, seed_throughput_all_data_by_one_worker_gb_s
from skyfan.errors import InputError
from skyfan.estimating.bill import MB_BYTES
from skyfan.summary import Summary
from skyfan.tally import Spread

_SHOWN = 5
_LONGEST = 100  # of a name that files of others have


class Imported(Struct, frozen=True, kw_only=True):
    """One file, and what became of it."""

    measurement: Measurement
    verdict: Verdict
    records: int
    notes: tuple[str, ...] = ()
    """What should be known of it but does not make it incomplete, such as a path that contradicts its records."""


class Import(Struct, frozen=True, kw_only=True):
    """All that was found."""

    runs: tuple[Imported, ...]
    skipped: tuple[str, ...] = ()
    """What was found but not read, and why."""

    @property
    def measurements(self) -> list[Measurement]:
        """A measurement of each file, also of those that are not complete: these say so, and are never averaged."""
        return [run.measurement for run in self.runs]

    @property
    def complete(self) -> bool:
        """Whether every file is the whole of its run."""
        return all(run.verdict == "complete" for run in self.runs)


def counts_of(found: Import) -> dict[Verdict, int]:
    """Return how many runs there are of each verdict, complete ones first."""
    counts = Counter(run.verdict for run in found.runs)
    return {verdict: counts[verdict] for verdict in get_args(Verdict) if counts[verdict]}


class _Read(Struct):
    """One file on its way to a measurement."""

    name: str
    records: Records
    named: Named
    beside: Beside
    notes: list[str]


def import_results(place: str | Path, *, expect: int | None = None) -> Import:
    """Read results of the original system, or `combined_data.json` of skyfan's own runs.

    Parameters
    ----------
    place : str or Path
        A folder, in which every `combined_data.json` is read, or one such file. Links that leave it are not followed.
    expect : int, optional
        Records that every run must have, where you know better than paths and payloads.

    Returns
    -------
    Import
        In natural order of the paths.

    Raises
    ------
    InputError
        If there is no such place, or nothing in it.
    """
    place = Path(place)
    if expect is not None and expect < 1:
        raise InputError(f"expect: got {expect}; expected the number of records of a run, 1 or more")
    skipped: list[str] = []
    files = list(result_files(place, skipped))
    if not files:
        hint = f"; not read: {'; '.join(skipped[:_SHOWN])}" if skipped else ""
        raise InputError(f"{plain(str(place))}: no {FILE_NAME} in it{hint}; expected results of the original system")
    found: dict[str, _Read | Imported] = {}
    for name, file in files:
        found[name] = _read(name, file, read_path(telling_path(place, file)), expect)
    read = [item for item in found.values() if isinstance(item, _Read)]
    _learn_from_repeats(read)
    done = {item.name: _imported(item) for item in read}
    runs = (item if isinstance(item, Imported) else done[name] for name, item in found.items())
    return Import(runs=tuple(runs), skipped=tuple(skipped))


def _read(name: str, file: Path, by_path: Named, expect: int | None) -> _Read | Imported:
    try:
        records = read_records(file)
    except InputError as error:
        bare = Measurement(origin="imported", run=name, complete=False, problem=str(error), repeat=by_path.repeat or 1)
        return Imported(measurement=bare, verdict="unreadable", records=0)
    notes: list[str] = []
    named = _reconciled(by_path, records, notes)
    beside = said_beside(file.parent, records)
    if expect:
        given = Expected(expect, expect, "record", "the number given")
        beside = structs.replace(beside, expected=(given,), all_paths=False)
    elif named.files and beside.summary is None:
        by = f"{named.data_gb:g} GB of {named.partition_mb:g} MB partitions"
        beside = structs.replace(beside, expected=(*beside.expected, Expected(*named.files, "partition", by)))
    if beside.damaged:
        why = "damaged, a link, or of another version"
        notes.append(f"the summary.json beside it cannot be read as one of skyfan's ({why}): it is not asked")
    if records.absent:
        keys = ", ".join(f"{key!r} ({count})" for key, count in records.absent.items())
        notes.append(f"keys that some records lack, and nothing here needs: {keys}")
    return _Read(name, records, named, beside, notes)


def _reconciled(by_path: Named, records: Records, notes: list[str]) -> Named:
    """Return what path and records say together; where they contradict, the records are believed, and it is said."""
    sizes = {size for folder in records.folders if (size := read_path(folder).partition_mb)}
    results = {read_path(path) for path in records.result_paths}
    by_result = {item.partition_mb for item in results if item.partition_mb}
    if sizes and by_result and sizes != by_result:
        notes.append("partition size: result_path and data_path of the records differ in it; data_path is believed")
    said: list[tuple[str, str, str, set[Any]]] = [
        ("batch_size", "batch size", "", records.batch_sizes or {item.batch_size for item in results}),
        ("partition_mb", "partition size", " MB", sizes or by_result),
        ("data_gb", "data size", " GB", {item.data_gb for item in results}),
        ("repeat", "repeat", "", {item.repeat for item in results}),
    ]
    changes: dict[str, Any] = {}
    for field, label, unit, values in said:
        values.discard(None)
        if len(values) != 1:
            continue  # the records say nothing, or several things: then they are mixed, which is said elsewhere
        value, before = next(iter(values)), getattr(by_path, field)
        if before is not None and before != value:
            notes.append(
                f"{label}: the path says {before:g}{unit}, the records {value:g}{unit}; the records are believed"
            )
        changes[field] = value
    return structs.replace(by_path, **changes)


def _learn_from_repeats(read: list[_Read]) -> None:
    """Expect of runs of which nothing says how many records they need what the fullest of their repeats has."""
    unknown = [item for item in read if not item.beside.expected]
    sweeps = [(_folder_of_sweep(item.name), item.named.partition_mb, item.named.data_gb) for item in unknown]
    counts = fullest_of_repeats([(sweep, item.records.count) for sweep, item in zip(sweeps, unknown, strict=True)])
    for sweep, item in zip(sweeps, unknown, strict=True):
        if sweep in counts:
            fullest = Expected(counts[sweep], counts[sweep], "record", "the fullest runs beside it")
            item.beside = structs.replace(item.beside, expected=(fullest,))
            item.notes.append(f"only the runs beside it say how many records it must have: {counts[sweep]:,}")


def _folder_of_sweep(name: str) -> str:
    """Return the path above the folders that are only numbers: repeats, and batch sizes."""
    folders = name.split("/")[:-1]
    while folders and folders[-1].isdigit():
        folders.pop()
    return "/".join(folders)


def _imported(item: _Read) -> Imported:
    verdict, problem = judge(item.records, item.beside)
    measurement = _measurement(item, plain(problem))
    return Imported(measurement=measurement, verdict=verdict, records=item.records.count, notes=tuple(item.notes))


def _measurement(item: _Read, problem: str) -> Measurement:
    """Return what the records say, and nothing that they do not: see docs/import-results.md, key by key."""
    records, named, summary, complete = item.records, item.named, item.beside.summary, not problem
    extent = _extent(item, complete=complete)
    return Measurement(
        origin="imported",
        run=item.name,
        complete=complete,
        problem=problem,
        data=_data(records, item.beside),
        rows=records.rows if records.ours else None,
        batch_size=next(iter(records.batch_sizes)) if len(records.batch_sizes) == 1 else named.batch_size or 0,
        repeat=named.repeat or 1,
        **extent,
        **(_by_summary(summary) if summary else _by_records(records, extent["tasks"])),
        **(_figures(records, extent["bytes_in"]) if complete else {}),
    )


def _extent(item: _Read, *, complete: bool) -> dict[str, Any]:
    """Return tasks, partitions and their sizes: of a whole run what it had, else as many as there must be."""
    records, summary, mb = item.records, item.beside.summary, item.named.partition_mb or 0.0
    tasks, partitions = (records.count, records.partitions) if complete else _wanted(item)
    if complete and summary:  # a list that a script left is several records, and what they say of data is its own
        tasks, partitions = min(tasks, summary.tasks), summary.partitions
    size = round(records.partitions * mb * MB_BYTES)
    if records.ours or summary:
        size = records.bytes if records.ours or summary is None else summary.bytes_in
        read = partitions if complete else records.partitions
        mb = round(size / read / MB_BYTES, 3) if read else mb
    return {"tasks": tasks, "partitions": partitions, "partition_mb": mb, "bytes_in": size}


def _by_summary(summary: Summary) -> dict[str, Any]:
    """Return what a run's own summary says of where and by what it was run."""
    known = {name: plain(text) for name, text in origin_of(summary).items()}
    workers = summary.drive.workers if summary.drive.tasks == summary.tasks else 0  # of one drive, or not known
    return {**known, "threads": summary.threads, "workers": workers}


def _by_records(records: Records, tasks: int) -> dict[str, Any]:
    """Return what records say of where they are from; in the original system every task has its own worker."""
    devices = plain(" + ".join(sorted(records.devices)))[:40]
    machine = f"not known, device {devices}" if devices else ""
    return {"machine": machine, "workers": 0 if records.ours else tasks}


def _wanted(item: _Read) -> tuple[int, int]:
    """Return tasks and partitions that a run must have: as many as the most demanding of what is expected says."""
    least = {of: [each.least for each in item.beside.expected if each.of == of] for of in ("record", "partition")}
    files = max(least["partition"], default=0)
    tasks = max(least["record"], default=0) or files or item.records.count
    return tasks, max(tasks, files, item.records.partitions) if item.beside.expected else item.records.partitions


def _figures(records: Records, size_bytes: int) -> dict[str, Any]:
    """Return the figures of a whole run; of one that is not whole there are none: means of survivors mislead."""
    mean_s = max(statistics.fmean(records.seconds), LEAST_SECONDS)  # a mean may round to less than all it is of
    mean_mb = statistics.fmean(records.memory_mb)
    gb = size_bytes / GB_BYTES
    found: dict[str, Any] = {
        "seed_avg_runtime_s": mean_s,
        "seed_memory_mb": mean_mb,
        "seed_cost_usd": float(seed_cost_usd(records.count, mean_s, mean_mb)),
        "seed_throughput_gb_s": seed_throughput_all_data_by_one_worker_gb_s(gb, mean_s) if gb else None,
    }
    if records.ours:  # its seconds are by the clock, its memory is the largest resident set
        seconds, memory = Spread.of(records.seconds), Spread.of(records.memory_mb)
        found |= {"task_s_mean": mean_s, "task_s_p50": seconds.median, "task_s_p95": seconds.p95}
        found |= {"task_s_max": seconds.max, "peak_memory_mb_p50": memory.median, "peak_memory_mb_max": memory.max}
    return found


def _data(records: Records, beside: Beside) -> str:
    """Return the folders of the partitions that were read, in their bucket as far as that is known."""
    bucket = beside.data_bucket
    if not bucket and beside.summary:
        bucket = f"bucket not known, of a run in {beside.summary.run.partition('/')[0]}"
    folders = sorted(records.folders - {""}) or [""]
    places = ["/".join(filter(None, (bucket[:_LONGEST], folder[:_LONGEST]))) for folder in folders[:_SHOWN]]
    more = f" and {len(folders) - _SHOWN} more" if len(folders) > _SHOWN else ""
    return plain(" + ".join(places)) + more
