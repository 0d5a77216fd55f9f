"""skyfan simulate, partition."""

from pathlib import Path

import click

from skyfan.cli.group import json_option, store_option


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--rows", type=int, required=True, metavar="N", help="Number of galaxies.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="The same seed gives the same bytes.")
@click.option("--workers", type=int, metavar="N", help="Processes. Default: one a core.")
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
@store_option
@json_option
def partition(
    source: str, dest: str, size: str | None, rows: int | None, overwrite: bool, store: str | None, json_lines: bool
) -> None:
    """Split the survey SOURCE into partitions in DEST, with an index that says what they must hold.

    SOURCE is a file (.safetensors, .pt with a TensorDataset, .npz), an s3:// address, or <bucket>/<key> in the store.
    DEST is <bucket>/<prefix> in the store.

    \b
    Example:  skyfan partition survey.safetensors surveys/25MB --size 25MB
    """
    import skyfan
    from skyfan import wording
    from skyfan.progress import counting

    with counting("partition", quiet=json_lines) as progress:
        index = skyfan.partition(
            source, dest, size=size, rows=rows, store=store, overwrite=overwrite, progress=progress
        )
    if json_lines:
        click.echo(index.encode().decode())
    else:
        stored = wording.size(sum(item.bytes for item in index.partitions))
        count = wording.counted(len(index.partitions), "partition")
        click.echo(f"{dest}: {count}, {index.rows:,} rows, {stored}, with an index")
