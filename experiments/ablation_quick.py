"""The baseline of the ablations in a short time on two CPU cores: `paper` made smaller, with Adam.

A run (train on 24 slices, predict and score six) takes about two minutes on two free cores. Whether
that is long enough for a part of the recipe to pay, `ablation_long` is for. Augmentation, drop-out
and averaging are the paper's. Its length was set by the time it takes, nothing was chosen by a
score.
"""

from dataclasses import replace

from .paper import EXPERIMENT as PAPER

EXPERIMENT = replace(
    PAPER,
    model=replace(PAPER.model, width=16),
    augmentation=replace(PAPER.augmentation, image_order=1),
    training=replace(
        PAPER.training,
        input_tile_px=508,  # 324 px out
        steps=500,
        optimizer="adam",
        momentum=0.9,
        warmup_steps=100,
        precision="bfloat16",
    ),
    prediction=replace(PAPER.prediction, precision="bfloat16"),
)
