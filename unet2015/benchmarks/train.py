"""The training step of the full-size network (64 → 1024 channels, 572 → 388 px, one tile)."""

from dataclasses import replace

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from unet2015.augmentation import TrainingTile
from unet2015.batches import collate
from unet2015.benchmarks.timing import Benchmark, Timed, seconds, side_by_side
from unet2015.config import ExperimentConfig, TrainingConfig
from unet2015.loss import weighted_cross_entropy
from unet2015.model import UNet, valid_output_size
from unet2015.optimization import make_optimizer
from unet2015.samples import training_tiles
from unet2015.training import Run, train_step

MATRIX = 4096
"""Side of the matrices whose product measures what the hardware can do."""


def benchmark(
    device: str, *, config: ExperimentConfig | None = None, repeats: int = 3
) -> Benchmark:
    """Ours in float32 and bfloat16 beside the plain float32 loop; the input pipeline's share.

    The plain loop is what a user of a common PyTorch U-Net writes: NCHW, float32, the same
    network, loss and optimiser. The limit is the rate of a bfloat16 (or float32) matrix product
    measured in the same run.
    """
    config = config or ExperimentConfig()
    tile = _random_tile(config)
    flop = step_flop(config, tile)
    found = []
    for precision in ("float32", "bfloat16"):
        settings = replace(config.training, precision=precision)
        step = _our_step(replace(config, training=settings), tile, device)
        ours, plain = side_by_side(
            step, _plain_step(config, tile, device), repeats=repeats, device=device
        )
        ceiling = matrix_rate(precision, device)
        found.append(
            Timed(
                f"training step, {precision}",
                ours,
                plain,
                "float32, NCHW, the same network",
                share_of_limit=flop / ours / ceiling,
                remark=f"{flop / 1e12:.3f} TFLOP a step; limit: matrix product, "
                f"{ceiling / 1e12:.2f} TFLOP/s",
                headline=True,
            )
        )
    rows = [*found, _pipeline(config, found[-1].ours_s)]
    limit = "Limit: the rate of a large matrix product of the same precision, in the same run."
    return Benchmark(rows, [limit])


def step_flop(config: ExperimentConfig, tile: TrainingTile) -> int:
    """Floating-point operations of the convolutions of one step, forward and backward."""
    network = UNet(config.model)
    image, labels, weights = collate([tile])
    with FlopCounterMode(display=False) as counter:
        weighted_cross_entropy(network(image), labels, weights).backward()
    return counter.get_total_flops()


def matrix_rate(precision: str, device: str) -> float:
    """FLOP/s of a large matrix product, the best of a few: what the hardware can do at most."""
    side = MATRIX if device.startswith("cuda") else MATRIX // 2
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, repeats=9, device=device)


def _our_step(config: ExperimentConfig, tile: TrainingTile, device: str):
    network = UNet(config.model, seed=0).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    run = Run(
        config, 0, network, make_optimizer(network, config.training), torch.device(device), {}
    )
    batch = collate([tile])
    return lambda: float(train_step(run, batch)[0])


def _plain_step(config: ExperimentConfig, tile: TrainingTile, device: str):
    network = UNet(config.model, seed=0).to(device).train()
    settings: TrainingConfig = config.training
    optimizer = torch.optim.SGD(
        network.parameters(), lr=settings.learning_rate, momentum=settings.momentum
    )
    batch = collate([tile])

    def step() -> float:
        image, labels, weights = (t.to(device) for t in batch)
        optimizer.zero_grad()
        loss = weighted_cross_entropy(network(image), labels, weights)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _random_tile(config: ExperimentConfig) -> TrainingTile:
    rng = np.random.default_rng(0)
    size = config.training.input_tile_px
    out = valid_output_size(size, config.model.depth, config.model.padding)
    return TrainingTile(
        rng.random((config.model.in_channels, size, size), np.float32),
        rng.integers(0, 2, (out, out)).astype(np.uint8),
        np.ones((out, out), np.float32),
    )


def _pipeline(config: ExperimentConfig, step_s: float) -> Timed:
    """One tile of the paper's augmentation, by the one thread that works beside the step."""
    rng = np.random.default_rng(0)
    images = rng.random((1, 512, 512), np.float32)
    labels = (rng.random((1, 512, 512)) < 0.8).astype(np.uint8)
    # the weight map is made before training, and noise has thousands of cells
    plain_map = replace(config.weight_map, w0=0.0)
    tiles = training_tiles(images, labels, replace(config, weight_map=plain_map), seed=0)
    numbers = iter(range(10**9))
    each = seconds(lambda: tiles[next(numbers)], repeats=9)
    return Timed(
        "input pipeline: one training tile",
        each,
        remark=f"{each / step_s:.0%} of the bfloat16 step, in a thread beside it",
    )
