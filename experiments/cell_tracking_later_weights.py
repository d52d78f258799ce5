"""What does the weight map of the authors' later plugin do, instead of Eq. 2?

Border term on background only, 50 high with σ = 6 px; cells 1, background 0.1 rising to 1 at the
cells, instead of the classes' frequencies.
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig, WeightMapConfig

from .cell_tracking import EXPERIMENT as BASELINE

WEIGHTS = WeightMapConfig(
    w0=50.0, sigma_px=6.0, class_weights="later_plugin", border_term="background"
)


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, weight_map=WEIGHTS)


EXPERIMENT = change(BASELINE)
