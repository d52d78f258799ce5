"""What does drop-out do?

The paper has it "at the end of the contracting path" (§3.1).
"""

from dataclasses import replace

from unet2015.config import ExperimentConfig

from .paper import EXPERIMENT as BASELINE


def change(base: ExperimentConfig) -> ExperimentConfig:
    """`base` with this one difference."""
    return replace(base, model=replace(base.model, dropout=0.0))


EXPERIMENT = change(BASELINE)
