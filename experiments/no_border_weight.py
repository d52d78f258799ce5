"""What does the border weight of Eq. 2 do?

w0 = 0: the weights balance the classes and nothing more (paper §3).
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, weight_map=replace(base.weight_map, w0=0.0))


EXPERIMENT = change(BASELINE)
