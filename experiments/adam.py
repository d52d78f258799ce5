"""What does Adam do in the place of SGD?

The learning rate is the baseline's, as for every arm; the first beta is 0.9.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, training=replace(base.training, optimizer="adam", momentum=0.9))


EXPERIMENT = change(BASELINE)
