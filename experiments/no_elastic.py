"""What does elastic deformation do?

"Random elastic deformations … seem to be the key concept" (paper §3.1). Everything else stays.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, augmentation=replace(base.augmentation, elastic_sigma_px=0.0))


EXPERIMENT = change(BASELINE)
