"""How much memory a prediction takes, stated before it starts."""

import numpy as np
import torch

from unet2015.config import ModelConfig, PredictionConfig
from unet2015.data.image_scale import scaled_size
from unet2015.inference.tiling import Tiling, choose_tiling
from unet2015.inference.views import views
from unet2015.runtime.memory import gib

BYTES = {"float32": 4, "bfloat16": 2}
BLOCK = 16
"""Channels that oneDNN, PyTorch's convolutions on a CPU, lays out together (AVX-512; else 8)."""
WORKING = 1.0
"""Allowance for the working memory of a convolution, times its input and output with their channels
rounded up to a `BLOCK` (our choice). Measured on one tile of 572-892 px on a CPU, with the C
library told to give freed memory back: 0.2-0.3 of the sum with it for widths 1 and 2, 0.6-0.8 for
16 and 32."""
HELD = 128 * 2**20
"""Allowance for freed memory that the C library keeps: as much again as a tile and an image take,
at most so many bytes, because blocks above 32 MiB are given back (glibc; our choice). Measured
above the sum without it: up to 130 MiB (512 × 512 px, rotations7, widths 16 and 32)."""
SHARE, MOST_TILES = 0.5, 8
"""Of a GPU's free memory, what tiles may take that go through the network together, as cuDNN needs
working memory too; and how many they are at most: the eight views of a slice. More would hardly be
faster, as a tile of 700 px fills a GPU but for the lowest levels (our choice; not measured)."""


def prediction_memory_bytes(
    model: ModelConfig, tiling: Tiling, *, precision: str = "float32"
) -> int:
    """About how many bytes the feature maps of one tile take in prediction (paper Fig. 1).

    With what a convolution needs to compute them. On a CPU tiles go through the network one at a
    time, so it does not depend on their number (on a GPU: `tiles_that_fit`); it grows with the
    area of an input tile, whose side `PredictionConfig.largest_input_tile_px` bounds. Parameters
    (4 bytes each) come on top, and what `stack_memory_bytes` counts. precision: as
    `PredictionConfig.precision`.
    """
    return int(BYTES[precision] * _most_values_alive(model, tiling.input_hw))


def tiles_that_fit(model: ModelConfig, tiling: Tiling, precision: str, device: torch.device) -> int:
    """How many tiles are predicted together: as many as a share of a GPU's free memory holds.

    From 1 to `MOST_TILES`; 1 on a CPU, where several are no faster and memory is what is scarce.
    """
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    # what PyTorch keeps from earlier tiles without using it: the number stays the same
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    one = prediction_memory_bytes(model, tiling, precision=precision)
    return max(1, min(MOST_TILES, int(SHARE * free / one)))


def image_memory_bytes(model: ModelConfig, config: PredictionConfig, hw: tuple[int, int]) -> int:
    """About how many bytes the prediction of one image takes beside a tile (paper §2, §4).

    hw: height and width in pixels. Its float32 copy and, for rotations, its spline coefficients,
    the sum over the views, and of one view the turned image, its scores and its probabilities.
    """
    seen = scaled_size(hw, model.image_scale)
    all_views = views(config.averaging, seen)
    channels, planes = model.in_channels, max(2, model.classes)
    values = (channels + 2 * planes) * max(_area(view.hw) for view in all_views)
    if len(all_views) > 1:
        values += (channels + planes) * _area(seen)
    if config.averaging == "rotations7":
        values += channels * _area(seen)
    if model.image_scale != 1:
        values += (channels + planes) * _area(hw)
    return 4 * values


def stack_memory_bytes(
    model: ModelConfig, config: PredictionConfig, shape: tuple[int, ...], dtype: np.dtype | str
) -> int:
    """About how many bytes images, scores and probabilities take in prediction (paper §2, §4).

    shape, dtype: of the gray images (N, H, W) as they were read. They and the probability of cell
    (float32) are in memory whole, the rest of one image at a time (`image_memory_bytes`).
    """
    count, height, width = shape
    stacks = count * height * width * (np.dtype(dtype).itemsize + 4)
    return stacks + image_memory_bytes(model, config, (height, width))


def memory_statement(
    model: ModelConfig, config: PredictionConfig, shape: tuple[int, ...], dtype: np.dtype | str
) -> str:
    """One line: the tiles of an image and about how much memory its prediction takes, in GiB.

    Of averaged views the one with the largest tiles counts. Arguments as `stack_memory_bytes`;
    ValueError as `choose_tiling`.

    Peak memory of a process above what it had after a first small prediction (one thread of a CPU,
    Linux, width 2, largest tile 892 px unless others are named) / stated, in MiB:
    1×512×512 none 26 / 145, rotations7 72 / 238; 1×2000×2000 none 124 / 324, at 220 px 84 / 185,
    dihedral8 212 / 370, rotations7 273 / 467, and at half the size 154 / 354; 6×3000×3000 none
    447 / 644; 1×3000×3000 of 16 bits, clipped, 202 / 438. 1×512×512 of width 16: none 132 / 248,
    dihedral8 164 / 254, rotations7 331 / 329; of width 32: rotations7 517 / 515. On a GPU, where
    tiles, several at a time, are in its own memory, nothing was measured.
    """
    tiling, tile, total = _total(model, config, shape, dtype)
    several = " and view" if config.averaging != "none" else ""
    return (
        f"{len(tiling)} tile(s) of {tiling.input_hw[0]} × {tiling.input_hw[1]} px an image{several}"
        f", about {gib(total)} of memory beside Python and PyTorch: {gib(tile)} for a tile "
        f"(--largest-input-tile-px bounds it), {gib(total - tile)} for images and scores"
    )


def _total(
    model: ModelConfig, config: PredictionConfig, shape: tuple[int, ...], dtype: np.dtype | str
) -> tuple[Tiling, int, int]:
    """The tiling with the largest tiles, the bytes of one of them, and those of everything."""
    hw = (shape[1], shape[2])
    all_views = views(config.averaging, scaled_size(hw, model.image_scale))
    tilings = [choose_tiling(view.hw, model, config.largest_input_tile_px) for view in all_views]
    tiling = max(tilings, key=lambda one: (_area(one.input_hw), len(one)))
    tile = prediction_memory_bytes(model, tiling, precision=config.precision)
    held = min(HELD, tile + image_memory_bytes(model, config, hw))
    return tiling, tile, tile + stack_memory_bytes(model, config, shape, dtype) + held


def _most_values_alive(model: ModelConfig, input_hw: tuple[int, int]) -> int:
    """The most values in memory at a time, working memory included, walking down and up the U."""
    loss = 0 if model.padding == "same" else 2
    sides, skips, channels, most = input_hw, [0], model.in_channels, 0

    def convolved(out: int, sides_in: tuple[int, int], sides_out: tuple[int, int]) -> int:
        """Values while `channels` become `out`: skips, input, output, and working memory."""
        x, after = _area(sides_in), _area(sides_out)
        working = WORKING * (_blocks(channels) * x + _blocks(out) * after)
        return int(sum(skips) + channels * x + out * after + working)

    def two_convolutions(out: int) -> None:
        nonlocal sides, channels, most
        for _ in range(2):
            smaller = (sides[0] - loss, sides[1] - loss)
            most = max(most, convolved(out, sides, smaller))
            sides, channels = smaller, out

    for level in range(model.depth + 1):
        if level > 0:
            skips.append(channels * _area(sides))
            sides = (sides[0] // 2, sides[1] // 2)
        two_convolutions(model.width * 2**level)
    for level in reversed(range(model.depth)):
        skip_channels = model.width * 2**level
        wide = 2 * skip_channels if model.variant == "release" and level == 0 else skip_channels
        larger = (2 * sides[0], 2 * sides[1])
        bilinear = model.upsampling == "bilinear"
        most = max(most, convolved(wide, larger if bilinear else sides, larger))
        sides, channels = larger, wide + skip_channels
        most = max(most, sum(skips) + (wide + channels) * _area(sides))
        skips.pop()
        two_convolutions(skip_channels)
    return most


def _blocks(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _area(sides: tuple[int, int]) -> int:
    return sides[0] * sides[1]
