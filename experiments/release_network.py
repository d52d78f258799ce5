"""What does the network of the authors' release do differently?

ReLU after every up-convolution, and twice as many channels out of the last one.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, model=replace(base.model, variant="release"))


EXPERIMENT = change(BASELINE)
