"""The training step on a CUDA device: precisions, ways to start a step, tiles of the device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from unet2015.augmentation.on_device import DeviceTiles, MakeTiles
from unet2015.augmentation.samples import SampleTiles
from unet2015.benchmarks.timing import Benchmark, Timed, seconds
from unet2015.benchmarks.train import step_flop
from unet2015.config import ExperimentConfig
from unet2015.loss import weighted_cross_entropy
from unet2015.model import UNet, valid_output_size
from unet2015.runtime.cuda_streams import made_aside
from unet2015.runtime.numerics import numerics
from unet2015.training.batches import Batch, batches, collate
from unet2015.training.cuda_step import WARM_UP_STEPS, Compile, fast_step
from unet2015.training.loop import new_run
from unet2015.training.step import on_device

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "tf32", "float32")
WAYS: dict[Compile, str] = {
    "cuda_graph": "CUDA graph",
    "none": "eager",
    "compiled_graph": "compiled CUDA graph",
    "compile": "compiled",
}
FIRST: tuple[tuple[Precision, Compile], ...] = (
    ("bfloat16", "cuda_graph"),
    ("bfloat16", "none"),
    ("tf32", "cuda_graph"),
    ("float32", "none"),
)
"""The steps that are measured first, so that a benchmark which is cut off leaves most of what it is
for (our choice)."""
STEPS: tuple[tuple[Precision, Compile], ...] = (
    *FIRST,
    *((p, w) for w in WAYS for p in PRECISIONS if (p, w) not in FIRST),
)
TILES: tuple[MakeTiles, ...] = ("graph", "eager")
AT_ONCE = (2, 3, 4)
"""Numbers of runs that share the device (our choice)."""
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
    precisions: Sequence[Precision] = PRECISIONS,
    so_far: Callable[[Benchmark], None] = lambda found: None,
) -> Benchmark:
    """The full-size step, channels-last, in each precision and way, beside the plain loop.

    The plain loop is PyTorch as it comes: NCHW, float32 with TF32 convolutions, no choice of
    algorithm by time, the loss read in every step. The limit is the rate of a large matrix product
    of the same precision, measured in the same run. Besides, tiles made on the device, alone and
    with the step, and several runs at once. The rows that matter most come first; `so_far` is
    given what there is after each. A row that fails leaves a note in its place.
    """
    work = _work(config or ExperimentConfig(), device, repeats)
    flop = step_flop(work.config, work.tiles[0])
    rows, notes = [], [f"Times are of one step among {BURST} that are queued at once."]
    found, plain_s = Benchmark(rows, notes), None
    try:
        plain_s = work.seconds(_plain_step(work))
    except RuntimeError as error:
        notes.append(f"the plain loop: not run: {_reason(error)}")
    for name, measure in _jobs(work, ways, precisions, plain_s, flop):
        try:
            rows.append(measure(name))
        except (RuntimeError, ValueError) as error:
            notes.append(f"{name}: not run: {_reason(error)}")
        found = Benchmark(rows, [*notes, *_fastest(rows)])
        so_far(found)
    return found


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


Job = tuple[str, Callable[[str], Timed]]
"""The name of a row, and what measures it."""


def _jobs(
    work: _Work,
    ways: Sequence[Compile],
    precisions: Sequence[Precision],
    plain_s: float | None,
    flop: float,
) -> Iterator[Job]:
    """What is to be measured, in the order of what it is worth."""
    asked = [key for key in STEPS if key[0] in precisions and key[1] in ways]
    steps: dict[tuple[Precision, Compile], Job] = {
        key: (step_name(*key), partial(_step_row, work, *key, plain_s=plain_s, flop=flop))
        for key in asked
    }
    yield from (steps.pop(key) for key in FIRST if key in steps)
    yield from ((tile_name(make), partial(_tile_row, work, make)) for make in TILES)
    if FIRST[0] in asked:
        for beside in (True, False):
            yield with_tile_name(beside), partial(_with_tile_row, work, beside)
        yield from ((at_once_name(count), partial(_at_once_row, work, count)) for count in AT_ONCE)
    yield from steps.values()


def step_name(precision: Precision, way: Compile) -> str:
    return f"training step, {precision}, {WAYS[way]}"


def tile_name(make: MakeTiles) -> str:
    return f"training tile made on the device, {'CUDA graph' if make == 'graph' else make}"


def with_tile_name(beside: bool) -> str:
    return f"step and tile, bfloat16, CUDA graphs, {'side by side' if beside else 'in turn'}"


def at_once_name(count: int) -> str:
    return f"a step of {count} runs at once, bfloat16, CUDA graphs"


WORKS = (
    *(step_name(*key) for key in FIRST),
    *map(tile_name, TILES),
    *map(with_tile_name, (True, False)),
    *map(at_once_name, AT_ONCE),
    *(step_name(*key) for key in STEPS[len(FIRST) :]),
)
"""The rows, for the page to name where they were not run."""


@cache
def matrix_rate(precision: Precision, device: str) -> float:
    """FLOP/s of a large matrix product in this precision: what the device can do at most."""
    side = MATRIX if device.startswith("cuda") else 512
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    with numerics(device, tf32=precision == "tf32"):
        burst = seconds(lambda: [a @ b for _ in range(BURST)], repeats=5, device=device)
    return BURST * 2 * side**3 / burst


def _step_row(
    work: _Work,
    precision: Precision,
    way: Compile,
    name: str,
    *,
    plain_s: float | None,
    flop: float,
) -> Timed:
    ceiling = matrix_rate(precision, work.device)
    step_s, peak = _step_seconds(work, precision, way)
    remarks = [
        f"{flop / step_s / 1e12:.3g} of {ceiling / 1e12:.3g} TFLOP/s, the rate of a matrix product"
    ]
    if peak is not None:
        remarks.append(f"peak memory {peak:.2f} GiB")
    return Timed(
        name,
        step_s,
        plain_s,
        "PyTorch's defaults: NCHW, TF32 convolutions, eager",
        share_of_limit=flop / step_s / ceiling,
        remark="; ".join(remarks),
        headline=way == "none",
    )


def _fastest(rows: Sequence[Timed]) -> list[str]:
    """Which way is the fastest in each precision, and by how much."""
    times, said = {row.work: row.ours_s for row in rows}, []
    for precision in PRECISIONS:
        names = {WAYS[way]: step_name(precision, way) for way in WAYS}
        found = {way: times[name] for way, name in names.items() if name in times}
        if not found:
            continue
        best = min(found, key=found.__getitem__)
        others = [f"{found[way] / found[best]:.2f} × {way}" for way in found if way != best]
        against = f" (the others take {', '.join(others)})" if others else ""
        said.append(f"{precision}: the fastest way is {best}{against}.")
    return said


def _step_seconds(work: _Work, precision: Precision, way: Compile) -> tuple[float, float | None]:
    """Seconds of a step, and the peak of PyTorch's memory in GiB (None on the CPU)."""
    cuda = work.device.startswith("cuda")
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(work.device)
    with numerics(work.device, tf32=precision == "tf32"):
        take = _steps(work, precision, way)
        for _ in range(WARM_UP_STEPS + 1):
            take(work.batch)
        found = work.seconds(lambda: take(work.batch))
    # reserved, not allocated: a graph keeps its memory between replays
    return found, torch.cuda.max_memory_reserved(work.device) / _GIB if cuda else None


def _steps(work: _Work, precision: Precision, way: Compile) -> Callable[[Batch], Tensor]:
    """The steps of a new run."""
    settings = replace(
        work.config.training, precision="bfloat16" if precision == "bfloat16" else "float32"
    )
    run = new_run(replace(work.config, training=settings), 0, torch.device(work.device), {})
    step = fast_step(run, way)
    return lambda batch: step(run, batch)


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


def _tile_row(work: _Work, make: MakeTiles, name: str) -> Timed:
    """One tile of the paper's augmentation, on the device, while nothing else runs there."""
    tiles = work.tiles.on(work.device, make)
    numbers = iter(range(10**9))
    return Timed(name, work.seconds(lambda: tiles[next(numbers)]))


def _with_tile_row(work: _Work, beside: bool, name: str) -> Timed:
    """A step with the tile that it learns from: made as in `loop.train`, or in its stream."""
    with numerics(work.device):
        take = _steps(work, *FIRST[0])
        tiles: DeviceTiles = work.tiles.on(work.device)
        ahead = batches(tiles, 0, 10**4, work.config.training.batch_size, workers=0)
        if beside:
            ahead = made_aside(ahead, torch.device(work.device))
        with closing(ahead):
            for _ in range(WARM_UP_STEPS + 1):
                take(next(ahead))
            return Timed(name, work.seconds(lambda: take(next(ahead))))


def _at_once_row(work: _Work, count: int, name: str) -> Timed:
    """A step of one of `count` runs that share the device, beside the step of a run alone.

    Each has its graph and its stream; one thread starts them in turns. That is what the device can
    do at most: the runs share the generator of drop-out, so that they are good for timing only.
    """
    with numerics(work.device):
        runs = [_steps(work, *FIRST[0]) for _ in range(count)]
        streams = [torch.cuda.Stream(work.device) for _ in runs]
        for stream in streams:  # the weights of all must be there
            stream.wait_stream(torch.cuda.current_stream(work.device))

        def step(first: int) -> None:
            for stream, take in zip(streams[:first], runs[:first], strict=True):
                with torch.cuda.stream(stream):
                    take(work.batch)

        for _ in range(WARM_UP_STEPS + 1):
            step(count)
        alone_s = work.seconds(lambda: step(1))
        each_s = work.seconds(lambda: step(count)) / count
    return Timed(name, each_s, alone_s, "a step of one of them alone")


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
