"""The baseline of the ablations on two CPU cores: `quick` made smaller, and nearer to the paper.

A run (train on 24 slices, predict and score six) takes about two minutes on two free cores. Nearer
to the paper where an ablation needs it: rotation by any angle, no mirroring, drop-out, averaging
over 7 rotated views. Its length was set by the time it takes, nothing was chosen by a score.
"""

from dataclasses import replace

from .quick import EXPERIMENT as QUICK

EXPERIMENT = replace(
    QUICK,
    model=replace(QUICK.model, width=16, dropout=0.5),
    augmentation=replace(QUICK.augmentation, rotation="any", flips=False),
    training=replace(QUICK.training, steps=500),
    prediction=replace(QUICK.prediction, averaging="rotations7"),
)
