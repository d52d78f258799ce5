"""Does it matter which views are averaged?

The eight right-angle rotations and reflections in the place of the paper's 7 (§4). Needs no
training of its own.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, prediction=replace(base.prediction, averaging="dihedral8"))


EXPERIMENT = change(BASELINE)
