"""How long a training step takes, measured on the machine it is to run on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from unet2015.config import ExperimentConfig
from unet2015.loss import Loss
from unet2015.model import UNet
from unet2015.runtime.numerics import check_precision, numerics
from unet2015.training.batches import Batch, TileSource
from unet2015.training.cuda_step import WARM_UP_STEPS, Compile, fast_step
from unet2015.training.history import EVERY_STEPS
from unet2015.training.loop import Run, Step, new_run, tiles_ahead
from unet2015.training.step import own_drop_out
from unet2015.training.tile_place import AugmentOn, place_of_tiles, tiles_at

STEPS, SECONDS = 3, 3.0
"""Steps that are timed at least, and for how long at least (our choice: a step of two CPU cores
takes seconds, and what three seconds hold of a GPU's are hundreds)."""


def seconds_per_step(
    config: ExperimentConfig,
    tiles: TileSource,
    *,
    device: str = "cpu",
    workers: int = 1,
    augment_on: AugmentOn = "auto",
    deterministic: bool = False,
    compile: Compile = "none",
    make_network: Callable[..., UNet] = UNet,
    loss: Loss | None = None,
) -> float:
    """Seconds of one training step (paper §3) on this machine: the mean over ≥ `STEPS` steps.

    Steps as `loop.train` takes them, whose options these are: tiles made beside them, figures
    read every `EVERY_STEPS` steps on a GPU. On a throw-away network, after one step to warm up (a
    GPU: four); nothing is written. Raises ValueError as `train` for options that the device does
    not allow.
    """
    check_precision(config.training.precision, device)
    # the course of the rate does not matter here, and no run of so many steps is timed to its end
    config = replace(config, training=replace(config.training, steps=10**5))
    tf32 = config.training.precision == "tf32"
    with numerics(device, deterministic=deterministic, tf32=tf32), own_drop_out():
        run = new_run(config, 0, torch.device(device), {}, make_network, loss)
        place = place_of_tiles(augment_on, tiles, device)
        source = tiles_at(place, tiles, run.device)
        with tiles_ahead(run, source, workers if place == "host" else 0) as ahead:
            return _seconds_per_step(run, fast_step(run, compile), ahead)


def _seconds_per_step(run: Run, take_step: Step, ahead: Iterator[Batch]) -> float:
    def steps(count: int) -> None:
        figures = []
        for _ in range(count):
            figures.append(take_step(run, next(ahead)))
            run.step += 1
        torch.stack(figures).tolist()  # waits for the device, as training does

    cpu = run.device.type == "cpu"
    steps(1 if cpu else 1 + WARM_UP_STEPS)
    each = 1 if cpu else EVERY_STEPS
    began, timed = time.perf_counter(), 0
    while True:
        steps(each)
        timed, elapsed = timed + each, time.perf_counter() - began
        if timed >= STEPS and elapsed >= SECONDS:
            return elapsed / timed
