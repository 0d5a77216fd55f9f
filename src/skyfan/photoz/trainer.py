"""A training in memory: what one step does, how it is put away and taken up again."""

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax

from skyfan.photoz.checkpoint import Checkpoint, Record
from skyfan.photoz.dataset import Rows, Split, Survey, blocks, measure_normalisation
from skyfan.photoz.metrics import Scores, scores
from skyfan.photoz.network import Network, NetworkConfig, PhotoZ


class Trainer:
    """Weights, their average and the optimiser's moments.

    All randomness comes from the seed and the step, so that a training taken up at any step goes on bit for bit.
    """

    def __init__(self, survey: Survey, parts: Split, record: Record, device: str) -> None:
        self.survey, self.parts, self.record, self.device = survey, parts, record, device
        torch.manual_seed(record.seed)
        network = Network(record.config)
        network.normalise.load_state_dict(measure_normalisation(survey, parts.train))
        self.network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), weight_decay=record.recipe.weight_decay, fused=True
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.batch_size = min(record.recipe.batch_size, len(parts.train))
        self.steps_per_epoch = len(parts.train) // self.batch_size
        self._epoch, self._order = -1, parts.train

    def share_done(self) -> float:
        """Return how much of the training asked for is done; 1 or more at its end."""
        by_epochs = self.step / (self.record.epochs * self.steps_per_epoch) if self.record.epochs else 0.0
        by_minutes = self.seconds / (60.0 * self.record.minutes) if self.record.minutes else 0.0
        return max(by_epochs, by_minutes)

    def learn(self, share: float) -> float:
        """Take one step, at the learning rate for `share` of the training, and return its loss."""
        recipe, config = self.record.recipe, self.record.config
        image, magnitude, z = self.survey.batch(self._batch_rows(), self.device)
        torch.manual_seed((self.record.seed << 32) + self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(recipe.learning_rate, share, self.step, recipe.warmup_steps)
        self.network.train()
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = self.network(turned(image, int(torch.randint(8, ()))), magnitude)
        loss = pdf_loss(logits.float(), z, config, recipe.crps_weight)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.gradient_norm)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return loss.item()

    def validate(self) -> Scores | None:
        """Return the metrics of the averaged weights on the validation rows, if there are any."""
        rows = self.parts.validation
        if not len(rows):
            return None
        z_phot, _ = predict(self.average, self.record.config, self.survey, rows, self.device)
        return scores(z_phot, self.survey.redshift[rows])

    def snapshot(self) -> Checkpoint:
        """Return everything that goes on from here."""
        moments = {}
        for name, parameter in self.network.named_parameters():
            state = self.optimiser.state[parameter]
            moments[f"first.{name}"], moments[f"second.{name}"] = state["exp_avg"], state["exp_avg_sq"]
        record = replace(self.record, step=self.step, seconds=self.seconds, history=list(self.history))
        return Checkpoint(record, self.network.state_dict(), self.average.state_dict(), moments)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        self.network.load_state_dict(checkpoint.network)
        self.average.load_state_dict(checkpoint.average)
        for name, parameter in self.network.named_parameters():
            moments = (checkpoint.moments[f"{which}.{name}"] for which in ("first", "second"))
            # In the parameter's own memory layout: the fused optimiser goes through memory, not through indices.
            first, second = (torch.empty_like(parameter).copy_(moment) for moment in moments)
            taken = torch.tensor(float(checkpoint.record.step))
            self.optimiser.state[parameter] = {"step": taken, "exp_avg": first, "exp_avg_sq": second}
        self.step, self.seconds = checkpoint.record.step, checkpoint.record.seconds
        self.history = list(checkpoint.record.history)

    def _batch_rows(self) -> Rows:
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self._epoch:
            shuffle = np.random.default_rng((self.record.seed, epoch))
            self._epoch, self._order = epoch, shuffle.permutation(self.parts.train)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; in the first steps faster, to leave the random start behind."""
        weight = 1.0 - min(self.record.recipe.average_decay, self.step / (self.step + 20.0))
        for mine, theirs in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, weight)
            else:
                mine.copy_(theirs)


def learning_rate(peak: float, share: float, step: int, warmup_steps: int) -> float:
    """Return a linear rise over the warm-up and half a cosine to zero (Loshchilov & Hutter 2017)."""
    return peak * min(1.0, (step + 1) / warmup_steps) * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


def turned(image: Tensor, which: int) -> Tensor:
    """Return images in one of the eight orientations that the sky does not tell apart, (n, b, y, x)."""
    if which & 1:
        image = image.flip(3)
    if which & 2:
        image = image.flip(2)
    return image.transpose(2, 3) if which & 4 else image


def soft_labels(z: Tensor, config: NetworkConfig) -> Tensor:
    """Return redshifts as weights on the two nearest bin centres, (n, z): their mean is the redshift itself."""
    position = (z / config.z_max * config.bins - 0.5).clamp(0.0, config.bins - 1.0)
    low = position.long().clamp(max=config.bins - 2)
    above = (position - low).unsqueeze(1)
    labels = torch.zeros(len(z), config.bins, device=z.device)
    return labels.scatter(1, low[:, None], 1.0 - above).scatter(1, low[:, None] + 1, above)


def pdf_loss(logits: Tensor, z: Tensor, config: NetworkConfig, crps_weight: float) -> Tensor:
    """Return cross-entropy plus `crps_weight` times the ranked probability score in units of bins.

    The score is the sum over bins of (CDF - CDF of the label)^2 (Gneiting & Raftery 2007, JASA 102, 359, section 4.2):
    unlike cross-entropy it knows which bins are near to each other.
    """
    labels, log_pdf = soft_labels(z, config), log_softmax(logits, dim=1)
    cross_entropy = -(labels * log_pdf).sum(dim=1).mean()
    ranked = ((log_pdf.exp().cumsum(dim=1) - labels.cumsum(dim=1)) ** 2).sum(dim=1).mean()
    return cross_entropy + crps_weight * ranked


@torch.no_grad()
def predict(
    network: Network, config: NetworkConfig, survey: Survey, rows: Rows, device: str = "cpu"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return z_phot and its standard deviation of `rows`, (n,) each."""
    model = PhotoZ(network, config).to(device).eval()
    outputs = [model(*survey.batch(block, device)[:2]) for block in blocks(rows, 512)]
    mean, std = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return mean, std
