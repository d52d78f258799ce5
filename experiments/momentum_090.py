"""What does the high momentum do?

0.9 in the place of 0.99 (paper §3). The learning rate is the baseline's, as for every arm, so
that a gradient moves the weights by a tenth in the long run.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, training=replace(base.training, momentum=0.9))


EXPERIMENT = change(BASELINE)
