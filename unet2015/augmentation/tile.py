"""One sample → one training tile: rotation, deformation, shift, gray values (paper §3.1).

"We primarily need shift and rotation invariance as well as robustness to deformations and gray
value variations." One field deforms image, labels and weights. Not specified in the paper: the
ranges (`config.AugmentationConfig`), and the order of the steps, which here is: right angles and
mirroring, then rotation about the image's centre with the elastic field, then the tile's position,
then gray values. On a GPU `on_device` makes the same tile.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from unet2015.augmentation.deformation import (
    Region,
    deform,
    nearest_source,
    random_displacement,
    spline_coefficients,
)
from unet2015.config import AugmentationConfig

FOREGROUND_DENSITY, BACKGROUND_DENSITY = 1.0, 0.1
"""How often a pixel becomes the centre of a tile, of a cell and beside it (later plugin)."""
CENTRE_JITTER_PX = 8
"""The centre is moved by up to this much along each axis (later plugin: half the downsampling
factor, which is 16 for the paper's depth of 4)."""
COEFFICIENT_BYTES = 256 * 2**20
"""Most that a `TileSequence` keeps of its images' spline coefficients, 4 bytes per pixel and
channel (our choice: 30 slices of 512×512 px take 30 MiB, 34 images of 520×696 px 47 MiB)."""


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
    centre: tuple[float, float, float] | None = None
    """Of the output tile under position 'foreground', 0 … 1: which pixel, and the jitter of its
    row and column."""


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

    The output tile lies inside the deformed image, at any position with equal probability, or under
    position 'foreground' as `tile_corner` says. Where the input tile reaches over the border, the
    deformed image is mirrored without repeating the edge pixel, as in prediction (paper Fig. 2). An
    output tile larger than the image is centred on it, and labels and weights are mirrored with it.
    Image: spline of `config.image_order`, clipped to [0, 1]; labels: nearest; weights: linear
    (later plugin), and 0 wherever the nearest pixel is one to ignore (our choice).

    Drawn from `rng`, always in this order and number: 8 uniform numbers (angle, row flip, column
    flip, row, column, black, white, gamma), then the displacement vectors, then, under position
    'foreground' alone, 3 uniform numbers (pixel, jitter of its row and column); an option that is
    off leaves the others' draws as they are. Raises ValueError for input that breaks the rules.
    """
    _check_tile(input_tile_px, output_tile_px)
    image, labels, weights = check_sample(image, labels, weights)
    planes = labels, weights, _coefficients(image, config)
    return _make_tile(lambda: image, planes, config, input_tile_px, output_tile_px, rng)


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
        """As `augment_tile`; N images of any sizes, which may be made when they are asked for."""
        if not len(images) == len(labels) == len(weights) >= 1:
            raise ValueError(
                f"{len(images)} images, {len(labels)} labels, {len(weights)} weight maps: "
                "must be as many, at least one"
            )
        if seed < 0:
            raise ValueError(f"seed = {seed}: must be ≥ 0")
        _check_tile(input_tile_px, output_tile_px)
        self._images, self._labels, self._weights = images, [], []
        self.shapes: list[tuple[int, ...]] = []
        """(C, H, W) of each sample."""
        for index, sample in enumerate(zip(images, labels, weights, strict=True)):
            try:
                image, label, weight = (np.asarray(array) for array in sample)
                _, checked, _ = check_sample(image, label, weight)
            except ValueError as error:
                raise ValueError(f"sample {index}: {error}") from error
            self.shapes.append(image.shape)
            self._labels.append(checked)
            self._weights.append(weight)
        self._config = config
        sizes = np.cumsum([4 * math.prod(shape) for shape in self.shapes])
        self._kept = int(np.searchsorted(sizes, COEFFICIENT_BYTES, side="right"))
        self._coefficients: dict[int, np.ndarray] = {}
        self._sides_px = input_tile_px, output_tile_px
        self._seed = seed

    def __len__(self) -> int:
        """More than any training uses: the sequence has no end."""
        return 2**31 - 1

    def __getitem__(self, k: int) -> TrainingTile:
        """Tile k ≥ 0 of this seed."""
        index, rng = self.source(k)
        planes = *self.planes(index), self._coefficients_of(index)
        return _make_tile(partial(self.image, index), planes, self._config, *self._sides_px, rng)

    def image(self, index: int) -> np.ndarray:
        """(C, H, W) float32 in [0, 1], the image of a sample."""
        return np.asarray(self._images[index]).astype(np.float32, copy=False)

    def planes(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) uint8 and float32, the labels and weights of a sample."""
        return self._labels[index], self._weights[index].astype(np.float32, copy=False)

    def source(self, k: int) -> tuple[int, np.random.Generator]:
        """Which sample tile k ≥ 0 shows, and the Generator of its augmentation."""
        if not 0 <= k < len(self):
            raise IndexError(f"tile {k}: must be 0 … {len(self) - 1}")
        epoch, place = divmod(k, len(self.shapes))
        order = np.random.default_rng([self._seed, 1, epoch]).permutation(len(self.shapes))
        return int(order[place]), np.random.default_rng([self._seed, 2, k])

    def _coefficients_of(self, index: int) -> np.ndarray:
        """Computed when first asked for: tiles made on a device never ask."""
        found = self._coefficients.get(index)
        if found is None:
            found = _coefficients(self.image(index), self._config)
            if index < self._kept:
                self._coefficients[index] = found  # two threads at once store the same
        return found


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
        # arguments are evaluated in this order: uniform positions draw what they always did
        centre=tuple(rng.random(3)) if config.position == "foreground" else None,
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
    labels: np.ndarray,
    weights: np.ndarray,
    output_tile_px: int,
    config: AugmentationConfig,
    draw: Draw,
) -> tuple[int, int]:
    """First row and column of the output tile in the deformed image (paper §3.1).

    labels, weights: (H, W), turned as drawn, not deformed. The tile lies inside the image, or is
    centred along an axis on which it is larger. Under position 'foreground' (later plugin) the
    pixel of the deformed labels at the tile's centre, row and column `output_tile_px // 2` of it,
    is drawn from all possible ones with a density of 1 for labels ≠ 0, 0.1 for 0, and 0 for weight
    0, then moved by up to ±8 px as far as the tile stays inside; it stays where it is if that is
    an ignored pixel (our choice). If there is nothing to draw, the position is uniform.
    """
    if config.shift and draw.centre is not None:
        corner = _foreground_corner(labels, weights, output_tile_px, config, draw)
        if corner is not None:
            return corner
    row, column = (
        _position(size, output_tile_px, place if config.shift else None)
        for size, place in zip(labels.shape, draw.position, strict=True)
    )
    return row, column


def _foreground_corner(
    labels: np.ndarray,
    weights: np.ndarray,
    output_tile_px: int,
    config: AugmentationConfig,
    draw: Draw,
) -> tuple[int, int] | None:
    """The corner that `draw.centre` chooses; None if all possible centres are ignored."""
    assert draw.centre is not None
    pixel, *jitter = draw.centre
    starts = [
        np.arange(beyond + 1) if beyond > 0 else np.array([beyond // 2])
        for beyond in (size - output_tile_px for size in labels.shape)
    ]
    shown = nearest_source(
        labels.shape,
        draw.displacement,
        angle_deg=draw.angle_deg,
        interpolation=config.displacement_interpolation,
        places=(starts[0] + output_tile_px // 2, starts[1] + output_tile_px // 2),
    )
    density = np.where(labels[shown] != 0, FOREGROUND_DENSITY, BACKGROUND_DENSITY)
    density[weights[shown] == 0] = 0
    places = np.flatnonzero(density)
    if not places.size:
        return None
    total = density.ravel()[places].cumsum()
    chosen = np.searchsorted(total, pixel * total[-1], side="right")
    # the product may round up to the total, which lies behind the last place
    drawn = np.divmod(int(places[min(chosen, places.size - 1)]), density.shape[1])
    moved = tuple(
        int(np.clip(place + int(share * (2 * CENTRE_JITTER_PX + 1)) - CENTRE_JITTER_PX, 0, n - 1))
        for place, share, n in zip(drawn, jitter, density.shape, strict=True)
    )
    row, column = moved if density[moved] else drawn
    return int(starts[0][row]), int(starts[1][column])


def _position(image_px: int, tile_px: int, place: float | None) -> int:
    """First row or column of the output tile; negative if it is larger than the image."""
    beyond = image_px - tile_px
    if beyond <= 0 or place is None:
        return beyond // 2
    return int(place * (beyond + 1))


def _mirrored(
    corner: tuple[int, int], tile_px: int, margin_px: int, hw: tuple[int, ...]
) -> list[np.ndarray]:
    """Rows and columns of a tile with a margin, mirrored at the first and the last of the image."""
    found = []
    for first, size in zip(corner, hw, strict=True):
        start, stop = first - margin_px, first + tile_px + margin_px
        before, after = max(0, -start), max(0, stop - size)
        padded = np.pad(np.arange(size), (before, after), mode="reflect")
        found.append(padded[start + before : stop + before])
    return found


def _coefficients(image: np.ndarray, config: AugmentationConfig) -> np.ndarray:
    """(C, H, W) spline coefficients; the image itself where no tile is ever interpolated."""
    deformed = config.rotation == "any" or config.elastic_sigma_px > 0
    if not deformed or config.image_order < 2:
        return image
    return np.stack([spline_coefficients(plane, config.image_order) for plane in image])


def _make_tile(
    image: Callable[[], np.ndarray],
    planes: tuple[np.ndarray, ...],
    config: AugmentationConfig,
    input_tile_px: int,
    output_tile_px: int,
    rng: np.random.Generator,
) -> TrainingTile:
    """`augment_tile` of a checked sample; planes: labels, weights, the image's coefficients."""
    draw = draw_augmentation(config, rng)
    labels, weights, coefficients = (turn_and_flip(array, draw) for array in planes)
    corner = tile_corner(labels, weights, output_tile_px, config, draw)
    inner = _mirrored(corner, output_tile_px, 0, labels.shape)
    outer = _mirrored(corner, output_tile_px, (input_tile_px - output_tile_px) // 2, labels.shape)
    outer_region, inner_region = _region(outer), _region(inner)
    others, orders = [labels, weights], [0, 1]
    if (ignored := weights == 0).any():
        # linear weights alone would let pixels at the rim of an ignored region learn its labels
        others.append(ignored)
        orders.append(0)
    if not draw.angle_deg and not draw.displacement.any():
        channels = turn_and_flip(image(), draw)[:, *outer_region]
        others = [plane[inner_region] for plane in others]
    else:
        count = len(coefficients)
        deformed = deform(
            [*coefficients, *others],
            draw.displacement,
            angle_deg=draw.angle_deg,
            interpolation=config.displacement_interpolation,
            orders=[config.image_order] * count + orders,
            regions=[outer_region] * count + [inner_region] * len(others),
            prefiltered=True,
        )
        channels, others = deformed[:count], deformed[count:]
    image_tile = np.stack([_tile(channel, outer, outer_region) for channel in channels])
    label_tile, weight_tile, *ignored_tile = (_tile(p, inner, inner_region) for p in others)
    if ignored_tile:
        weight_tile[ignored_tile[0]] = 0
    return TrainingTile(_vary_gray_values(image_tile, draw), label_tile, weight_tile)


def _region(rows_columns: list[np.ndarray]) -> Region:
    rows, columns = (slice(int(at.min()), int(at.max()) + 1) for at in rows_columns)
    return rows, columns


def _tile(plane: np.ndarray, rows_columns: list[np.ndarray], region: Region) -> np.ndarray:
    """The given rows and columns of the image, of which `plane` is a region; a copy."""
    rows, columns = (at - part.start for at, part in zip(rows_columns, region, strict=True))
    return plane.take(rows, axis=0).take(columns, axis=1)


def _vary_gray_values(image: np.ndarray, draw: Draw) -> np.ndarray:
    """Black → black level, white → white level, with a power between (our choice of a curve)."""
    # splines overshoot, and a negative number has no power
    image = np.clip(image, 0, 1, out=image)
    if draw.gamma != 1:
        image **= draw.gamma
    image *= draw.white - draw.black
    image += draw.black
    return np.clip(image, 0, 1, out=image)
