"""What does padding do?

Zero padding in every 3×3 convolution, so that the score map is as large as the input tile. The
loss is taken over all of it, its rim with little context included: that is what padding is for.
The input tile is the baseline's but for the few pixels by which sizes must differ: every pooling
must see an even side, which valid and padded networks have at different sizes (572 → 576 px).
At the same number of steps a padded network learns from more pixels a step, and takes longer.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig
from unet2015.model import nearest_valid_size

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    tile_px = nearest_valid_size(base.training.input_tile_px, base.model.depth, "same")
    return replace(
        base,
        model=replace(base.model, padding="same"),
        training=replace(base.training, input_tile_px=tile_px),
    )


EXPERIMENT = change(BASELINE)
