"""The most anomalous images of a run, found in its catalogue and read back from their partitions."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skyfan.errors import SkyfanError
from skyfan.partitions import Partition, open_partition
from skyfan.predictions import Flag
from skyfan.report.catalogue import SCORE, Glance, Row
from skyfan.report.colour import choose_bands, encode_png, stretched
from skyfan.report.document import Block, Card, Gallery, Notice, Text
from skyfan.report.record import Record
from skyfan.wording import counted

IMAGE = "image"


def gallery(record: Record, found: Glance, name: str) -> list[Block]:
    """Return the most anomalous images of a run, or why there are none.

    Parameters
    ----------
    record : Record
    found : Glance
        Its strangest rows.
    name : str
        With which the names of the images' files begin.
    """
    if found.problem and not found.top:
        return [Notice("bad", "The catalogue could not be read, so there is no gallery", (found.problem,))]
    if not found.has_score:
        return [Text(f"There is no gallery: the model has no output {SCORE!r} by which images could be ranked.")]
    if not found.top:
        return [Text(f"There is no gallery: no row of the catalogue has an {SCORE!r}.")]
    shown, said = _pictures(record, found.top)
    absent = sum(card.png is None for card in shown)
    problem = f" {counted(absent, 'image')} could not be read back; the cards say why." if absent else ""
    partly = f" The catalogue could not be read to its end ({found.problem}): these are of what could." * bool(
        found.problem
    )
    text = (
        f"The {counted(len(shown), 'image')} that the model finds least like what it was trained on, by the output "
        f"{SCORE!r}: odd objects, and artefacts. {said}Brightness is stretched by arcsinh (Lupton et al. 2004), "
        f"for each image by itself; pixels are shown as they are.{problem}{partly}"
    )
    return [Text(text), Gallery(name, tuple(shown))]


def _pictures(record: Record, rows: Sequence[Row]) -> tuple[list[Card], str]:
    """Return a card per row, in their order, and what the colours are; each partition is opened once."""
    by_source: defaultdict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_source[row["source"]].append(number)
    sizes = {ref.key: ref.bytes for task in record.tasks for ref in task.partitions if ref.key in by_source}
    cards: dict[int, Card] = {}
    colours: set[str] = set()
    for source, numbers in by_source.items():
        try:
            partition = _open(record, source, sizes.get(source))
            for number in numbers:
                png, said = _picture(partition, rows[number]["row"])
                colours.add(said)
                cards[number] = _card(rows[number], png)
        except SkyfanError as error:
            for number in numbers:
                cards[number] = _card(rows[number], None, str(error))
    said = "; ".join(sorted(colours))
    return [cards[number] for number in range(len(rows))], f"{said[:1].upper()}{said[1:]}. " if said else ""


def _open(record: Record, source: str, size: int | None) -> Partition:
    bucket = record.store.bucket(record.payload.data_bucket)
    blob = bucket.ranged_blob(source)
    if blob is None:
        raise _AbsentError("the partition is no longer there")
    if blob.size != size:
        raise _AbsentError("the partition has been changed since the run")
    partition = open_partition(blob)
    if IMAGE not in partition.tensors:
        raise _AbsentError("the partition has no images")
    return partition


class _AbsentError(SkyfanError):
    """An image that cannot be shown."""


def _picture(partition: Partition, row: int) -> tuple[bytes, str]:
    if not 0 <= row < partition.rows:
        raise _AbsentError(f"the partition has {partition.rows} rows")
    image = partition.read([IMAGE], row, row + 1)[IMAGE][0]
    named = partition.metadata.get("bands", "")
    bands, said = choose_bands(named.split(",") if "," in named else list(named), len(image))
    return encode_png(stretched(image[list(bands)])), said


def _card(row: Mapping[str, Any], png: bytes | None, problem: str = "") -> Card:
    title = f"object {row['object_id']}" if row.get("object_id") is not None else f"row {row['row']}"
    lines = [
        f"score {row[SCORE]:.3g}",
        *_numbers(row, ("z_phot", "z_spec"), ".4f"),
        *([f"RA {row['ra']:.5f}°", f"Dec {row['dec']:+.5f}°"] if row.get("ra") is not None and "dec" in row else []),
        f"{row['source'].rpartition('/')[2]}, row {row['row']}",
        *([f"flags: {', '.join(_flags(row['flags']))}"] if row.get("flags") else []),
    ]
    return Card(title, tuple(lines), png, f"Image of {title}", problem)


def _numbers(row: Mapping[str, Any], names: Iterable[str], form: str) -> list[str]:
    return [f"{name} {row[name]:{form}}" for name in names if row.get(name) is not None]


def _flags(value: int) -> list[str]:
    return [str(flag.name).lower() for flag in Flag if value & flag.value]
