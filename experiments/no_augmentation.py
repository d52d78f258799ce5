"""What does augmentation do as a whole?

No rotation, mirroring, elastic deformation or gray-value variation. The tile's position stays
random: a fixed one would leave most of every slice unseen.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(
        base,
        augmentation=replace(
            base.augmentation,
            rotation="none",
            flips=False,
            elastic_sigma_px=0.0,
            black_level=0.0,
            white_level=0.0,
            gamma=1.0,
        ),
    )


EXPERIMENT = change(BASELINE)
