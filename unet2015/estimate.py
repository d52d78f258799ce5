"""How long a training will take, measured on the machine it is to run on."""

import statistics
import time

import torch

from unet2015.batches import TileSource, batches
from unet2015.config import ExperimentConfig
from unet2015.training import new_run, train_step


def seconds_per_step(
    config: ExperimentConfig, tiles: TileSource, *, device: str = "cpu", steps: int = 3
) -> float:
    """Seconds of one training step (paper §3) on this machine: the median of `steps` ≥ 1 steps.

    On a throw-away network, after one step to warm up; nothing is written. The tiles, as in
    `training.train`, are made before the clock starts, since there threads prepare them ahead.
    Three steps are our choice: their median ignores one that the machine disturbed.
    Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}: must be ≥ 1")
    run = new_run(config, 0, torch.device(device), {})
    prepared = list(batches(tiles, 0, steps + 1, config.training.batch_size, workers=0))
    seconds = []
    with torch.random.fork_rng():  # drop-out seeds PyTorch's global generator
        for batch in prepared:
            began = time.perf_counter()
            train_step(run, batch)
            if run.device.type == "cuda":
                torch.cuda.synchronize(run.device)
            seconds.append(time.perf_counter() - began)
            run.step += 1
    return statistics.median(seconds[1:])
