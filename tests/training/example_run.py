"""A short run, whose checkpoint has something in every field."""

import torch

from tests.tiny import blob_tiles, settings
from unet2015.training.batches import collate
from unet2015.training.loop import Run, new_run, train_step

CPU = torch.device("cpu")


def trained(optimizer: str = "adam", steps: int = 2) -> Run:
    """A run with momentum in its optimiser."""
    config = settings({"width": 2}, optimizer=optimizer)
    run = new_run(config, 5, CPU, {"slices": [0, 1]})
    for tile in blob_tiles(config, steps):
        train_step(run, collate([tile]))
        run.step += 1
    row = {"loss": 1 / 3, "learning_rate": 0.01, "cell_fraction": 0.2, "accuracy": 0.5}
    run.history = [{"step": 1, **row}]
    run.pending = [[0.1 + 0.2, 0.5, 0.25]]
    run.seconds = 1.25
    return run


EXAMPLE = trained().checkpoint()
