"""The baseline of the ablations at several lengths on two CPU cores: narrower, and trained longer.

As `ablation_quick`, whose augmentation, drop-out and averaging are the paper's, with half the
channels and smaller tiles for sixteen times as many steps. The learning rate is constant and falls
at the end, so that runs of 500, 2000 and 8000 steps have one training in common. Chosen by the time
it takes, nothing by a score.
"""

from dataclasses import replace

from .ablation_quick import EXPERIMENT as QUICK

EXPERIMENT = replace(
    QUICK,
    model=replace(QUICK.model, width=8),
    training=replace(
        QUICK.training,
        input_tile_px=380,  # 196 px out
        steps=8000,
        schedule="constant_then_fall",
    ),
)
