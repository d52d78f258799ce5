"""One step of gradient descent (paper §3), and the run that it is a step of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unet2015.config import ExperimentConfig
from unet2015.loss import Loss, loss_of
from unet2015.model import CELL, UNet, predicted_class
from unet2015.runtime import distributed
from unet2015.training.batches import Batch
from unet2015.training.checkpoint import Checkpoint, model_tensors, optimizer_tensors
from unet2015.training.history import Row
from unet2015.training.optimization import learning_rate, make_optimizer

FIGURES = 3
"""What is measured in a step and kept in the history: loss, share predicted cell, accuracy."""

Forward = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""forward(image, labels, weights), all on the run's device: the loss, and the figures measured."""


@dataclass
class Run:
    """A training run in progress: everything that a checkpoint saves."""

    config: ExperimentConfig
    seed: int
    network: UNet
    optimizer: torch.optim.Optimizer
    device: torch.device
    data: dict[str, Any]
    step: int = 0
    seconds: float = 0.0
    history: list[Row] = field(default_factory=list)
    pending: list[list[float]] = field(default_factory=list)
    """(loss, share predicted cell, accuracy) of the steps since the last row of the history."""
    stop: list[str] = field(default_factory=list)
    """Names the signal once one has asked for a clean stop."""
    replicas: distributed.Replicas | None = None
    """The network in all processes, where there are several."""
    loss: Loss | None = None
    """Another loss than the configuration's."""
    code: list[dict[str, Any]] = field(default_factory=list)
    """The commits and versions that have trained it (`Checkpoint.code`)."""

    @property
    def batch_size(self) -> int:
        """Samples of one step, over all processes."""
        return self.config.training.batch_size * (self.replicas.count if self.replicas else 1)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(
            config=self.config,
            seed=self.seed,
            step=self.step,
            model=model_tensors(self.network),
            optimizer=optimizer_tensors(self.network, self.optimizer),
            history=list(self.history),
            pending=list(self.pending),
            seconds=self.seconds,
            data=self.data,
            code=list(self.code),
        )


def new_run(
    config: ExperimentConfig,
    seed: int,
    device: torch.device,
    data: dict[str, Any],
    make_network: Callable[..., UNet] = UNet,
    loss: Loss | None = None,
) -> Run:
    """A run before its first step; its weights are drawn from `seed` (paper §3)."""
    network = make_network(config.model, seed=_random_seed(seed, 4))
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(network, config.training)
    return Run(config, seed, network, optimizer, device, data, loss=loss)


def train_step(run: Run, batch: Batch) -> Tensor:
    """One step of gradient descent (paper §3): (loss, share predicted cell, accuracy, |gradient|).

    The last is the norm of all gradients, before any clipping. With several processes these are of
    all of them, followed by how many ask to stop. On a GPU nothing here waits for the device: the
    figures are still to be computed when this returns.
    """
    seed_drop_out(run)
    rate = current_rate(run)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    return gradient_step(run, forward_of(run), *on_device(batch, run.device))


def seed_drop_out(run: Run) -> None:
    """Seed PyTorch's generators by (seed, step), and by the process where there are several."""
    key = (run.replicas.rank,) if run.replicas is not None and run.replicas.rank > 0 else ()
    torch.manual_seed(_random_seed(run.seed, 3, run.step, *key))


@contextmanager
def own_drop_out() -> Iterator[None]:
    """Put PyTorch's global generators back: drop-out draws from them, seeded anew in every step."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(list(gpus)):  # named: for several GPUs it would warn otherwise
        yield


def current_rate(run: Run) -> float:
    """The learning rate of the step that comes next."""
    return learning_rate(run.step, run.config.training, run.history)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device, the image channels-last, without waiting for the copy."""
    if device.type == "cuda":
        # a copy from pageable memory would make the host wait
        image, labels, weights = (t if t.is_cuda else t.pin_memory() for t in batch)
    else:
        image, labels, weights = batch
    image, labels, weights = (t.to(device, non_blocking=True) for t in (image, labels, weights))
    return image.contiguous(memory_format=torch.channels_last), labels, weights


def forward_of(run: Run) -> Forward:
    """The part of the run's step that depends on nothing but weights and tiles (paper Eq. 1)."""
    network = run.network if run.replicas is None else run.replicas.module
    loss_function = run.loss or loss_of(run.config.training)
    device, precision = run.device, run.config.training.precision

    def forward(image: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(device, precision):
            scores = network(image)
        loss = loss_function(scores, labels, weights)
        with torch.no_grad():
            predicted = predicted_class(scores)
            cells = (predicted == CELL).float().mean()
            right = (predicted == labels).float().mean()
            return loss, torch.stack([loss.detach(), cells, right])

    return forward


def gradient_step(
    run: Run, forward: Forward, image: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """Forward, loss, backward, optimiser: the work of the device, as `train_step` returns it.

    It reads no number of the host but the optimiser's settings, and draws from no generator but
    PyTorch's, so that a CUDA graph can hold it (`cuda_step`).
    """
    run.optimizer.zero_grad(set_to_none=True)
    loss, measured = forward(image, labels, weights)
    if run.replicas is not None:
        loss, measured = run.replicas.of_all(loss, weights.sum(), measured, bool(run.stop))
    loss.backward()
    norm = _gradient_norm(run)
    # where reading a number costs nothing, a step that would spoil the weights is not taken
    if run.device.type != "cpu" or bool(norm.isfinite()):
        run.optimizer.step()
    return torch.cat([measured[:FIGURES], norm[None], measured[FIGURES:]])


def _gradient_norm(run: Run) -> Tensor:
    """The norm of all gradients, which are clipped if the configuration says so."""
    parameters = list(run.network.parameters())
    clip = run.config.training.gradient_clip
    if clip is not None:
        return torch.nn.utils.clip_grad_norm_(parameters, clip)
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which the network computes: bfloat16 autocast, or none for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _random_seed(*key: int) -> int:
    """A 63-bit seed that depends on every number of `key`."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
