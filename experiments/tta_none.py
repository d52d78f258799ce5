"""What does averaging over rotated views do?

One view in prediction; the paper averages 7 (§4). Needs no training of its own.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, prediction=replace(base.prediction, averaging="none"))


EXPERIMENT = change(BASELINE)
