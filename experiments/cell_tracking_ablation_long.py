"""The baseline of the cell tracking sets' ablations at several lengths on two CPU cores.

As `cell_tracking_quick`, but with what the paper has and that file leaves out (rotation by any
angle, drop-out, no batch normalisation), so that each can be taken away, and with the width, tiles
and course of the learning rate of `ablation_long`, for the time that they take. Whether HeLa's loss
falls without batch normalisation was tried in one run of 2000 steps on sequence 01 without its last
three annotated frames (`--hold-out 3`), which results/cell_tracking.md lists.
"""

from dataclasses import replace

from .ablation_long import EXPERIMENT as LONG
from .cell_tracking_quick import EXPERIMENT as QUICK
from .cell_tracking_quick import INSTANCES as INSTANCES

EXPERIMENT = replace(
    QUICK,
    model=replace(LONG.model, image_scale=QUICK.model.image_scale),
    augmentation=LONG.augmentation,
    training=replace(LONG.training, gray_values=QUICK.training.gray_values),
)
