"""Images, settings, tiles and positions that the tests of the augmentation share."""

import numpy as np
from numpy.testing import assert_array_equal
from scipy.ndimage import map_coordinates

from unet2015.augmentation.deformation import keys_weights
from unet2015.augmentation.tile import TileSequence, TrainingTile, augment_tile
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


def source_coordinates(
    hw: tuple[int, int], displacement: np.ndarray, angle_deg: float
) -> np.ndarray:
    """Where each output pixel is read: R·(x − c) + c + d(x), as a complex rotation."""
    height, width = hw
    rows, columns = np.mgrid[:height, :width].astype(float)
    # column + i·(up) turns counter-clockwise; the output is read at the opposite angle
    position = (columns - (width - 1) / 2) - 1j * (rows - (height - 1) / 2)
    position = position * np.exp(-1j * np.deg2rad(angle_deg))
    read = np.stack([(height - 1) / 2 - position.imag, (width - 1) / 2 + position.real])
    last = np.array(displacement.shape[1:]) - 1
    grid = [rows * last[0] / (height - 1), columns * last[1] / (width - 1)]
    field = [map_coordinates(vectors, grid, order=3, mode="mirror") for vectors in displacement]
    return read + field


def by_keys(grid: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """(2, H, W) displacements between a grid's points by Keys' cubic convolution."""
    rows, columns = (keys_weights(n, size) for n, size in zip(grid.shape[1:], hw, strict=True))
    return rows @ grid @ columns.T
