"""One sample → one training tile: shift, rotation, deformation, gray values (paper §3.1).

"We primarily need shift and rotation invariance as well as robustness to deformations and gray
value variations." One field deforms image, labels and weights. Not specified in the paper: the
ranges (`config.AugmentationConfig`), and the order of the steps, which here is: mirroring and right
angles, then rotation about the image's centre with the elastic field, then the tile's position,
then gray values.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unet2015.config import AugmentationConfig
from unet2015.deformation import Region, deform, keys_displacement, random_displacement


class TrainingTile(NamedTuple):
    """What one step learns from: an input tile, and labels and weights of its output tile."""

    image: np.ndarray
    """(C, h, w) float32 in [0, 1]; h = w = the input tile's side."""
    labels: np.ndarray
    """(o, o) uint8 classes; o = the output tile's side."""
    weights: np.ndarray
    """(o, o) float32 ≥ 0, Eq. 2; 0 = ignore."""


class Draw(NamedTuple):
    """All random numbers of one tile."""

    angle_deg: float
    """Rotation beyond right angles, counter-clockwise."""
    quarter_turns: int
    flip: tuple[bool, bool]
    position: tuple[float, float]
    """Of the output tile among all possible ones, 0 … 1."""
    black: float
    white: float
    gamma: float
    displacement: np.ndarray


def augment_tile(
    image: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    config: AugmentationConfig,
    *,
    input_tile_px: int,
    output_tile_px: int,
    rng: np.random.Generator,
) -> TrainingTile:
    """A randomly shifted, rotated and deformed tile with varied gray values (paper §3.1).

    image: (C, H, W) float in [0, 1]. labels: (H, W) integers 0 … 255. weights: (H, W) float ≥ 0,
    0 = ignore. input_tile_px, output_tile_px: sides of the network's input and output in pixels;
    they differ by an even number, half of which is the margin around the output tile.

    The output tile lies inside the deformed image, at any position with equal probability. Where
    the input tile reaches over the border, the deformed image is mirrored without repeating the
    edge pixel, as in prediction (paper Fig. 2). An output tile larger than the image is centred on
    it, and labels and weights are mirrored with the image.
    Image: spline of `config.image_order`, clipped to [0, 1]; labels: nearest; weights: linear
    (later plugin), and 0 wherever the nearest pixel is one to ignore (our choice).

    Drawn from `rng`, always in this order and number: 8 uniform numbers (angle, row flip, column
    flip, row, column, black, white, gamma), then the displacement vectors; an option that is off
    leaves the other options' draws as they are. Raises ValueError for input that breaks the rules.
    """
    margin = _check_tile(input_tile_px, output_tile_px)
    image, labels, weights = check_sample(image, labels, weights)
    draw = draw_augmentation(config, rng)
    image, labels, weights = (turn_and_flip(array, draw) for array in (image, labels, weights))
    if config.displacement_interpolation == "keys":
        draw = draw._replace(displacement=keys_displacement(draw.displacement, labels.shape))
    corner = tile_corner(labels.shape, output_tile_px, config, draw)
    label_rows, label_columns = (
        _mirrored(start, start + output_tile_px, size)
        for start, size in zip(corner, labels.shape, strict=True)
    )
    image_rows, image_columns = (
        _mirrored(start - margin, start + output_tile_px + margin, size)
        for start, size in zip(corner, labels.shape, strict=True)
    )
    label_tile, weight_tile = _deform_labels(labels, weights, draw, label_rows, label_columns)
    channels = _deform_window(
        list(image), [config.image_order] * len(image), draw, image_rows, image_columns
    )
    return TrainingTile(_vary_gray_values(np.stack(channels), draw), label_tile, weight_tile)


def check_sample(
    image: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample in the dtypes of a `TrainingTile`; ValueError if it cannot be trained on."""
    if image.ndim != 3 or image.size == 0:
        raise ValueError(f"image of shape {image.shape}: must be (C, H, W), not empty")
    for name, array in (("labels", labels), ("weights", weights)):
        if array.shape != image.shape[1:]:
            raise ValueError(
                f"{name} of shape {array.shape}: must be as large as the image, {image.shape[1:]}"
            )
    # a comparison with NaN is false, so these find NaN as well
    if not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(f"image from {image.min()} to {image.max()}: must lie in [0, 1]")
    if not (weights.min() >= 0 and np.isfinite(weights.max())):
        raise ValueError(f"weights from {weights.min()} to {weights.max()}: must be finite and ≥ 0")
    if labels.dtype.kind not in "biu" or labels.min() < 0 or labels.max() > 255:
        raise ValueError(
            f"labels of type {labels.dtype} from {labels.min()} to {labels.max()}: "
            "must be integers 0 … 255"
        )
    return (
        image.astype(np.float32, copy=False),
        labels.astype(np.uint8, copy=False),
        weights.astype(np.float32, copy=False),
    )


class TileSequence:
    """Training tiles of a set of images, drawn without end; usable as a PyTorch Dataset.

    Tile k depends on the seed and on k alone, not on who makes it, when, or which came before:
    its image is entry k mod N of the random order of epoch k // N, and its augmentation has its
    own Generator. Every image is used once per epoch.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        labels: Sequence[np.ndarray] | np.ndarray,
        weights: Sequence[np.ndarray] | np.ndarray,
        config: AugmentationConfig,
        *,
        input_tile_px: int,
        output_tile_px: int,
        seed: int,
    ) -> None:
        """images: N of (C, H, W) in [0, 1], the sizes may differ; the rest as in `augment_tile`."""
        if not len(images) == len(labels) == len(weights) >= 1:
            raise ValueError(
                f"{len(images)} images, {len(labels)} labels, {len(weights)} weight maps: "
                "must be as many, at least one"
            )
        if seed < 0:
            raise ValueError(f"seed = {seed}: must be ≥ 0")
        _check_tile(input_tile_px, output_tile_px)
        self.samples: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for index, sample in enumerate(zip(images, labels, weights, strict=True)):
            try:
                image, label, weight = (np.asarray(array) for array in sample)
                self.samples.append(check_sample(image, label, weight))
            except ValueError as error:
                raise ValueError(f"sample {index}: {error}") from error
        self._config = config
        self._input_tile_px = input_tile_px
        self._output_tile_px = output_tile_px
        self._seed = seed

    def __len__(self) -> int:
        """More than any training uses: the sequence has no end."""
        return 2**31 - 1

    def __getitem__(self, k: int) -> TrainingTile:
        """Tile k ≥ 0 of this seed."""
        index, rng = self.source(k)
        image, labels, weights = self.samples[index]
        return augment_tile(
            image,
            labels,
            weights,
            self._config,
            input_tile_px=self._input_tile_px,
            output_tile_px=self._output_tile_px,
            rng=rng,
        )

    def source(self, k: int) -> tuple[int, np.random.Generator]:
        """Which sample tile k ≥ 0 shows, and the Generator of its augmentation."""
        if not 0 <= k < len(self):
            raise IndexError(f"tile {k}: must be 0 … {len(self) - 1}")
        epoch, place = divmod(k, len(self.samples))
        order = np.random.default_rng([self._seed, 1, epoch]).permutation(len(self.samples))
        return int(order[place]), np.random.default_rng([self._seed, 2, k])


def draw_augmentation(config: AugmentationConfig, rng: np.random.Generator) -> Draw:
    """All random numbers of one tile, in the order and number that `augment_tile` promises."""
    turn, flip_rows, flip_columns, row, column, black, white, gamma = rng.random(8)
    return Draw(
        angle_deg=360 * turn if config.rotation == "any" else 0.0,
        quarter_turns=int(4 * turn) if config.rotation == "right_angles" else 0,
        flip=(config.flips and flip_rows < 0.5, config.flips and flip_columns < 0.5),
        position=(row, column),
        black=config.black_level * (2 * black - 1),
        white=1 + config.white_level * (2 * white - 1),
        gamma=config.gamma ** (2 * gamma - 1),
        displacement=random_displacement(rng, config.elastic_points, config.elastic_sigma_px),
    )


def _check_tile(input_tile_px: int, output_tile_px: int) -> int:
    difference = input_tile_px - output_tile_px
    if output_tile_px < 1 or difference < 0 or difference % 2:
        raise ValueError(
            f"input tile of {input_tile_px} px, output tile of {output_tile_px} px: the output "
            "must have at least 1 px, and the input must be larger by an even number ≥ 0"
        )
    return difference // 2


def turn_and_flip(array: np.ndarray, draw: Draw) -> np.ndarray:
    """A view of (…, H, W) turned by right angles, then mirrored, as drawn."""
    array = np.rot90(array, draw.quarter_turns, axes=(-2, -1))
    axes = tuple(axis - 2 for axis in (0, 1) if draw.flip[axis])
    return np.flip(array, axes)


def tile_corner(
    hw: tuple[int, ...], output_tile_px: int, config: AugmentationConfig, draw: Draw
) -> tuple[int, int]:
    """First row and column of the output tile in the turned image of size `hw` (paper §3.1)."""
    row, column = (
        _position(size, output_tile_px, place if config.shift else None)
        for size, place in zip(hw, draw.position, strict=True)
    )
    return row, column


def _position(image_px: int, tile_px: int, place: float | None) -> int:
    """First row or column of the output tile; negative if it is larger than the image."""
    beyond = image_px - tile_px
    if beyond <= 0 or place is None:
        return beyond // 2
    return int(place * (beyond + 1))


def _mirrored(start: int, stop: int, size: int) -> np.ndarray:
    """Rows or columns start … stop-1, mirrored at the first and the last of `size`."""
    before, after = max(0, -start), max(0, stop - size)
    padded = np.pad(np.arange(size), (before, after), mode="reflect")
    return padded[start + before : stop + before]


def _deform_labels(
    labels: np.ndarray, weights: np.ndarray, draw: Draw, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    arrays, orders = [labels, weights], [0, 1]
    ignored = weights == 0
    if ignored.any():
        # linear weights alone would let pixels at the rim of an ignored region learn its labels
        arrays.append(ignored)
        orders.append(0)
    label_tile, weight_tile, *ignored_tile = _deform_window(arrays, orders, draw, rows, columns)
    if ignored_tile:
        weight_tile[ignored_tile[0]] = 0
    return label_tile, weight_tile


def _deform_window(
    arrays: list[np.ndarray], orders: list[int], draw: Draw, rows: np.ndarray, columns: np.ndarray
) -> list[np.ndarray]:
    """The given rows and columns of the deformed arrays; only what these need is computed."""
    region: Region = (
        slice(int(rows.min()), int(rows.max()) + 1),
        slice(int(columns.min()), int(columns.max()) + 1),
    )
    if draw.angle_deg or draw.displacement.any():
        arrays = deform(
            arrays, draw.displacement, angle_deg=draw.angle_deg, orders=orders, region=region
        )
    else:
        arrays = [array[region] for array in arrays]
    rows, columns = rows - region[0].start, columns - region[1].start
    return [array[rows[:, None], columns] for array in arrays]


def _vary_gray_values(image: np.ndarray, draw: Draw) -> np.ndarray:
    """Black → black level, white → white level, with a power between (our choice of a curve)."""
    # splines overshoot, and a negative number has no power
    image = np.clip(image, 0, 1, dtype=np.float32)
    if draw.gamma != 1:
        image **= draw.gamma
    image *= draw.white - draw.black
    image += draw.black
    return np.clip(image, 0, 1, out=image)
