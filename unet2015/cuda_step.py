"""The training step in fewer, larger pieces: compiled, or as one CUDA graph.

At one tile a step, a fast GPU waits for the host to queue some hundreds of small operations.
torch.compile joins the operations of the forward and the backward pass into larger ones. A CUDA
graph records a whole step (forward, loss, backward, optimiser), and the host then starts it as one.

Both compute what `training_step.train_step` computes, within rounding, drop-out included: PyTorch's
generator is seeded by (seed, step) before every step, compiled code draws from it as the eager code
does, and a graph reads the generator's seed and offset each time it is replayed, not when it was
recorded. So a continued run draws the same drop-out as an uninterrupted one. To the bit it repeats
it only with `deterministic` (see `numerics`) and only if the first steps after the start, which
warm up and are not yet replayed, use the kernels that the graph has recorded.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from unet2015 import distributed
from unet2015.batches import Batch
from unet2015.training_step import (
    FIGURES,
    Run,
    current_rate,
    forward_of,
    gradient_step,
    on_device,
    seed_drop_out,
)

Compile = Literal["none", "compile", "cuda_graph"]
WARM_UP_STEPS = 3
"""Steps before a graph is recorded: libraries choose algorithms and set up memory in their first
ones (our choice, as in PyTorch's documentation of CUDA graphs). They are steps of the training."""


def check_compile(compile: Compile, device: str | torch.device) -> None:
    """Raise ValueError for a way to step that there is not, or not on this device."""
    if compile not in get_args(Compile):
        words = ", ".join(map(repr, get_args(Compile)))
        raise ValueError(f"compile = {compile!r}: must be one of {words}")
    if compile != "cuda_graph":
        return
    if torch.device(device).type != "cuda":
        raise ValueError(
            f"compile = 'cuda_graph' on device {device}: needs a CUDA device; use 'none' or "
            "'compile'"
        )
    if distributed.count() > 1:
        raise ValueError(
            f"compile = 'cuda_graph' in {distributed.count()} processes: a graph holds the step of "
            "one; use 'none' or 'compile'"
        )


def fast_step(run: Run, compile: Compile) -> Callable[[Run, Batch], Tensor]:
    """A step of `run` as `train_step`, compiled or as a graph; ValueError as `check_compile`."""
    check_compile(compile, run.device)
    return GraphedStep(run) if compile == "cuda_graph" else CompiledStep(run)


class CompiledStep:
    """`train_step` whose forward and backward pass torch.compile has joined.

    The first call takes a minute or so, and a C++ compiler on the CPU.
    """

    def __init__(self, run: Run) -> None:
        # drop-out as the eager code draws it, or a run could not be compared with an eager one
        same_drop_out: dict[str, Any] = {"fallback_random": True}
        self._forward = torch.compile(forward_of(run), dynamic=False, options=same_drop_out)

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
    momentum and buffers are the run's own, so that checkpoints are saved and loaded as ever. It
    takes the memory of one step more than the eager step. The optimiser's learning rate becomes a
    tensor: the same formula.
    """

    def __init__(self, run: Run) -> None:
        self._rate = torch.zeros((), device=run.device)
        graph_safe(run.optimizer, self._rate)
        self._forward = forward_of(run)
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
                    f"compile = 'cuda_graph': tiles of shape {tuple(part.shape)} after "
                    f"{tuple(place.shape)}: must all have one shape; use 'none' or 'compile'"
                )
            place.copy_(part, non_blocking=True)
        return self._tiles


def graph_safe(optimizer: torch.optim.Optimizer, rate: Tensor) -> None:
    """Make an optimiser's step one that a CUDA graph can hold; it takes its rate from `rate`.

    Adam keeps its step counts on the device ('capturable'). SGD has no such option: of its forms,
    the one over several tensors reads the rate on the host, the fused one refuses gradients whose
    strides differ from the weights' (channels-last, one channel); the one over single tensors stays
    on the device if the rate is one that a gradient could be asked for (PyTorch 2.13).
    """
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["lr"], group["capturable"] = rate, True
        else:
            group["lr"] = rate.detach().requires_grad_()  # in the same memory
            group["fused"] = group["foreach"] = False
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state:
                state["step"] = state["step"].to(rate.device)


def aside(work: Callable[[], None], device: torch.device) -> None:
    """Do `work` on another stream of the device, as PyTorch asks for before a recording."""
    with torch.cuda.device(device):
        own, other = torch.cuda.current_stream(), torch.cuda.Stream()
        other.wait_stream(own)
        with torch.cuda.stream(other):
            work()
        own.wait_stream(other)


def recorded(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The device's part of `work` as a CUDA graph: what is returned starts it, all at once."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        work()
    return graph.replay
