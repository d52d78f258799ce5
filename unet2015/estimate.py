"""How long a training will take, measured on the machine it is to run on."""

import statistics
import time

import torch

from unet2015.batches import TileSource, batches
from unet2015.config import ExperimentConfig
from unet2015.cuda_step import WARM_UP_STEPS, Compile, fast_step
from unet2015.numerics import numerics
from unet2015.tile_place import AugmentOn, place_of_tiles, tiles_at
from unet2015.training import new_run, train_step
from unet2015.training_step import own_drop_out


def seconds_per_step(
    config: ExperimentConfig,
    tiles: TileSource,
    *,
    device: str = "cpu",
    steps: int = 3,
    augment_on: AugmentOn = "auto",
    deterministic: bool = False,
    compile: Compile = "none",
) -> float:
    """Seconds of one training step (paper §3) on this machine: the median of `steps` ≥ 1 steps.

    On a throw-away network, after one step to warm up (a CUDA graph: four); nothing is written.
    Tiles of the host are made before the clock starts, since in `training.train`, whose further
    options these are, threads prepare them ahead; those of the device are made within the step.
    Three steps are our choice: their median ignores one that the machine disturbed.
    Raises ValueError for steps < 1, and as `train` for options that the device does not allow.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}: must be ≥ 1")
    warm_up = WARM_UP_STEPS + 1 if compile == "cuda_graph" else 1
    with numerics(device, deterministic=deterministic), own_drop_out():
        run = new_run(config, 0, torch.device(device), {})
        place = place_of_tiles(augment_on, tiles, device)
        source = tiles_at(place, tiles, run.device)
        prepared = batches(source, 0, steps + warm_up, config.training.batch_size, workers=0)
        take_step = train_step if compile == "none" else fast_step(run, compile)
        seconds = []
        for batch in prepared if place == "device" else list(prepared):
            began = time.perf_counter()
            take_step(run, batch)
            if run.device.type == "cuda":
                torch.cuda.synchronize(run.device)
            seconds.append(time.perf_counter() - began)
            run.step += 1
    return statistics.median(seconds[warm_up:])
