"""Does it matter which bicubic interpolation the displacements get?

Keys' (a = -0.5) in the place of the cubic B-spline; the paper says "bicubic" (§3.1).
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, augmentation=replace(base.augmentation, displacement_interpolation="keys"))


EXPERIMENT = change(BASELINE)
