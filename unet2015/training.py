"""The training loop (paper §3): SGD with high momentum, one large tile a step.

Whatever is random in step k follows from (seed, k) alone, so that a run which was interrupted and
continued ends bit-identical (CPU) to one that was not.
"""

import json
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet2015 import distributed
from unet2015.batches import Batch, TileSource, batches
from unet2015.checkpoint import (
    CURRENT,
    WEIGHTS,
    Checkpoint,
    as_final,
    load_optimizer,
    load_weights,
    model_tensors,
    optimizer_tensors,
    save_checkpoint,
    save_rotating,
)
from unet2015.config import ExperimentConfig
from unet2015.history import HISTORY, Row, history_row, row_due, write_history
from unet2015.loss import Loss, loss_of
from unet2015.model import CELL, UNet, predicted_class
from unet2015.optimization import learning_rate, make_optimizer
from unet2015.progress import Report, tensorboard_writer
from unet2015.resume import PROCESSES, find_run
from unet2015.signals import stop_signals

_FIGURES = 3
"""What is measured in a step: loss, share predicted cell, accuracy."""


class TrainingStopped(RuntimeError):
    """A run that cannot go on or was asked to stop; its last good checkpoint is kept."""


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
        )


def train(
    config: ExperimentConfig,
    tiles: TileSource,
    output: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 1,
    data: dict[str, Any] | None = None,
    checkpoint_every_s: float = 120.0,
    progress: bool = True,
    tensorboard: bool = False,
    description: str = "training",
    on_step: Callable[[int], None] | None = None,
    make_network: Callable[..., UNet] = UNet,
    loss: Loss | None = None,
) -> Checkpoint:
    """Train the U-Net on `tiles` (paper §3) and return its final weights.

    tiles[k] gives image (C, h, w) float32, labels (o, o) uint8 and weights (o, o) float32 of
    sample k; step n uses samples n·batch_size …. `output` holds the resume states, history.csv
    and the final weights; an unfinished run found there continues, a finished one is returned.
    `workers` threads prepare tiles ahead. `data` (JSON values) is recorded in the checkpoints and
    must be the same on resume. `on_step` is called after each step (tests, benchmarks).
    `make_network` (called as `UNet`) and `loss` replace what the configuration says, for networks
    and losses that no option stands for; `data` must then tell them apart.

    Under torchrun (`distributed`) n processes share the work: step and history are those of one
    process with batches of n·batch_size samples; the first process alone reads and writes `output`.
    n decides which samples a step uses: it is recorded, and a run continues with the same n only.

    Raises ValueError if `output` holds a run of another configuration, seed, data set or number of
    processes; TrainingStopped at a non-finite loss, when SIGINT or SIGTERM asks to stop, or when
    another process has ended.
    """
    distributed.join()
    about = json.loads(json.dumps(data or {}))  # as it comes back from a checkpoint
    if distributed.count() > 1:
        about[PROCESSES] = distributed.count()
    with _other_processes(output):
        found, finished = distributed.from_writer(lambda: find_run(output, config, seed, about))
        if found is not None and finished:
            if distributed.is_writer() and not (output / HISTORY).exists():
                write_history(output, found.history)
            return found
        run = new_run(config, seed, distributed.own_device(device), about, make_network, loss)
        _continue_from(found, run, output)
        writes = distributed.is_writer()
        # fork_rng: drop-out draws from PyTorch's global generator, seeded anew for every step
        with (
            torch.random.fork_rng(),
            # torchrun passes on the signal that a terminal has sent to all, and kills by itself
            stop_signals(run.stop, urgent_if_repeated=run.replicas is None),
            _tiles_ahead(run, tiles, workers) as ahead,
            _bar(run, description, shown=progress and writes) as bar,
        ):
            board = tensorboard_writer(output) if tensorboard and writes else None
            _loop(run, ahead, output, checkpoint_every_s, Report(bar, board, on_step))
        final = as_final(run.checkpoint())
        if writes:
            save_checkpoint(output / WEIGHTS, final)
        return final


def _bar(run: Run, description: str, *, shown: bool) -> tqdm:
    return tqdm(
        total=run.config.training.steps,
        initial=run.step,
        desc=description,
        unit="step",
        disable=not shown,
        mininterval=0.5,
    )


def _tiles_ahead(
    run: Run, tiles: TileSource, workers: int
) -> closing[Generator[Batch, None, None]]:
    """The batches still to come; their threads end with the context, not with the traceback."""
    settings = run.config.training
    place = {}
    if run.replicas is not None:
        place = {"rank": run.replicas.rank, "processes": run.replicas.count}
    return closing(batches(tiles, run.step, settings.steps, settings.batch_size, workers, **place))


@contextmanager
def _other_processes(output: Path) -> Iterator[None]:
    """Say how to go on where another process has ended; this one cannot go on without it."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingStopped) or not distributed.partner_lost(error):
            raise
        raise TrainingStopped(
            "another process of this run has ended or cannot be reached; the same command "
            f"continues from {output / CURRENT}, if one was saved"
        ) from error


def _loop(
    run: Run,
    ahead: Iterable[Batch],
    output: Path,
    checkpoint_every_s: float,
    report: Report,
) -> None:
    settings = run.config.training
    unread: list[Tensor] = []  # on a GPU, reading every step would make the host wait for it
    began = saved = time.monotonic()
    seconds_before = run.seconds
    # several processes must stop in the same step: where all of them have read the same figures
    alone, writes = run.replicas is None, distributed.is_writer()
    for batch in ahead:
        unread.append(train_step(run, batch))
        run.step += 1
        now = time.monotonic()
        run.seconds = seconds_before + now - began
        # a signal from here on counts in the next step
        asked_by = run.stop[0] if run.stop and alone else None
        save = now - saved > checkpoint_every_s or bool(asked_by) or run.step == settings.steps
        row = row_due(run.step, settings.steps)
        if row or run.device.type == "cpu" or (save and alone):
            asked_by = _read(run, unread, output) or asked_by
            unread = []
        if row:
            rate = learning_rate(run.step - 1, settings, run.history)
            run.history.append(history_row(run.step, run.pending, rate))
            run.pending = []
            if writes:
                report.row(run.history)
        if (save or asked_by) and not unread:
            if writes:
                _save(run, output)
            saved = time.monotonic()
        report.step(run.step)
        if asked_by and run.step < settings.steps:
            raise TrainingStopped(
                f"stopped by {asked_by} after step {run.step} of {settings.steps}; the same "
                f"command continues from {output / CURRENT}"
            )


def _read(run: Run, unread: list[Tensor], output: Path) -> str | None:
    """Note what was measured in the last steps; what asks several processes to stop, if anything.

    Raises TrainingStopped at a non-finite loss.
    """
    asking = False
    for figures in torch.stack(unread).tolist():
        run.pending.append(figures[:_FIGURES])
        asking = asking or any(figures[_FIGURES:])
    _refuse_non_finite(run, len(unread), output)
    if not asking:
        return None
    return run.stop[0] if run.stop else "a signal to another process"


def train_step(run: Run, batch: Batch) -> Tensor:
    """One step of gradient descent (paper §3); returns (loss, share predicted cell, accuracy).

    With several processes these are of all of them, followed by how many ask to stop.
    """
    settings = run.config.training
    key = (run.replicas.rank,) if run.replicas is not None and run.replicas.rank > 0 else ()
    torch.manual_seed(_random_seed(run.seed, 3, run.step, *key))
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, settings, run.history)
    image, labels, weights = (t.to(run.device, non_blocking=True) for t in batch)
    image = image.contiguous(memory_format=torch.channels_last)
    run.optimizer.zero_grad(set_to_none=True)
    with autocast(run.device, settings.precision):
        scores = run.network(image) if run.replicas is None else run.replicas.module(image)
    loss = (run.loss or loss_of(settings))(scores, labels, weights)
    with torch.no_grad():
        predicted = predicted_class(scores)
        cells = (predicted == CELL).float().mean()
        right = (predicted == labels).float().mean()
        measured = torch.stack([loss.detach(), cells, right])
    if run.replicas is not None:
        loss, measured = run.replicas.of_all(loss, weights.sum(), measured, bool(run.stop))
    loss.backward()
    if settings.gradient_clip is not None:
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), settings.gradient_clip)
    run.optimizer.step()
    return measured


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which the network computes: bfloat16 autocast, or none for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


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


def _continue_from(found: Checkpoint | None, run: Run, output: Path) -> None:
    """Put the run where the checkpoint was, in every process."""
    if found is not None:
        load_weights(run.network, found.model)
        load_optimizer(run.network, run.optimizer, found.optimizer)
        run.step, run.seconds = found.step, found.seconds
        run.history, run.pending = found.history, found.pending
        if distributed.is_writer():
            write_history(output, run.history)
    if distributed.count() > 1:
        run.replicas = distributed.Replicas(run.network)


def _refuse_non_finite(run: Run, steps: int, output: Path) -> None:
    """Stop at the first of the last `steps` steps with a non-finite loss, naming its sample."""
    for step, (loss, *_) in enumerate(run.pending[-steps:], start=run.step - steps):
        if math.isfinite(loss):
            continue
        settings = run.config.training
        first, last = step * run.batch_size, (step + 1) * run.batch_size - 1
        which = f"sample {first}" if first == last else f"samples {first} to {last}"
        kept = output / CURRENT
        state = f"the last good checkpoint is {kept}" if kept.exists() else "none was saved yet"
        raise TrainingStopped(
            f"the loss is {loss} at step {step + 1} ({which}): "
            f"training cannot go on; {state}. Lower training.learning_rate "
            f"(= {settings.learning_rate}) or lengthen training.warmup_steps "
            f"(= {settings.warmup_steps})"
        )


def _save(run: Run, output: Path) -> None:
    """Save the resume state, unless the weights are non-finite (the last good one stays)."""
    for name, parameter in run.network.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise TrainingStopped(
                f"{name} is not finite after step {run.step}: training cannot go on; the last "
                "good checkpoint is kept. Lower training.learning_rate"
            )
    save_rotating(output, run.checkpoint())
    write_history(output, run.history)


def _random_seed(*key: int) -> int:
    """A 63-bit seed that depends on every number of `key`."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
