"""The training step of the full-size network (64 → 1024 channels, 572 → 388 px, one tile)."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from unet2015.augmentation.samples import training_tiles
from unet2015.augmentation.tile import TileSequence, TrainingTile
from unet2015.benchmarks.timing import Benchmark, Timed, seconds, side_by_side
from unet2015.config import ExperimentConfig, TrainingConfig
from unet2015.loss import weighted_cross_entropy
from unet2015.model import UNet, valid_output_size
from unet2015.training.batches import Batch, batches, collate
from unet2015.training.loop import Run, train_step
from unet2015.training.optimization import make_optimizer

PIPELINE_TARGET = 0.05
"""Largest share of a CPU's training step that the input pipeline may take (our choice)."""
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
    batch = collate([tile])
    for precision in ("float32", "bfloat16"):
        settings = replace(config.training, precision=precision)
        step = _our_step(replace(config, training=settings), device)
        ours, plain = side_by_side(
            lambda step=step: step(batch),
            _plain_step(config, tile, device),
            repeats=repeats,
            device=device,
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
    row, note = _pipeline(config, step, batch, device=device, repeats=max(repeats, 3) * 3)
    limit = "Limit: the rate of a large matrix product of the same precision, in the same run."
    return Benchmark([*found, row], [limit, note])


def step_flop(config: ExperimentConfig, tile: TrainingTile) -> int:
    """Floating-point operations of the convolutions of one step, forward and backward."""
    network = UNet(config.model).to("meta")  # shapes suffice
    image, labels, weights = (part.to("meta") for part in collate([tile]))
    with FlopCounterMode(display=False) as counter:
        weighted_cross_entropy(network(image), labels, weights).backward()
    return counter.get_total_flops()


def matrix_rate(precision: str, device: str) -> float:
    """FLOP/s of a large matrix product, the median of nine: what the hardware can do at most."""
    side = MATRIX if device.startswith("cuda") else MATRIX // 2
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / seconds(lambda: a @ b, repeats=9, device=device)


def _our_step(config: ExperimentConfig, device: str) -> Callable[[Batch], float]:
    network = UNet(config.model, seed=0).to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    run = Run(
        config, 0, network, make_optimizer(network, config.training), torch.device(device), {}
    )
    return lambda batch: float(train_step(run, batch)[0])


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


class _ThreadTimed:
    """Tiles that note how many seconds of its thread each one took."""

    def __init__(self, tiles: TileSequence) -> None:
        self._tiles = tiles
        self.seconds: list[float] = []

    def __getitem__(self, k: int, /) -> TrainingTile:
        began = time.thread_time()
        tile = self._tiles[k]
        self.seconds.append(time.thread_time() - began)
        return tile


def _pipeline(
    config: ExperimentConfig,
    step: Callable[[Batch], float],
    prepared: Batch,
    *,
    device: str,
    repeats: int,
) -> tuple[Timed, str]:
    """The paper's augmentation by one thread beside the bfloat16 step, as in training.

    In turns, a step on the next of such tiles and one on a tile prepared before: what the first
    takes longer is what the pipeline costs. Beside it, the seconds of the thread itself.
    """
    tiles = _ThreadTimed(_noise_tiles(config))
    with closing(batches(tiles, 0, 10**6, 1, workers=1)) as ahead:
        next(ahead)
        tiles.seconds.clear()
        real_s, prepared_s = side_by_side(
            lambda: step(next(ahead)), lambda: step(prepared), repeats=repeats, device=device
        )
    each = median(tiles.seconds)
    row = Timed(
        "input pipeline: one training tile",
        each,
        remark=f"seconds of its thread: {each / prepared_s:.1%} of the bfloat16 step beside it",
    )
    return row, pipeline_note(each, real_s, prepared_s, repeats=repeats, device=device)


def pipeline_note(
    thread_s: float, real_s: float, prepared_s: float, *, repeats: int, device: str
) -> str:
    """What the input pipeline costs, in words, and on a CPU whether that keeps the target.

    thread_s: seconds of its thread per tile. real_s, prepared_s: seconds of a step on a tile that
    is made beside it, and on one that was made before.
    """
    thread, measured = thread_s / prepared_s, real_s / prepared_s - 1
    target = ""
    if device == "cpu":
        kept = "met" if max(thread, measured) <= PIPELINE_TARGET else "missed"
        target = f"; target ≤ {PIPELINE_TARGET:.0%}: {kept}"
    return (
        f"Input pipeline: {thread:.1%} of a step by its thread's seconds, {measured:+.1%} measured "
        f"(median of {repeats} bfloat16 steps on tiles made by one CPU thread beside them, "
        f"{real_s:.3f} s, and on a prepared tile, {prepared_s:.3f} s, in turns){target}."
    )


def _noise_tiles(config: ExperimentConfig) -> TileSequence:
    rng = np.random.default_rng(0)
    image = rng.random((1, config.model.in_channels, 512, 512), np.float32)
    labels = (rng.random((1, 512, 512)) < 0.8).astype(np.uint8)
    # the weight map is made before training, and noise has thousands of cells
    plain_map = replace(config.weight_map, w0=0.0)
    return training_tiles(image, labels, replace(config, weight_map=plain_map), seed=0)
