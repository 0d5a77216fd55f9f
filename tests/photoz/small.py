"""The small survey and the small network that the tests of this folder share."""

from skyfan.photoz.checkpoint import Recipe
from skyfan.photoz.network import NetworkConfig

ROWS = 1700
"""Four chunks, the last one short."""
SEED = 20

TINY = NetworkConfig(
    width=16,
    depth=1,
    heads=2,
    stem_channels=4,
    inception_channels=(4, 4, 4, 4, 2),
    magnitude_width=16,
    magnitude_depth=2,
    feature_width=16,
    head_width=32,
)

RECIPE = Recipe(batch_size=64, warmup_steps=10)
