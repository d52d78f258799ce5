"""What does the kind of up-sampling do?

Bilinear interpolation and a 2×2 convolution, in the place of the transposed convolution: two
readings of "an upsampling of the feature map followed by a 2x2 convolution" (paper §2).
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, model=replace(base.model, upsampling="bilinear"))


EXPERIMENT = change(BASELINE)
