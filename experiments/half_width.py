"""What does the number of channels do?

Half as many at every level (paper Fig. 1: 64 at the first).
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, model=replace(base.model, width=max(1, base.model.width // 2)))


EXPERIMENT = change(BASELINE)
