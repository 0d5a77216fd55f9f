"""The network: AstroMAE's shape (arXiv 2409.01825), with light profiles beside magnitudes and a PDF over redshift."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skyfan.photoz.posterior import Calibration, Posterior, summarise
from skyfan.photoz.profile import MOMENTS, RINGS, profile_weights

# Shapes in comments: n images, b bands, t tokens, w width, h heads, z redshift bins, s sums of pixels, m measurements.


@dataclass(frozen=True)
class NetworkConfig:
    """The size of a network; by default AstroMAE's."""

    width: int = 192
    """Of the transformer's tokens."""
    depth: int = 12
    """Transformer blocks."""
    heads: int = 12
    patch_pixels: int = 8
    image_pixels: int = 32
    bands: int = 5
    stem_channels: int = 32
    """Channels that the Inception branch starts with."""
    inception_channels: tuple[int, int, int, int, int] = (16, 16, 8, 8, 4)
    """Channels of one path of each Inception block."""
    magnitude_width: int = 1024
    magnitude_depth: int = 5
    """Dense layers of the magnitude branch."""
    feature_width: int = 1096
    """Features that each image branch hands to the head."""
    head_width: int = 1024
    dropout: float = 0.1
    """In the head, in training only."""
    bins: int = 64
    """Redshift bins of the PDF, evenly over 0 to `z_max`."""
    z_max: float = 0.4
    profile: bool = True
    """Whether the magnitude branch also sees each galaxy's light profile, which AstroMAE's does not."""

    @classmethod
    def small(cls) -> "NetworkConfig":
        """Return the size of the model that ships with skyfan: about half a million parameters, 2 MB."""
        return cls(
            width=64,
            depth=4,
            heads=4,
            inception_channels=(16, 24, 24, 24, 12),
            magnitude_width=96,
            magnitude_depth=3,
            feature_width=128,
            head_width=192,
        )

    @property
    def measurements(self) -> int:
        """Numbers that the magnitude branch sees: magnitudes and profiles, with the colours of both."""
        colours = self.bands - 1
        profile = self.bands * (RINGS + MOMENTS) + colours * RINGS if self.profile else 0
        return self.bands + colours + profile


def stretched(x: Tensor) -> Tensor:
    """Return asinh(x), of light by its noise: linear in the one, logarithmic in the other (Lupton et al. 1999)."""
    # Spelt out, because onnxruntime's own Asinh takes a twentieth of the time of a large int8 network.
    return torch.sign(x) * torch.log(torch.abs(x) + torch.sqrt(x * x + 1.0))


class Profile(nn.Module):
    """Light in rings around the centre, its colours, and its moments: sums of `skyfan.photoz.profile`, stretched."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        weights = torch.from_numpy(profile_weights(config.image_pixels))  # (y * x, s)
        self.register_buffer("weights", weights, persistent=False)
        self.register_buffer("noise", weights.square().sum(dim=0).sqrt(), persistent=False)  # of a pixel's noise, (s,)
        self.weights: Tensor
        self.noise: Tensor

    def forward(self, image: Tensor, softening: Tensor) -> Tensor:
        """Return the profiles, (n, m), of images (n, b, y, x) whose bands' light is stretched by `softening`, (b,)."""
        sums = image.flatten(2) @ self.weights  # (n, b, s)
        light = stretched(sums / (softening.view(-1, 1) * self.noise))
        rings, moments = light[..., :RINGS], light[..., RINGS:]
        return torch.cat([rings.flatten(1), differences(rings).flatten(1), moments.flatten(1)], dim=1)


def differences(of_bands: Tensor) -> Tensor:
    """Return each band's numbers less the next band's, (n, b - 1, ...): of magnitudes, the colours."""
    return of_bands[:, :-1] - of_bands[:, 1:]


class Normalise(nn.Module):
    """Raw nanomaggies and AB magnitudes to numbers of order one, by constants measured on the training set.

    It wants float32 throughout: colours are small differences of large numbers.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.profile = Profile(config) if config.profile else None
        self.register_buffer("softening", torch.ones(config.bands))
        self.register_buffer("image_mean", torch.zeros(config.bands))
        self.register_buffer("image_std", torch.ones(config.bands))
        self.register_buffer("measured_mean", torch.zeros(config.measurements))
        self.register_buffer("measured_std", torch.ones(config.measurements))
        self.softening: Tensor
        self.image_mean: Tensor
        self.image_std: Tensor
        self.measured_mean: Tensor
        self.measured_std: Tensor

    def stretch(self, image: Tensor) -> Tensor:
        """Return asinh(flux / softening), (n, b, y, x)."""
        return stretched(image / self.softening.view(-1, 1, 1))

    def measure(self, image: Tensor, magnitude: Tensor) -> Tensor:
        """Return magnitudes, their colours and, if it is wanted, the profiles: (n, m)."""
        profile = [self.profile(image, self.softening)] if self.profile else []
        return torch.cat([magnitude, differences(magnitude), *profile], dim=1)

    def forward(self, image: Tensor, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        measured = (self.measure(image, magnitude) - self.measured_mean) / self.measured_std
        return (self.stretch(image) - self.image_mean.view(-1, 1, 1)) / self.image_std.view(-1, 1, 1), measured


class Attention(nn.Module):
    """Self-attention (Vaswani et al. 2017), spelt out so that it exports as plain matrix products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        _, tokens, width = x.shape
        x = self.query_key_value(x).view(-1, tokens, 3, self.heads, width // self.heads)
        query, key, value = x.permute(2, 0, 3, 1, 4).unbind(0)  # (n, h, t, w / h) each
        weights = torch.softmax((query * self.scale) @ key.transpose(-2, -1), dim=-1)  # (n, h, t, t)
        mixed = (weights @ value).transpose(1, 2).reshape(-1, tokens, width)  # (n, t, w)
        return self.out(mixed)  # type: ignore[no-any-return]


class Block(nn.Module):
    """A transformer block, normalised before each part."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.dense_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.dense(self.dense_norm(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The vision transformer (Dosovitskiy et al. 2021): the whole galaxy at once, patch against patch."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        tokens = 1 + (config.image_pixels // config.patch_pixels) ** 2
        self.patches = nn.Conv2d(config.bands, config.width, config.patch_pixels, config.patch_pixels)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position = nn.Parameter(torch.randn(1, tokens, config.width) * 0.02)
        self.blocks = nn.Sequential(*[Block(config.width, config.heads) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.width)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)  # (n, t - 1, w)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.position  # (n, t, w)
        return self.norm(self.blocks(x)[:, 1:].mean(dim=1))  # type: ignore[no-any-return]  # (n, w)


def convolution(inputs: int, outputs: int, size: int) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU; the first two become one when exported."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Inception(nn.Module):
    """An Inception block (Szegedy et al. 2015): the same map seen through windows of 1, 3 and, if `wide`, 5 pixels."""

    def __init__(self, inputs: int, channels: int, *, wide: bool = True) -> None:
        super().__init__()
        paths = [
            convolution(inputs, channels, 1),
            nn.Sequential(convolution(inputs, channels, 1), convolution(channels, channels, 3)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), convolution(inputs, channels, 1)),
        ]
        if wide:
            paths.append(nn.Sequential(convolution(inputs, channels, 1), convolution(channels, channels, 5)))
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.paths], dim=1)  # (n, paths * channels, y, x)


class InceptionBranch(nn.Module):
    """Five Inception blocks on maps of a half, a quarter and an eighth of the image: local detail."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        stem, (a, b, c, d, e) = config.stem_channels, config.inception_channels
        self.maps = nn.Sequential(
            nn.Conv2d(config.bands, stem, 1),
            nn.AvgPool2d(2),  # 16 x 16
            Inception(stem, a),
            Inception(4 * a, b),
            nn.AvgPool2d(2),  # 8 x 8
            Inception(4 * b, c),
            Inception(4 * c, d),
            nn.AvgPool2d(2),  # 4 x 4
            Inception(4 * d, e, wide=False),
            nn.Flatten(),
        )
        self.outputs = 3 * e * (config.image_pixels // 8) ** 2

    def forward(self, image: Tensor) -> Tensor:
        return self.maps(image)  # type: ignore[no-any-return]  # (n, outputs)


def dense(inputs: int, width: int, depth: int) -> nn.Sequential:
    """Return `depth` linear layers with ReLU between them."""
    layers: list[nn.Module] = [nn.Linear(inputs, width)]
    for _ in range(depth - 1):
        layers += [nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*layers)


class Network(nn.Module):
    """Images and magnitudes to the logits of a PDF over redshift bins.

    A value that is not finite makes its row's outputs not finite; nothing is clipped or repaired.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.normalise = Normalise(config)
        self.encoder = Encoder(config)
        self.whole = nn.Sequential(
            nn.Linear(config.width, config.width), dense(config.width, config.feature_width, depth=2)
        )
        self.inception = InceptionBranch(config)
        self.local = dense(self.inception.outputs, config.feature_width, depth=2)
        self.magnitudes = dense(config.measurements, config.magnitude_width, config.magnitude_depth)
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * config.feature_width + config.magnitude_width, config.head_width),
            nn.ReLU(),
            nn.Linear(config.head_width, config.bins),
        )

    def forward(self, image: Tensor, magnitude: Tensor) -> Tensor:
        """Return logits, (n, z), of images (n, b, y, x) in nanomaggies and AB magnitudes (n, b)."""
        return self.with_features(image, magnitude)[0]

    def with_features(self, image: Tensor, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, (n, z), and what the encoder saw in the images, (n, w)."""
        return self.judge(*self.normalise(image, magnitude))

    def judge(self, image: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features of images and measurements that are normalised."""
        seen = self.encoder(image)
        features = torch.cat([self.whole(seen), self.local(self.inception(image)), self.magnitudes(measured)], dim=1)
        return self.head(features), seen


class PhotoZ(nn.Module):
    """A network with everything that a catalogue wants from it: what is exported."""

    def __init__(self, network: Network, config: NetworkConfig, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.network = network
        self.calibration = calibration or Calibration.none(config.width)
        self.z_max = config.z_max

    def forward(self, image: Tensor, magnitude: Tensor) -> Posterior:
        """Return the columns of a catalogue, (n,) or (n, z) each."""
        logits, features = self.network.with_features(image, magnitude)
        return summarise(self.calibration.pdf(logits), self.calibration.anomaly_score(features), self.z_max)


def bin_centres(config: NetworkConfig) -> Tensor:
    """Return the middle of each redshift bin, (z,)."""
    return (torch.arange(config.bins) + 0.5) * (config.z_max / config.bins)


def count_parameters(network: nn.Module) -> int:
    """Return the number of trained numbers in a network."""
    return sum(p.numel() for p in network.parameters())
