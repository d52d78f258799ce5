"""Images, settings and tiles that the tests of the augmentation share."""

import numpy as np
from numpy.testing import assert_array_equal

from unet2015.augmentation import TileSequence, TrainingTile, augment_tile
from unet2015.config import AugmentationConfig

NOTHING = AugmentationConfig(
    elastic_sigma_px=0, rotation="none", shift=False, black_level=0, white_level=0, gamma=1
)
PAPER = AugmentationConfig()
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def sample(height: int, width: int, *, channels: int = 1, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    image = rng.random((channels, height, width), np.float32)
    labels = rng.integers(0, 2, (height, width), np.uint8)
    return image, labels, (1 + 9 * rng.random((height, width))).astype(np.float32)


def tile_of(arrays: Sample, config: AugmentationConfig, sides: tuple[int, int], seed: int = 0):
    rng = np.random.default_rng(seed)
    return augment_tile(*arrays, config, input_tile_px=sides[0], output_tile_px=sides[1], rng=rng)


def sequence(seed: int, count: int = 3, config: AugmentationConfig = PAPER) -> TileSequence:
    arrays = [sample(20 + 3 * i, 26 - i, seed=i) for i in range(count)]
    images, labels, weights = (list(part) for part in zip(*arrays, strict=True))
    return TileSequence(
        images, labels, weights, config, input_tile_px=16, output_tile_px=8, seed=seed
    )


def assert_same(first: TrainingTile, second: TrainingTile) -> None:
    for ours, theirs in zip(first, second, strict=True):
        assert_array_equal(ours, theirs)
