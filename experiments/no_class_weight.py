"""What does the balance of the classes do?

w_c = 1 (paper §3, Eq. 2); the border term stays.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, weight_map=replace(base.weight_map, class_weights="none"))


EXPERIMENT = change(BASELINE)
