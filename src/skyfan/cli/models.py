"""skyfan train, export."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from skyfan.cli.group import json_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from skyfan.photoz.export import Exported
    from skyfan.photoz.foreign import ExportedModule
    from skyfan.photoz.metrics import Scores
    from skyfan.photoz.trainer import Progress


@click.command()
@click.argument("survey", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", type=click.Choice(["small", "astromae"]), help="Network. Default: small.")
@click.option("--epochs", type=float, metavar="N", help="Passes over the training rows. Default: 10.")
@click.option(
    "--minutes",
    type=float,
    metavar="M",
    help="End after so long. With --epochs, whichever is sooner; alone, instead of epochs.",
)
@click.option(
    "--pretrain", type=float, metavar="N", help="Passes of masked-autoencoder pretraining of the encoder first."
)
@click.option("--seed", type=int, metavar="S", help="Of weights, order and augmentation. Default: 1.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option("--batch-size", type=int, metavar="N", help="Rows per step. Default: 128.")
@click.option("--learning-rate", type=float, metavar="R", help="At its peak. Default: 0.002, or 0.0006 for astromae.")
@click.option("--warmup-steps", type=int, metavar="N", help="Steps to the peak. Default: 200, or 500 for astromae.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), help="Of matrix products. Default: float32.")
@click.option("--resume", is_flag=True, help="Go on from OUT if it exists; at its end, calibrate it anew.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def train(
    survey: Path,
    out: Path,
    size: str | None,
    epochs: float | None,
    minutes: float | None,
    pretrain: float | None,
    seed: int | None,
    device: str,
    resume: bool,
    overwrite: bool,
    **recipe: float | str | None,
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
        pretrain=pretrain,
        seed=seed,
        device=device,
        resume=resume,
        overwrite=overwrite,
        recipe={name: value for name, value in recipe.items() if value is not None},
        progress=_say,
    )
    click.echo(f"{path}: trained; make a model of it with 'skyfan export {path} MODEL.onnx'")


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Of the model, in its metadata. Default: from OUT.")
@click.option("--int8", is_flag=True, help="Quantise the dense layers: smaller and faster, slightly other redshifts.")
@click.option("--test", type=click.Path(path_type=Path), metavar="SURVEY", help="Score it on rows it has not seen.")
@click.option("--trust-pickle", is_flag=True, help="CHECKPOINT is a torch module, pickled whole: run the code in it.")
@click.option("--code", type=click.Path(path_type=Path), metavar="FOLDER", help="Where its modules are imported from.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=SHAPE",
    help="A tensor that it takes, and a row's shape; repeat in order. Default: image=5x32x32, magnitude=5.",
)
@click.option(
    "--inputs-as",
    type=click.Choice(["list", "arguments"]),
    help="Its forward takes one list, or each as an argument. Default: found out by trying.",
)
@click.option("--output", "outputs", multiple=True, metavar="NAME", help="Of what it gives; repeat. Default: z_phot.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="To write into OUT, as bands=ugriz; repeat.")
@json_option
def export(
    checkpoint: Path,
    out: Path,
    name: str | None,
    int8: bool,
    test: Path | None,
    trust_pickle: bool,
    code: Path | None,
    inputs: tuple[str, ...],
    inputs_as: str | None,
    outputs: tuple[str, ...],
    metadata: tuple[str, ...],
    json_lines: bool,
) -> None:
    """Write CHECKPOINT, from `skyfan train`, as the ONNX file OUT, and check that it predicts the same.

    With --trust-pickle CHECKPOINT is any torch module that torch.save wrote whole. Loading it runs the code in it: give
    this only for files of people whom you trust. --code, --input, --inputs-as, --output and --metadata are for these.

    Needs the extra `train`.

    \b
    Example:  skyfan export photoz.safetensors photoz.onnx --test held-out.safetensors
              skyfan export model.pt model.onnx --trust-pickle --code my-code
    """
    import skyfan

    written = skyfan.export(
        checkpoint,
        out,
        name=name,
        int8=int8,
        test=test,
        trust_pickle=trust_pickle,
        code=code,
        inputs={key: _shape(text) for key, text in _pairs(inputs).items()},
        inputs_as=inputs_as,
        outputs=outputs,
        metadata=_pairs(metadata),
    )
    if json_lines:
        _say_json(written)
    else:
        _say_written(written, test, trust_pickle=trust_pickle)


def _say_json(written: "Exported | ExportedModule") -> None:
    import msgspec

    click.echo(msgspec.json.encode(written, enc_hook=str).decode())


def _say_written(written: "Exported | ExportedModule", test: Path | None, *, trust_pickle: bool) -> None:
    """Print what was written, how far it is from torch, and how good it is."""
    from skyfan.wording import size

    start = f"{written.path}: {size(written.size_bytes)}, "
    if trust_pickle:
        click.echo(start + _about(cast("ExportedModule", written)))
    else:
        plain = cast("Exported", written)
        click.echo(f"{start}{plain.parameters:,} parameters, largest |dz| against torch {plain.max_dz:.1e}")
    if written.scores:
        click.echo(f"on {written.scores.count:,} rows of {test}: {_scores(written.scores)}")
    if not trust_pickle:
        _say_honesty(cast("Exported", written))


def _say_honesty(written: "Exported") -> None:
    """Print how honest the PDFs are, and what int8 weights changed."""
    if written.pdf_scores:
        pdf = written.pdf_scores
        click.echo(
            f"PIT KS {pdf.pit_ks:.4f}, CRPS {pdf.crps:.5f}, "
            f"coverage {pdf.coverage_68:.1%} of 68 %, {pdf.coverage_95:.1%} of 95 %"
        )
    if written.int8_change:
        change = written.int8_change
        click.echo(
            f"int8 changed sigma_NMAD by {change['sigma_nmad_relative']:+.2%}, bias by {change['bias']:+.5f}, "
            f"a redshift by at most about {change['max_dz']:.1e} in dz"
        )


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """Return what each name is given, in order; a name given twice is refused."""
    pairs = [_pair(text) for text in texts]
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise click.BadParameter(f"{twice[0]!r} is given twice; expected each name once")
    return dict(pairs)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.BadParameter(f"{text!r}; expected a name, '=' and a value, as in image=5x32x32 or bands=ugriz")
    return key, value


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split("x")) if text else ()
    except ValueError as error:
        raise click.BadParameter(
            f"shape {text!r}; expected numbers, as in image=5x32x32, or none for one number per row, as in ra="
        ) from error


def _about(written: "ExportedModule") -> str:
    found = written.translation
    under = f", under the key {found.key!r}," if found.key else ""
    text = (
        f"{found.parameters:,} parameters, largest relative difference from torch {written.max_difference:.1e} on "
        f"{written.compared_rows} rows\n"
        f"{found.network}{under} takes {_named(found.inputs)} as {found.inputs_as}, and gives {_named(found.outputs)}"
    )
    if found.traced:
        text += (
            f"\nit was traced, for torch's newer exporter could not ({found.traced}): if forward branches on what is "
            "in the data, compare on real rows with --test"
        )
    return text


def _named(shapes: "Mapping[str, Sequence[int]]") -> str:
    """Return `image (n, 5, 32, 32), z_phot (n,)`."""
    return ", ".join(f"{name} (n, {', '.join(map(str, shape))})".replace(", )", ",)") for name, shape in shapes.items())


def _say(progress: "Progress") -> None:
    phase = "pretraining " if progress.pretraining else ""
    text = f"{phase}{progress.share_done:4.0%} epoch {progress.epoch:.2f} step {progress.step} loss {progress.loss:.4f}"
    if progress.validation:
        text += f", validation {_scores(progress.validation)}"
    click.echo(text, err=True)


def _scores(scores: "Scores") -> str:
    return f"sigma_NMAD {scores.sigma_nmad:.5f}, bias {scores.bias:+.5f}, R2 {scores.r2:.4f}"
