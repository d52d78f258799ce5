"""The overlap-tile strategy (paper §2, Fig. 2): seamless prediction of images of any size.

Output tiles stand side by side; each is computed from an input tile that is larger by the
network's context margin. Where that reaches over the image's border, the image is mirrored
without repeating the edge pixel, and nowhere else, so that tiled and whole-image prediction agree.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unet2015.config import ModelConfig
from unet2015.model import context_margin_px, smallest_valid_input
from unet2015.runtime.splines import mirrored


def mirror_indices(start: int, stop: int, size: int) -> np.ndarray:
    """Indices start … stop-1 folded into 0 … size-1 by mirroring at the first and last pixel.

    >>> mirror_indices(-2, 5, 3).tolist()
    [2, 1, 0, 1, 2, 1, 0]
    """
    return mirrored(torch.arange(start, stop), size).numpy()


def mirror_window(image: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A window of (…, H, W) that may reach over the border, where the image is mirrored (Fig. 2).

    Returns (…, height, width), a copy. Any window of any image of at least 1×1 pixel is legal.
    """
    rows = mirror_indices(top, top + height, image.shape[-2])
    columns = mirror_indices(left, left + width, image.shape[-1])
    return image[..., rows[:, None], columns]


def mirror_tile(planes: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """`mirror_window` of a tensor (…, H, W), made on its device."""
    rows = mirrored(torch.arange(top, top + height, device=planes.device), planes.shape[-2])
    columns = mirrored(torch.arange(left, left + width, device=planes.device), planes.shape[-1])
    return planes[..., rows[:, None], columns]


@dataclass(frozen=True)
class Tile:
    """One output tile: its position in the image and its size, and the input tile it needs."""

    output_yx: tuple[int, int]
    output_hw: tuple[int, int]
    input_yx: tuple[int, int]
    input_hw: tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """Tiles of one size that cover an image (paper Fig. 2); sizes in pixels, (height, width).

    A U-Net is equivariant only to shifts by 2^depth pixels, because of its poolings. For the tiles
    to agree with a whole-image pass their distance is a multiple of that, `stride_hw`, which is up
    to 4 px less than their output: neighbours overlap by as much, with equal values.
    """

    image_hw: tuple[int, int]
    output_hw: tuple[int, int]
    input_hw: tuple[int, int]
    stride_hw: tuple[int, int]

    def __iter__(self) -> Iterator[Tile]:
        margin_y, margin_x = ((self.input_hw[i] - self.output_hw[i]) // 2 for i in (0, 1))
        for row in range(self._count(0)):
            for column in range(self._count(1)):
                y, x = row * self.stride_hw[0], column * self.stride_hw[1]
                yield Tile((y, x), self.output_hw, (y - margin_y, x - margin_x), self.input_hw)

    def __len__(self) -> int:
        return self._count(0) * self._count(1)

    def _count(self, axis: int) -> int:
        beyond = max(0, self.image_hw[axis] - self.output_hw[axis])
        return 1 + (-(-beyond // self.stride_hw[axis]) if beyond else 0)

    def redundancy(self) -> float:
        """Computed output pixels per wanted pixel, minus 1; 0 = nothing computed in vain."""
        computed = len(self) * self.output_hw[0] * self.output_hw[1]
        return computed / (self.image_hw[0] * self.image_hw[1]) - 1


def choose_tiling(image_hw: tuple[int, int], model: ModelConfig, largest_input_px: int) -> Tiling:
    """The fewest tiles, and of those the smallest, that cover the image (release: 'nTiles').

    image_hw: image size in pixels, each ≥ 1. largest_input_px: upper bound of an input tile's
    side; if it is too small for the network it raises ValueError. A padded network ('same') has
    no context of its own: its tiles overlap by the unpadded network's margin.
    """
    if min(image_hw) < 1:
        raise ValueError(f"image of {image_hw[0]}×{image_hw[1]} px: must have at least one pixel")
    step = 2**model.depth
    margin = context_margin_px(model.depth)
    if model.padding == "same":
        margin = -(-margin // step) * step
    smallest = _input_for(step, margin, model)
    if largest_input_px < smallest:
        raise ValueError(
            f"largest_input_tile_px = {largest_input_px}: must be at least {smallest}, the "
            f"smallest input tile of a U-Net with {model.depth} poolings that can be tiled"
        )
    inputs = [_side(size, margin, model, largest_input_px) for size in image_hw]
    outputs = [side - 2 * margin for side in inputs]
    strides = [max(step, output // step * step) for output in outputs]
    return Tiling(
        image_hw=image_hw,
        output_hw=(outputs[0], outputs[1]),
        input_hw=(inputs[0], inputs[1]),
        stride_hw=(strides[0], strides[1]),
    )


def _side(size: int, margin: int, model: ModelConfig, largest: int) -> int:
    """Input side of the smallest tiles of which as few as `largest` allows cover `size` pixels."""
    step, tiles = 2**model.depth, 1
    while True:
        # n tiles cover n strides, and the last one its output's rest beyond the stride
        stride = size if tiles == 1 else math.ceil(size / tiles / step) * step
        side = _input_for(stride, margin, model)
        if side <= largest:
            return side
        tiles += 1


def _input_for(output_px: int, margin: int, model: ModelConfig) -> int:
    wanted = output_px + 2 * margin if model.padding == "same" else output_px
    return smallest_valid_input(wanted, model.depth, model.padding)
