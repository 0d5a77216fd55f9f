"""skyfan train, export."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skyfan.cli.group import json_option

if TYPE_CHECKING:
    from skyfan.photoz.metrics import Scores
    from skyfan.photoz.train import Progress


@click.command()
@click.argument("survey", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", type=click.Choice(["small", "astromae"]), default="small", show_default=True, help="Network.")
@click.option("--epochs", type=float, metavar="N", help="Passes over the training rows. Default: 10.")
@click.option("--minutes", type=float, metavar="M", help="End after so long, if that is sooner.")
@click.option("--seed", type=int, metavar="S", help="Of weights, order and augmentation. Default: 1.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option("--resume", is_flag=True, help="Go on from OUT if it exists.")
def train(
    survey: Path,
    out: Path,
    size: str,
    epochs: float | None,
    minutes: float | None,
    seed: int | None,
    device: str,
    resume: bool,
) -> None:
    """Train a photometric-redshift network on SURVEY, a file with true redshifts, into the checkpoint OUT.

    Needs the extra `train`.

    \b
    Example:  skyfan train survey.safetensors photoz.safetensors --minutes 12
    """
    import skyfan

    path = skyfan.train(
        survey,
        out,
        size=size,
        epochs=epochs,
        minutes=minutes,
        seed=seed,
        device=device,
        resume=resume,
        progress=_say,
    )
    click.echo(f"{path}: trained; make a model of it with 'skyfan export {path} MODEL.onnx'")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Of the model, in its metadata. Default: from OUT.")
@click.option("--int8", is_flag=True, help="Quantise the dense layers: smaller and faster, slightly other redshifts.")
@click.option("--test", type=click.Path(path_type=Path), metavar="SURVEY", help="Score it on a survey it has not seen.")
@json_option
def export(checkpoint: Path, out: Path, name: str | None, int8: bool, test: Path | None, json_lines: bool) -> None:
    """Write CHECKPOINT, from `skyfan train`, as the ONNX file OUT, and check that it predicts the same.

    Needs the extra `train`.

    \b
    Example:  skyfan export photoz.safetensors photoz.onnx --test held-out.safetensors
    """
    import msgspec

    import skyfan
    from skyfan.wording import size

    written = skyfan.export(checkpoint, out, name=name, int8=int8, test=test)
    if json_lines:
        click.echo(msgspec.json.encode(written, enc_hook=str).decode())
        return
    click.echo(
        f"{written.path}: {size(written.size_bytes)}, {written.parameters:,} parameters, "
        f"largest |dz| against torch {written.max_dz:.1e}"
    )
    if written.scores:
        click.echo(f"on {test}: {_scores(written.scores)}")


def _say(progress: "Progress") -> None:
    text = f"{progress.share_done:4.0%} epoch {progress.epoch:.2f} step {progress.step} loss {progress.loss:.4f}"
    if progress.validation:
        text += f", validation {_scores(progress.validation)}"
    click.echo(text, err=True)


def _scores(scores: "Scores") -> str:
    return f"sigma_NMAD {scores.sigma_nmad:.5f}, bias {scores.bias:+.5f}, R2 {scores.r2:.4f}"
