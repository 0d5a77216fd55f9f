"""skyfan simulate, partition."""

from pathlib import Path
from typing import Any

import click

from skyfan.cli.group import F, json_option, store_option


def ingest_options(function: F) -> F:
    """Add what must be said of FITS, HDF5 and Zarr surveys."""
    for option in reversed(_INGEST):
        function = option(function)
    return function


_INGEST = (
    click.option(
        "--bands", metavar="BANDS", help="Bands in the order of the model: ugriz, or names as in DES-G,DES-R."
    ),
    click.option("--size-pixels", type=int, metavar="N", help="Cut images to N x N about their centre. Default: 32."),
    click.option("--pad", is_flag=True, help="Put zeros around smaller images; padded_pixels counts them."),
    click.option("--image-unit", metavar="UNIT", help="Of pixels: nanomaggy, maggy, Jy, mJy, uJy or nJy."),
    click.option("--zero-point", type=float, metavar="MAG", help="AB magnitude of one count, where pixels are counts."),
    click.option("--magnitude-columns", metavar="NAMES", help="A column of magnitudes a band, as in u,g,r,i,z."),
    click.option(
        "--magnitude-system", metavar="SYSTEM", help="Of magnitudes: AB, SDSS or Vega; they are not converted."
    ),
    click.option(
        "--catalog", metavar="FILE", help="Table (CSV, FITS, VOTable) of the images' ids, positions and so on."
    ),
    click.option(
        "--column",
        "named",
        metavar="NAME=COLUMN",
        multiple=True,
        help="What image, magnitude, redshift, object_id, ra, dec or file is called. Can be repeated.",
    ),
    click.option("--pixel-scale", type=float, metavar="ARCSEC", help="Arcseconds a pixel, where files do not say it."),
    click.option("--survey", metavar="NAME", help="Name of the survey, for the partitions' metadata."),
)


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--rows", type=int, required=True, metavar="N", help="Number of galaxies.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="The same seed gives the same bytes.")
@click.option("--workers", type=int, metavar="N", help="Processes. Default: one per core.")
def simulate(out: Path, rows: int, seed: int, workers: int | None) -> None:
    """Simulate a survey of SDSS-like ugriz cutouts, 32 x 32 pixels, into the safetensors file OUT.

    Needs the extra `simulate`.

    \b
    Example:  skyfan simulate survey.safetensors --rows 2000
    """
    import skyfan
    from skyfan.progress import counting
    from skyfan.wording import size

    with counting("simulate") as progress:
        path = skyfan.simulate(out, rows, seed, workers=workers, progress=progress)
    click.echo(f"{path}: {rows:,} galaxies, {size(path.stat().st_size)}")


@click.command()
@click.argument("source")
@click.argument("dest")
@click.option("--size", metavar="SIZE", help="Largest partition, as in 25MB (MB = 1,048,576 bytes).")
@click.option("--rows", type=int, metavar="N", help="Rows of a partition, instead of --size.")
@click.option("--overwrite", is_flag=True, help="Delete the partitions that are in DEST.")
@ingest_options
@store_option
@json_option
def partition(
    source: str,
    dest: str,
    size: str | None,
    rows: int | None,
    overwrite: bool,
    store: str | None,
    json_lines: bool,
    named: tuple[str, ...],
    **ingest: Any,
) -> None:
    """Split the survey SOURCE into partitions in DEST, with an index that says what they must hold.

    SOURCE is a file (.safetensors, .pt with a TensorDataset, .npz), an s3:// address, or <bucket>/<key> in the store.
    With the extra `ingest` it is also a local FITS table (.fits), HDF5 file (.hdf5, .h5), Zarr group (.zarr), or folder
    of FITS cutouts. The options from --bands on are for these: what their files do not say must be said, and nothing
    is guessed. DEST is <bucket>/<prefix> in the store.

    \b
    Example:  skyfan partition survey.safetensors surveys/25MB --size 25MB
    """
    import skyfan
    from skyfan import wording
    from skyfan.progress import counting

    ingest |= {"pad": ingest["pad"] or None, "columns": column_pairs(named) or None}
    with counting("partition", quiet=json_lines) as progress:
        index = skyfan.partition(
            source, dest, size=size, rows=rows, store=store, overwrite=overwrite, progress=progress, **ingest
        )
    if json_lines:
        click.echo(index.encode().decode())
    else:
        stored = wording.size(sum(item.bytes for item in index.partitions))
        count = wording.counted(len(index.partitions), "partition")
        click.echo(f"{dest}: {count}, {index.rows:,} rows, {stored}, with an index")


def column_pairs(named: tuple[str, ...]) -> dict[str, str]:
    """Return what --column says, by skyfan's names."""
    pairs = dict(text.split("=", 1) for text in named if "=" in text)
    if len(pairs) != len(named):
        raise click.UsageError("--column takes NAME=COLUMN, each name once, as in --column object_id=objid")
    return pairs
