"""What does batch normalisation do?

Between every 3×3 convolution and its activation; the paper has none, most later U-Nets do.
With one tile a step its statistics are those of one tile; prediction uses their running means.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, model=replace(base.model, normalization="batch"))


EXPERIMENT = change(BASELINE)
