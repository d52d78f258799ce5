"""Training tiles made on the device that trains: `tile.TileSequence` in PyTorch.

A step on a fast accelerator is shorter than the CPU needs for a tile. The CPU still draws the
random numbers, so that tile k is the same wherever it is made; the device evaluates the splines,
for the pixels of the tile only and without the CPU ever waiting for it. What a tile is, and which
parts of it the paper leaves open, stands in `tile` and `deformation`.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unet2015.augmentation.deformation import position_basis, position_matrix
from unet2015.augmentation.tile import (
    Draw,
    TileSequence,
    draw_augmentation,
    tile_corner,
    turn_and_flip,
)
from unet2015.config import AugmentationConfig
from unet2015.runtime.cuda_streams import aside, recorded
from unet2015.runtime.splines import RIM_PX, coefficients, interpolate, mirrored, pixels, with_rim

MakeTiles = Literal["auto", "eager", "compiled", "graph"]
"""How the device is given the operations of a tile."""
_PLACE, _GRAY = 9, 3
"""Numbers in the first two parts of a tile's parameters (`DeviceTiles._parameters`)."""


class DeviceTile(NamedTuple):
    """What one step learns from, on the device (`tile.TrainingTile` is its twin)."""

    image: Tensor
    """(C, h, w) float32 in [0, 1]; h = w = the input tile's side."""
    labels: Tensor
    """(o, o) uint8 classes; o = the output tile's side."""
    weights: Tensor
    """(o, o) float32 ≥ 0, Eq. 2; 0 = ignore."""


class Planes(NamedTuple):
    """All samples on the device, laid end to end so that one program serves images of any size."""

    images: Tensor
    """(C, N) float32: the spline coefficients, each image with its mirrored rim, row by row."""
    labels: Tensor
    """(N,) uint8, laid out likewise."""
    weights: Tensor
    """(N,) float32, laid out likewise."""
    basis: Tensor
    """(M, points + 2) float64: `deformation.position_basis`, one block for each number of rows or
    columns that occurs."""
    steps: Tensor
    """(h,) int64: rows or columns of the input tile, 0 = the output tile's first."""


class DeviceTiles:
    """`tile.TileSequence` computed on a device (paper §3.1): the same tile k, as tensors.

    Equal to it within rounding: image to 1e-4, weights to 1e-4 of their maximum, labels wherever
    the position that is read does not lie halfway between two pixels. A tile is queued on the
    current stream of the device and returned at once. Memory: 4·C + 5 bytes per pixel of all
    samples. Positions are float64, as float32 leaves only 4 digits after the point of pixel 1000.
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
        device: str | torch.device,
        make: MakeTiles = "auto",
    ) -> None:
        """As `TileSequence`, but all images have the same number of channels.

        device: where the samples are kept and the tiles are made; it needs float64. make: 'eager',
        operation by operation; 'compiled', joined by torch.compile at the first tile, which takes
        some seconds and a compiler, and is equal within rounding; 'graph', recorded at the first
        tile (`RecordedTile`); 'auto', our choice: 'graph' on a CUDA device, to spare the
        host the start of some 150 operations (not measured yet), else 'eager'. ValueError as
        `TileSequence`, and for images of less than 2×2 px if they are to be rotated or deformed.
        """
        self._device = torch.device(device)
        if self._device.type == "mps":
            raise ValueError(
                "device = mps: has no float64, which positions need; use augmentation.TileSequence"
            )
        self._sequence = TileSequence(
            images,
            labels,
            weights,
            config,
            input_tile_px=input_tile_px,
            output_tile_px=output_tile_px,
            seed=seed,
        )
        self._config = config
        self._output_tile_px = output_tile_px
        self._margin_px = (input_tile_px - output_tile_px) // 2
        shapes = self._sequence.shapes
        _check_shapes(shapes, config)
        starts = np.cumsum([0] + [(h + 2 * RIM_PX) * (w + 2 * RIM_PX) for _, h, w in shapes])
        self._starts = starts.tolist()
        self._pixel_numbers = {(h, w): _pixel_numbers(h, w) for _, h, w in shapes}
        self._planes, self._basis_starts = self._lay_out()
        self._make = _maker(make, self._device)

    def __len__(self) -> int:
        """More than any training uses: the sequence has no end."""
        return len(self._sequence)

    def __getitem__(self, k: int) -> DeviceTile:
        """Tile k ≥ 0 of this seed, on the device."""
        index, rng = self._sequence.source(k)
        draw = draw_augmentation(self._config, rng)
        parameters = torch.from_numpy(self._parameters(index, draw))
        if self._device.type == "cuda":
            parameters = parameters.pin_memory()  # or else the CPU waits for the copy
        return self._make(
            self._planes,
            parameters.to(self._device, non_blocking=True),
            self._config.image_order,
            self._margin_px,
        )

    def _lay_out(self) -> tuple[Planes, dict[int, int]]:
        """The samples on the device, and where the basis of each image side begins."""
        sequence, order = self._sequence, self._config.image_order
        numbers = range(len(sequence.shapes))
        images = [[coefficients(plane, order) for plane in sequence.image(k)] for k in numbers]
        labels, weights = zip(*(map(with_rim, sequence.planes(k)) for k in numbers), strict=True)
        sides = sorted({side for shape in sequence.shapes for side in shape[1:]})
        points, kind = self._config.elastic_points, self._config.displacement_interpolation
        blocks = [position_basis(side, points, kind) for side in sides]
        starts = np.cumsum([0, *sides[:-1]]).tolist()
        arrays = (
            np.concatenate([np.stack([with_rim(p) for p in image]) for image in images], axis=1),
            np.concatenate(labels),
            np.concatenate(weights),
            np.concatenate(blocks),
            np.arange(-self._margin_px, self._output_tile_px + self._margin_px),
        )
        planes = Planes(*(torch.from_numpy(array).to(self._device) for array in arrays))
        return planes, dict(zip(sides, starts, strict=True))

    def _parameters(self, index: int, draw: Draw) -> np.ndarray:
        """All that the device must know of a tile, as one float64 vector.

        9 integers: the tile's corner, the turned image's size, where the basis of its rows and
        columns begins, the number of its first pixel among all, and the steps to the next row and
        column; 3 gray values: black, white - black, gamma; then `position_matrix`.
        """
        planes = self._sequence.planes(index)
        # right angles and mirroring cost the device nothing: they only change the steps
        numbers = turn_and_flip(self._pixel_numbers[planes[0].shape], draw)
        height, width = (side - 2 * RIM_PX for side in numbers.shape)
        labels, weights = (turn_and_flip(plane, draw) for plane in planes)
        first = int(numbers[RIM_PX, RIM_PX])
        place = (
            *tile_corner(labels, weights, self._output_tile_px, self._config, draw),
            *(height, width),
            *(self._basis_starts[height], self._basis_starts[width]),
            self._starts[index] + first,
            int(numbers[RIM_PX + 1, RIM_PX]) - first,
            int(numbers[RIM_PX, RIM_PX + 1]) - first,
        )
        gray = (draw.black, draw.white - draw.black, draw.gamma)
        matrix = position_matrix(draw.displacement, draw.angle_deg, (height, width))
        return np.concatenate([place, gray, matrix.ravel()])


def make_tile(planes: Planes, parameters: Tensor, image_order: int, margin_px: int) -> DeviceTile:
    """One training tile from its drawn parameters (paper §3.1), without waiting for the device.

    parameters: the vector of `DeviceTiles._parameters`, on the planes' device. margin_px: between
    the border of the input tile and that of the output tile.
    """
    place = parameters[:_PLACE].long()
    black, contrast, gamma = parameters[_PLACE : _PLACE + _GRAY].float().unbind()
    terms = planes.basis.shape[1]
    matrix = parameters[_PLACE + _GRAY :].view(2, terms, terms)
    corner, size, block, (start, *step) = place[:2], place[2:4], place[4:6], place[6:].unbind()
    # where the tile reaches over the border, the deformed image is mirrored, then it is deformed
    inside = mirrored(planes.steps + corner[:, None], size[:, None])
    rows, columns = planes.basis[inside + block[:, None]]
    positions = mirrored(rows @ matrix @ columns.T, size[:, None, None])
    image = interpolate(planes.images, positions, image_order, start, step)
    image = image.clamp(0, 1).pow(gamma).mul(contrast).add(black).clamp(0, 1)

    output = slice(margin_px, positions.shape[-1] - margin_px)
    positions = positions[:, output, output]
    nearest = pixels(positions, 0, start, step)
    (weights,) = interpolate(planes.weights[None], positions, 1, start, step)
    ignored = planes.weights[nearest] == 0
    return DeviceTile(image, planes.labels[nearest], weights.masked_fill(ignored, 0))


class RecordedTile:
    """`make_tile` recorded as one CUDA graph at the first tile, for tiles of one sequence.

    It reads parameters from, and leaves the tile in, memory that stays where it is: for one thread,
    and one stream at a time. It draws nothing, so that starting it leaves PyTorch's generator, from
    which a step beside it draws its drop-out, as it is (PyTorch 2.11).
    """

    _parameters: Tensor
    _tile: DeviceTile

    def __init__(self) -> None:
        self._replay: Callable[[], None] | None = None

    def __call__(
        self, planes: Planes, parameters: Tensor, image_order: int, margin_px: int
    ) -> DeviceTile:
        """As `make_tile`."""
        if self._replay is None:
            self._parameters = parameters.clone()

            def make() -> None:
                self._tile = make_tile(planes, self._parameters, image_order, margin_px)

            aside(make, parameters.device)  # libraries are set up at their first use
            self._replay = recorded(make, parameters.device)
        self._parameters.copy_(parameters)
        self._replay()
        return DeviceTile(*(part.clone() for part in self._tile))  # the next one overwrites it


def _maker(make: MakeTiles, device: torch.device) -> Callable[..., DeviceTile]:
    """`make_tile`, as `DeviceTiles` is to call it."""
    if make == "auto":
        make = "graph" if device.type == "cuda" else "eager"
    match make:
        case "eager":
            return make_tile
        case "compiled":
            return torch.compile(make_tile)
        case "graph":
            return RecordedTile()


def _check_shapes(shapes: Sequence[tuple[int, ...]], config: AugmentationConfig) -> None:
    deformed = config.rotation == "any" or config.elastic_sigma_px > 0
    for index, (channels, height, width) in enumerate(shapes):
        if channels != shapes[0][0]:
            raise ValueError(
                f"sample {index}: image of {channels} channels: must have as many as sample 0, "
                f"{shapes[0][0]}"
            )
        if deformed and min(height, width) < 2:
            raise ValueError(
                f"sample {index}: image of {height}×{width} px: must have at least 2×2 px to be "
                "rotated or deformed"
            )


def _pixel_numbers(height: int, width: int) -> np.ndarray:
    shape = height + 2 * RIM_PX, width + 2 * RIM_PX
    return np.arange(shape[0] * shape[1]).reshape(shape)
