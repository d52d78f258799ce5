"""What does rotation augmentation do?

Everything else stays: elastic deformation, shift and gray values (paper §3.1), and the averaging
over rotated views in prediction (paper §4).
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, augmentation=replace(base.augmentation, rotation="none", flips=False))


EXPERIMENT = change(BASELINE)
