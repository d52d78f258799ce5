"""What does the ridge of background between touching cells do (paper §3, Fig. 3)?

Touching cells are one region of the labels then; Eq. 2 still weighs the pixels where they meet.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .cell_tracking import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, weight_map=replace(base.weight_map, separate_touching=False))


EXPERIMENT = change(BASELINE)
