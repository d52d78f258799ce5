"""The training step on a CUDA device: precisions, ways to start a step, tiles of the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from unet2015.augmentation import TrainingTile
from unet2015.batches import Batch, collate
from unet2015.benchmarks.timing import Benchmark, Timed, seconds
from unet2015.benchmarks.train import step_flop
from unet2015.config import ExperimentConfig
from unet2015.cuda_step import WARM_UP_STEPS, Compile, fast_step
from unet2015.loss import weighted_cross_entropy
from unet2015.model import UNet, valid_output_size
from unet2015.numerics import numerics
from unet2015.samples import SampleTiles
from unet2015.training import new_run, train_step
from unet2015.training_step import on_device

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")
WAYS: dict[Compile, str] = {"none": "eager", "compile": "compiled", "cuda_graph": "CUDA graph"}
WORKS = (
    *(f"training step, {precision}, {way}" for precision in PRECISIONS for way in WAYS.values()),
    "training tile made on the device",
)
"""The rows, for the page to name where they were not run."""
BURST = 10
"""Steps that are started before the clock waits for the device, as in training (our choice: half
the steps between two rows of the history)."""
MATRIX = 8192
"""Side of the matrices whose product measures what the device can do."""
_GIB = 2**30


@dataclass(frozen=True)
class _Work:
    """What is measured: the experiment, its tiles, where, how often."""

    config: ExperimentConfig
    tiles: SampleTiles
    batch: Batch
    device: str
    repeats: int

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds of one `work` among `BURST` that are started without waiting for each other."""
        burst = seconds(
            lambda: [work() for _ in range(BURST)], repeats=self.repeats, device=self.device
        )
        return burst / BURST


def benchmark(
    device: str,
    *,
    config: ExperimentConfig | None = None,
    repeats: int = 5,
    ways: Sequence[Compile] = tuple(WAYS),
) -> Benchmark:
    """The full-size step, channels-last, in each precision and way, beside the plain loop.

    The plain loop is PyTorch as it comes: NCHW, float32 with TF32 convolutions, no choice of
    algorithm by time, the loss read in every step. The limit is the rate of a large matrix product
    of the same precision, measured in the same run. Then a training tile made on the device, and
    its share of the fastest step. A way that fails leaves a note in place of its row.
    """
    config = config or ExperimentConfig()
    work = _work(config, device, repeats)
    flop = step_flop(config, _first_tile(work))
    plain_s = work.seconds(_plain_step(work))
    rows, notes = [], [f"Times are of one step among {BURST} that are queued at once."]
    for precision in PRECISIONS:
        ceiling = matrix_rate(precision, device)
        found: dict[str, float] = {}
        for way in ways:
            try:
                step_s, peak = _step_seconds(work, precision, way)
            except (RuntimeError, ValueError) as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                notes.append(f"training step, {precision}, {WAYS[way]}: not run: {reason}")
                continue
            found[WAYS[way]] = step_s
            rows.append(_row(precision, way, step_s, plain_s, flop, ceiling, peak))
        if found:
            notes.append(_fastest(precision, found))
    fastest = min((row.ours_s for row in rows), default=plain_s)
    return Benchmark([*rows, _tile_row(work, fastest)], notes)


def matrix_rate(precision: Precision, device: str) -> float:
    """FLOP/s of a large matrix product in this precision: what the device can do at most."""
    side = MATRIX if device.startswith("cuda") else 512
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with numerics(device, tf32=precision == "tf32"):
        burst = seconds(lambda: [a @ b for _ in range(BURST)], repeats=5, device=device)
    return BURST * 2 * side**3 / burst


def _row(
    precision: Precision,
    way: Compile,
    step_s: float,
    plain_s: float,
    flop: float,
    ceiling: float,
    peak: float | None,
) -> Timed:
    remarks = [
        f"{flop / step_s / 1e12:.3g} of {ceiling / 1e12:.3g} TFLOP/s, the rate of a matrix product"
    ]
    if peak is not None:
        remarks.append(f"peak memory {peak:.2f} GiB")
    return Timed(
        f"training step, {precision}, {WAYS[way]}",
        step_s,
        plain_s,
        "PyTorch's defaults: NCHW, TF32 convolutions, eager",
        share_of_limit=flop / step_s / ceiling,
        remark="; ".join(remarks),
        headline=way == "none",
    )


def _fastest(precision: str, found: dict[str, float]) -> str:
    """Which way is the fastest in a precision, and by how much."""
    best = min(found, key=found.__getitem__)
    others = [f"{found[way] / found[best]:.2f} × {way}" for way in found if way != best]
    against = f" (the others take {', '.join(others)})" if others else ""
    return f"{precision}: the fastest way is {best}{against}."


def _step_seconds(work: _Work, precision: Precision, way: Compile) -> tuple[float, float | None]:
    """Seconds of a step, and the peak of PyTorch's memory in GiB (None on the CPU)."""
    settings = replace(
        work.config.training, precision="bfloat16" if precision == "bfloat16" else "float32"
    )
    config = replace(work.config, training=settings)
    cuda = work.device.startswith("cuda")
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(work.device)
    with numerics(work.device, tf32=precision == "tf32"):
        run = new_run(config, 0, torch.device(work.device), {})
        step = train_step if way == "none" else fast_step(run, way)
        for _ in range(WARM_UP_STEPS + 1):
            step(run, work.batch)
        found = work.seconds(lambda: step(run, work.batch))
    # reserved, not allocated: a graph keeps its memory between replays
    return found, torch.cuda.max_memory_reserved(work.device) / _GIB if cuda else None


def _plain_step(work: _Work) -> Callable[[], float]:
    network = UNet(work.config.model, seed=0).to(work.device).train()
    settings = work.config.training
    optimizer = torch.optim.SGD(
        network.parameters(), lr=settings.learning_rate, momentum=settings.momentum
    )
    image, labels, weights = work.batch
    image = image.contiguous()

    def step() -> float:
        optimizer.zero_grad()
        loss = weighted_cross_entropy(network(image), labels, weights)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _tile_row(work: _Work, step_s: float) -> Timed:
    """One tile of the paper's augmentation, on the device, in the stream that trains."""
    tiles = work.tiles.on(work.device)
    numbers = iter(range(10**9))
    each = work.seconds(lambda: tiles[next(numbers)])
    return Timed(
        WORKS[-1],
        each,
        remark=f"{each / step_s:.1%} of the fastest step, in which it is contained when training "
        "with augment_on = 'device'",
    )


def _work(config: ExperimentConfig, device: str, repeats: int) -> _Work:
    """Random samples as large as the EM stack's slices, and a batch of them on the device."""
    rng = np.random.default_rng(0)
    size, hw = config.training.input_tile_px, (512, 512)
    tiles = SampleTiles(
        rng.random((2, config.model.in_channels, *hw), np.float32),
        (rng.random((2, *hw)) < 0.8).astype(np.uint8),
        1 + rng.random((2, *hw), np.float32),
        config.augmentation,
        input_tile_px=size,
        output_tile_px=valid_output_size(size, config.model.depth, config.model.padding),
        seed=0,
    )
    batch = collate([tiles[k] for k in range(config.training.batch_size)])
    return _Work(config, tiles, on_device(batch, torch.device(device)), device, repeats)


def _first_tile(work: _Work) -> TrainingTile:
    return work.tiles[0]
