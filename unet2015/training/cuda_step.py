"""The training step in fewer, larger pieces: compiled, as one CUDA graph, or both.

At one tile a step, a fast GPU waits for the host to queue some hundreds of small operations.
torch.compile joins the operations of the forward and the backward pass into larger ones. A CUDA
graph records a whole step (forward, loss, backward, optimiser), and the host then starts it as one.
What is recorded may be compiled code: fewer operations, and one start.

All compute what `step.train_step` computes, within rounding, drop-out included: PyTorch's
generator is seeded by (seed, step) before every step, compiled code calls the same drop-out
operation, in the same order, as the eager code does (inductor's `fallback_random`; what draws is
never computed again for the backward pass), and a graph reads the generator's seed and offset each
time it is replayed, not when it was recorded: the generator that this operation draws from is the
one that PyTorch registers with every recording. So a continued run draws the same drop-out as an
uninterrupted one. To the bit it repeats it only with `deterministic` (see `numerics`) and only if
the first steps after the start, which warm up and are not yet replayed, use the kernels that the
graph has recorded.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from unet2015.runtime import distributed
from unet2015.runtime.cuda_streams import aside, recorded
from unet2015.training.batches import Batch
from unet2015.training.optimization import graph_safe
from unet2015.training.step import (
    FIGURES,
    Forward,
    Run,
    current_rate,
    forward_of,
    gradient_step,
    on_device,
    seed_drop_out,
    train_step,
)

Compile = Literal["none", "compile", "cuda_graph", "compiled_graph"]
GRAPHS: tuple[Compile, ...] = ("cuda_graph", "compiled_graph")
"""The ways that record a step: on a CUDA device only, in one process, for tiles of one size."""
COMPILED: tuple[Compile, ...] = ("compile", "compiled_graph")
"""The ways whose first step takes a minute or so."""
WARM_UP_STEPS = 3
"""Steps before a graph is recorded: libraries choose algorithms and set up memory in their first
ones (our choice, as in PyTorch's documentation of CUDA graphs). They are steps of the training."""


def check_compile(compile: Compile, device: str | torch.device) -> None:
    """Raise ValueError for a way to step that there is not, or not on this device."""
    if compile not in get_args(Compile):
        words = ", ".join(map(repr, get_args(Compile)))
        raise ValueError(f"compile = {compile!r}: must be one of {words}")
    if compile not in GRAPHS:
        return
    if torch.device(device).type != "cuda":
        raise ValueError(
            f"compile = {compile!r} on device {device}: needs a CUDA device; use 'none' or "
            "'compile'"
        )
    if distributed.count() > 1:
        raise ValueError(
            f"compile = {compile!r} in {distributed.count()} processes: a graph holds the step of "
            "one; use 'none' or 'compile'"
        )


def fast_step(run: Run, compile: Compile) -> Callable[[Run, Batch], Tensor]:
    """`train_step`, or what does the same for `run` that way; ValueError as `check_compile`."""
    check_compile(compile, run.device)
    match compile:
        case "none":
            return train_step
        case "compile":
            return CompiledStep(run)
        case "cuda_graph":
            return GraphedStep(run, forward_of(run))
        case "compiled_graph":
            return GraphedStep(run, compiled_forward(run))


def compiled_forward(run: Run) -> Forward:
    """The run's forward pass, and with it the backward pass, joined by torch.compile.

    The first call takes a minute or so, and a C++ compiler on the CPU.
    """
    # what was compiled for other runs is forgotten: of the ninth network of a process PyTorch would
    # compile nothing any more
    torch.compiler.reset()
    options: dict[str, Any] = {
        # drop-out as the eager code draws it, or a run could not be compared with an eager one
        "fallback_random": True,
        # no graphs within, whatever the environment says: they could not be recorded in ours
        "triton.cudagraphs": False,
    }
    return torch.compile(forward_of(run), dynamic=False, options=options)


class CompiledStep:
    """`train_step` whose forward and backward pass torch.compile has joined."""

    def __init__(self, run: Run) -> None:
        self._forward = compiled_forward(run)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        """One step of gradient descent (paper §3); returns what `train_step` returns."""
        seed_drop_out(run)
        rate = current_rate(run)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        return gradient_step(run, self._forward, *on_device(batch, run.device))


class GraphedStep:
    """`train_step` recorded as one CUDA graph, for tiles of one size in one process.

    The graph reads tiles and learning rate from tensors that stay where they are, and its weights,
    momentum and buffers are the run's own, so that checkpoints are saved and loaded as ever. The
    gradients are not: they lie in memory of the graph, and mean nothing between two replays. It
    takes the memory of one step more than the eager step. The optimiser's learning rate becomes a
    tensor: the same formula. forward: the run's, as it is or compiled.
    """

    def __init__(self, run: Run, forward: Forward) -> None:
        self._rate = torch.zeros((), device=run.device)
        graph_safe(run.optimizer, self._rate)
        self._forward = forward
        self._figures = torch.zeros(FIGURES + 1, device=run.device)
        self._tiles: Batch | None = None
        self._taken = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        """One step of gradient descent (paper §3); returns what `train_step` returns.

        Raises ValueError for tiles of another size than the first.
        """
        seed_drop_out(run)
        self._rate.fill_(current_rate(run))
        tiles = self._put(on_device(batch, run.device))

        def step() -> None:
            self._figures.copy_(gradient_step(run, self._forward, *tiles))

        if self._replay is not None:
            self._replay()
        elif self._taken < WARM_UP_STEPS:
            aside(step, run.device)
        else:
            self._replay = recorded(step, run.device)
            self._replay()
        self._taken += 1
        return self._figures.clone()  # the next step overwrites them

    def _put(self, batch: Batch) -> Batch:
        """The batch in the tensors from which the graph reads."""
        if self._tiles is None:
            image, labels, weights = (torch.empty_like(part) for part in batch)
            self._tiles = image, labels, weights
        for place, part in zip(self._tiles, batch, strict=True):
            if place.shape != part.shape:
                raise ValueError(
                    f"a step in a graph: tiles of shape {tuple(part.shape)} after "
                    f"{tuple(place.shape)}: must all have one shape; use compile = 'none' or "
                    "'compile'"
                )
            place.copy_(part, non_blocking=True)
        return self._tiles
