"""Pretraining of the encoder as a masked autoencoder (He et al. 2021, arXiv 2111.06377), as AstroMAE does it."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from skyfan.photoz.checkpoint import Checkpoint, Pretraining, Record
from skyfan.photoz.network import Block, Encoder, NetworkConfig
from skyfan.photoz.trainer import Optimisation, Trainer, autocast, turned

# Shapes in comments: n images, b bands, t patches, v visible ones, m hidden ones, w width, p numbers in a patch.

_BETAS = (0.9, 0.95)
"""Of AdamW, as He et al. have them."""
_OWN_SEEDS = 1 << 30
"""Added to the seed, so that this and the training after it draw different numbers."""


class Decoder(nn.Module):
    """A small transformer that paints the hidden patches from what the encoder says of the visible ones."""

    def __init__(self, config: NetworkConfig, pretraining: Pretraining) -> None:
        super().__init__()
        width, heads = pretraining.decoder_width, pretraining.decoder_heads
        self.embed = nn.Linear(config.width, width)
        self.hidden_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 1 + patch_count(config), width) * 0.02)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(pretraining.decoder_depth)])
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, config.bands * config.patch_pixels**2)

    def forward(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Return the pixels of the hidden patches, (n, m, p), from the encoder's tokens, (n, 1 + v, w)."""
        places = torch.cat([visible, hidden], dim=1)  # (n, t)
        x = torch.cat([self.embed(tokens), self.hidden_token.expand(*hidden.shape, -1)], dim=1)  # (n, 1 + t, w)
        here = picked(self.position[:, 1:].expand(len(x), -1, -1), places)
        x = x + torch.cat([self.position[:, :1].expand(len(x), -1, -1), here], dim=1)
        return self.pixels(self.norm(self.blocks(x)[:, 1 + visible.shape[1] :]))  # type: ignore[no-any-return]


class MaskedAutoencoder(nn.Module):
    """An encoder that sees some of an image's patches and a decoder that has to tell the others."""

    def __init__(self, encoder: Encoder, config: NetworkConfig, pretraining: Pretraining) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, Decoder(config, pretraining)
        self.patch_pixels, self.masked_share = config.patch_pixels, pretraining.masked_share

    def encode(self, image: Tensor, visible: Tensor) -> Tensor:
        """Return the encoder's tokens of the visible patches behind its class token, (n, 1 + v, w)."""
        encoder = self.encoder
        patches = encoder.patches(image).flatten(2).transpose(1, 2) + encoder.position[:, 1:]  # (n, t, w)
        first = (encoder.class_token + encoder.position[:, :1]).expand(len(image), -1, -1)
        x = torch.cat([first, picked(patches, visible)], dim=1)
        return encoder.norm(encoder.blocks(x))  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean squared error of the hidden patches of normalised images, (n, b, y, x).

        Pixels keep the scale of the normalised image. He et al. gain by standardising each patch, but here that would
        blow up the noise of empty sky and take away the brightness, which is what redshifts are told from.
        """
        truth = cut(image, self.patch_pixels)
        visible, hidden = hide(len(image), truth.shape[1], self.masked_share, image.device)
        painted = self.decoder(self.encode(image, visible), visible, hidden)
        return mse_loss(painted.float(), picked(truth, hidden))


class Pretrainer:
    """The encoder of a trainer's network, learning to complete the images of the training rows; redshifts play no part.

    Steps, learning rate and batches are as in the training itself, and so is going on from a checkpoint.
    """

    def __init__(self, trainer: Trainer, pretraining: Pretraining) -> None:
        self.trainer, self.pretraining = trainer, pretraining
        record, seed = trainer.record, trainer.record.seed + _OWN_SEEDS
        torch.manual_seed(seed)
        autoencoder = MaskedAutoencoder(trainer.network.encoder, record.config, pretraining)
        self.autoencoder = autoencoder.to(trainer.device)
        self.optimisation = Optimisation(self.autoencoder, trainer.parts.train, record.recipe, seed, _BETAS)
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.optimisation.step

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a pass over the training rows."""
        return self.optimisation.steps_per_epoch

    def share_done(self) -> float:
        """Return how much of the pretraining asked for is done; 1 or more at its end."""
        return self.step / (self.pretraining.epochs * self.steps_per_epoch)

    def learn(self, share: float) -> float:
        """Take one step, at the learning rate for `share` of the pretraining, and return its loss."""
        trainer = self.trainer
        image, magnitude, _ = trainer.survey.batch(self.optimisation.begin(), trainer.device)
        with torch.no_grad():
            image, _ = trainer.network.normalise(image, magnitude)
        with autocast(trainer.device, trainer.record.recipe):
            loss = self.autoencoder(turned(image, int(torch.randint(8, ()))))
        return self.optimisation.descend(loss, share)

    def validate(self) -> None:
        """Return nothing: there are no redshifts to score yet."""

    def record(self) -> Record:
        """Return the training's record with how far the pretraining is."""
        done = replace(self.pretraining, step=self.step, seconds=self.seconds, history=list(self.history))
        return replace(self.trainer.record, pretraining=done)

    def snapshot(self) -> Checkpoint:
        """Return everything that goes on from here."""
        return Checkpoint(
            self.record(),
            network=self.trainer.network.state_dict(),
            average={},
            moments=self.optimisation.moments(),
            decoder=self.autoencoder.decoder.state_dict(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        self.trainer.network.load_state_dict(checkpoint.network)
        self.autoencoder.decoder.load_state_dict(checkpoint.decoder)
        self.optimisation.restore(checkpoint.moments, self.pretraining.step)
        self.seconds, self.history = self.pretraining.seconds, list(self.pretraining.history)


def patch_count(config: NetworkConfig) -> int:
    """Return the number of patches of an image."""
    return (config.image_pixels // config.patch_pixels) ** 2


def hide(images: int, patches: int, share: float, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return the numbers of the visible and of the hidden patches of each image, (n, v) and (n, m).

    The hidden ones are drawn anew for each image, the same number for all: `share` of the patches, rounded.
    """
    order = torch.rand(images, patches, device=device).argsort(dim=1)
    visible = patches - round(share * patches)
    return order[:, :visible], order[:, visible:]


def picked(tokens: Tensor, places: Tensor) -> Tensor:
    """Return the tokens, (n, t, w), at the places of each image, (n, v): (n, v, w)."""
    return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def cut(image: Tensor, pixels: int) -> Tensor:
    """Return the patches of images, row by row as the encoder's convolution has them, (n, t, p)."""
    n, bands, height, width = image.shape
    x = image.reshape(n, bands, height // pixels, pixels, width // pixels, pixels)
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
