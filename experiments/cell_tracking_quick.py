"""What two CPU cores train, predict and score in twelve minutes: one data set, one direction.

Every line below is a deviation from `cell_tracking`; the choices are those made for the EM stack
(experiments/quick.py), on slices of it alone.
"""

from dataclasses import replace

from experiments.cell_tracking import EXPERIMENT as BASELINE
from experiments.quick import EXPERIMENT as QUICK

EXPERIMENT = replace(
    BASELINE,
    model=QUICK.model,
    augmentation=QUICK.augmentation,
    training=replace(QUICK.training, steps=1200),
    prediction=replace(BASELINE.prediction, precision="bfloat16"),
)
