"""A training in memory: what one step does, how it is put away and taken up again."""

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from skyfan.photoz.checkpoint import Checkpoint, Recipe, Record
from skyfan.photoz.dataset import Rows, Split, Survey, blocks, measure_normalisation
from skyfan.photoz.metrics import Scores, scores
from skyfan.photoz.network import Network, NetworkConfig, PhotoZ


@dataclass(frozen=True)
class Progress:
    """Where a training, or the pretraining before it, stands."""

    epoch: float
    """Passes over the training rows so far."""
    step: int
    seconds: float
    """In the loop so far, interruptions left out."""
    share_done: float
    """0 to 1."""
    loss: float
    """Mean over the steps since the last report."""
    validation: Scores | None
    """At the end of an epoch and of the training."""
    pretraining: bool
    """Whether this is the pretraining."""


class Optimisation:
    """Steps of AdamW over a module's weights, on batches of shuffled rows.

    All randomness comes from the seed and the step, so that a training taken up at any step goes on bit for bit.
    """

    def __init__(
        self, module: nn.Module, rows: Rows, recipe: Recipe, seed: int, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.module, self.recipe, self.step = module, recipe, 0
        self.batch_size = min(recipe.batch_size, len(rows))
        self.steps_per_epoch = len(rows) // self.batch_size
        self._rows, self._seed = rows, seed
        self._epoch, self._order = -1, rows
        self._adamw = torch.optim.AdamW(module.parameters(), betas=betas, weight_decay=recipe.weight_decay, fused=True)

    def begin(self) -> Rows:
        """Seed torch for the step to come and return its rows."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._seed, epoch)).permutation(self._rows)
        torch.manual_seed((self._seed << 32) + self.step)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size]

    def descend(self, loss: Tensor, share: float) -> float:
        """Move the weights at the learning rate for `share` of the training, and return the loss."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate(self.recipe.learning_rate, share, self.step, self.recipe.warmup_steps)
        self._adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.gradient_norm)
        self._adamw.step()
        self.step += 1
        return loss.item()

    def moments(self) -> dict[str, Tensor]:
        """Return the two moments of every weight, by `first.` or `second.` and its name."""
        found = {}
        for name, parameter in self.module.named_parameters():
            state = self._adamw.state[parameter]
            found[f"first.{name}"], found[f"second.{name}"] = state["exp_avg"], state["exp_avg_sq"]
        return found

    def restore(self, moments: dict[str, Tensor], step: int) -> None:
        """Go back to a step and the moments it had."""
        for name, parameter in self.module.named_parameters():
            # In the parameter's own memory layout: the fused optimiser goes through memory, not through indices.
            first, second = (
                torch.empty_like(parameter).copy_(moments[f"{which}.{name}"]) for which in ("first", "second")
            )
            taken = torch.tensor(float(step), device=parameter.device)
            self._adamw.state[parameter] = {"step": taken, "exp_avg": first, "exp_avg_sq": second}
        self.step = step


class Trainer:
    """A network learning redshifts, and the moving average of its weights."""

    def __init__(self, survey: Survey, parts: Split, record: Record, device: str) -> None:
        self.survey, self.parts, self.record, self.device = survey, parts, record, device
        torch.manual_seed(record.seed)
        network = Network(record.config)
        network.normalise.load_state_dict(measure_normalisation(survey, parts.train, record.config))
        self.network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network)
        self.optimisation = Optimisation(self.network, parts.train, record.recipe, record.seed)
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
        """Return how much of the training asked for is done; 1 or more at its end."""
        by_epochs = self.step / (self.record.epochs * self.steps_per_epoch) if self.record.epochs else 0.0
        by_minutes = self.seconds / (60.0 * self.record.minutes) if self.record.minutes else 0.0
        return max(by_epochs, by_minutes)

    def learn(self, share: float) -> float:
        """Take one step, at the learning rate for `share` of the training, and return its loss."""
        image, magnitude, z = self.survey.batch(self.optimisation.begin(), self.device)
        self.network.train()
        inputs = self.network.normalise(turned(image, int(torch.randint(8, ()))), magnitude)  # in float32
        with autocast(self.device, self.record.recipe):
            logits, _ = self.network.judge(*inputs)
        loss = pdf_loss(logits.float(), z, self.record.config, self.record.recipe.crps_weight)
        value = self.optimisation.descend(loss, share)
        self._follow()
        return value

    def validate(self) -> Scores | None:
        """Return the metrics of the averaged weights on the validation rows, if there are any."""
        rows = self.parts.validation
        if not len(rows):
            return None
        z_phot, _ = predict(self.average, self.record.config, self.survey, rows, self.device)
        return scores(z_phot, self.survey.redshift[rows])

    def start_from(self, record: Record) -> None:
        """Begin with the weights that the network was given since it was made, which `record` tells of."""
        self.record = record
        self.average.load_state_dict(self.network.state_dict())

    def snapshot(self) -> Checkpoint:
        """Return everything that goes on from here."""
        record = replace(self.record, step=self.step, seconds=self.seconds, history=list(self.history))
        return Checkpoint(record, self.network.state_dict(), self.average.state_dict(), self.optimisation.moments())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        self.network.load_state_dict(checkpoint.network)
        self.average.load_state_dict(checkpoint.average)
        self.optimisation.restore(checkpoint.moments, checkpoint.record.step)
        self.seconds, self.history = checkpoint.record.seconds, list(checkpoint.record.history)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; in the first steps faster, to leave the random start behind."""
        weight = 1.0 - min(self.record.recipe.average_decay, self.step / (self.step + 20.0))
        for mine, theirs in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, weight)
            else:
                mine.copy_(theirs)


def autocast(device: str, recipe: Recipe) -> torch.autocast:
    """Return the context in which matrix products have the recipe's precision."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bfloat16")


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
    outputs = [model(*survey.batch(block, device)[:2])[:2] for block in blocks(rows, 512)]
    mean, std = (torch.cat(parts).cpu().numpy() for parts in zip(*outputs, strict=True))
    return mean, std
