"""What does layer normalisation do?

Over channels and both axes of a map, between every 3×3 convolution and its activation: unlike
batch normalisation it does the same in training and in prediction.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, model=replace(base.model, normalization="layer"))


EXPERIMENT = change(BASELINE)
