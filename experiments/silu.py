"""What does SiLU do in the place of ReLU?

After every 3×3 convolution (paper §2: ReLU).
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, model=replace(base.model, activation="silu"))


EXPERIMENT = change(BASELINE)
