"""How much memory the prediction of one tile takes, before it starts."""

from unet2015.config import ModelConfig
from unet2015.tiling import Tiling

BYTES = {"float32": 4, "bfloat16": 2}
WORKING = 2.0
"""Allowance for the working memory of the convolutions: the measured peak was 1.1-1.5 times the
feature maps for widths 32 and 64 on a CPU, and up to 2.1 times for width 8 (our choice)."""


def prediction_memory_bytes(
    model: ModelConfig, tiling: Tiling, *, precision: str = "float32"
) -> int:
    """About how many bytes the feature maps of one tile take in prediction (paper Fig. 1).

    Tiles go through the network one at a time, so it does not depend on their number; it grows
    with the area of an input tile, whose side `PredictionConfig.largest_input_tile_px` bounds.
    Parameters (4 bytes each) and the image itself come on top. precision: as
    `PredictionConfig.precision`.
    """
    return int(WORKING * BYTES[precision] * _most_values_alive(model, tiling.input_hw))


def _most_values_alive(model: ModelConfig, input_hw: tuple[int, int]) -> int:
    """The largest number of values in memory between two layers, walking down and up the U."""
    loss = 0 if model.padding == "same" else 2
    sides, skips, most = input_hw, [], 0
    x = model.in_channels * _area(sides)
    for level in range(model.depth + 1):
        channels = model.width * 2**level
        for _ in range(2):
            sides = (sides[0] - loss, sides[1] - loss)
            after = channels * _area(sides)
            most = max(most, sum(skips) + x + after)
            x = after
        if level < model.depth:
            skips.append(x)
            sides = (sides[0] // 2, sides[1] // 2)
            x = channels * _area(sides)
            most = max(most, sum(skips) + x)
    for level in reversed(range(model.depth)):
        channels = model.width * 2**level
        sides = (2 * sides[0], 2 * sides[1])
        wide = 2 * channels if model.variant == "release" and level == 0 else channels
        up, joined = wide * _area(sides), (wide + channels) * _area(sides)
        most = max(most, sum(skips) + x + up, sum(skips) + up + joined)
        skips.pop()
        x = joined
        for _ in range(2):
            sides = (sides[0] - loss, sides[1] - loss)
            after = channels * _area(sides)
            most = max(most, sum(skips) + x + after)
            x = after
    return most


def _area(sides: tuple[int, int]) -> int:
    return sides[0] * sides[1]
