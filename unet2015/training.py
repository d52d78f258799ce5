"""The training loop (paper §3): SGD with high momentum, one large tile a step.

Whatever is random in step k follows from (seed, k) alone, so that a run which was interrupted and
continued ends bit-identical (CPU) to one that was not.
"""

import json
import math
import signal
import sys
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

from unet2015.batches import Batch, TileSource, batches
from unet2015.checkpoint import (
    CURRENT,
    WEIGHTS,
    Checkpoint,
    as_final,
    load_checkpoint,
    load_optimizer,
    load_weights,
    model_tensors,
    newest_checkpoint,
    optimizer_tensors,
    save_checkpoint,
    save_rotating,
)
from unet2015.config import ExperimentConfig, TrainingConfig, config_hash, differences
from unet2015.history import (
    COLUMNS,
    Row,
    dead_start_warning,
    history_row,
    row_due,
    write_history,
)
from unet2015.loss import weighted_cross_entropy
from unet2015.model import CELL, UNet


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


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Learning rate of step 0, 1, …: linear warm-up, then constant or half a cosine to 0.

    Not specified in the paper: the course is our choice.

    >>> settings = TrainingConfig(steps=4, warmup_steps=2, learning_rate=1.0)
    >>> [learning_rate(step, settings) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def make_optimizer(network: UNet, config: TrainingConfig) -> torch.optim.Optimizer:
    """Stochastic gradient descent with momentum 0.99 (paper §3), or the named alternative."""
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                network.parameters(),
                lr=config.learning_rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
        case "adam":
            return torch.optim.Adam(
                network.parameters(),
                lr=config.learning_rate,
                betas=(config.momentum, 0.999),
                weight_decay=config.weight_decay,
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
) -> Checkpoint:
    """Train the U-Net on `tiles` (paper §3) and return its final weights.

    tiles[k] gives image (C, h, w) float32, labels (o, o) uint8 and weights (o, o) float32 of
    sample k; step n uses samples n·batch_size …. `output` holds the resume states, history.csv
    and the final weights; an unfinished run found there continues, a finished one is returned.
    `workers` threads prepare tiles ahead. `data` (JSON values) is recorded in the checkpoints and
    must be the same on resume. `on_step` is called after each step (tests, benchmarks).

    Raises ValueError if `output` holds a run of another configuration, seed or data set;
    TrainingStopped at a non-finite loss or when SIGINT or SIGTERM asks to stop.
    """
    about_data = json.loads(json.dumps(data or {}))  # as it comes back from a checkpoint
    run = _start_or_resume(config, seed, output, torch.device(device), about_data)
    if run is None:
        return load_checkpoint(output / WEIGHTS)
    writer = _tensorboard_writer(output) if tensorboard else None
    # fork_rng: drop-out draws from PyTorch's global generator, seeded anew for every step
    with (
        torch.random.fork_rng(),
        _stop_signals() as stop,
        _tiles_ahead(run, tiles, workers) as ahead,
        tqdm(
            total=config.training.steps,
            initial=run.step,
            desc=description,
            unit="step",
            disable=not progress,
            mininterval=0.5,
        ) as bar,
    ):
        report = _Report(bar, writer, on_step)
        _loop(run, ahead, output, checkpoint_every_s, report, stop)
    final = as_final(run.checkpoint())
    save_checkpoint(output / WEIGHTS, final)
    return final


def _tiles_ahead(
    run: Run, tiles: TileSource, workers: int
) -> closing[Generator[Batch, None, None]]:
    """The batches still to come; their threads end with the context, not with the traceback."""
    settings = run.config.training
    return closing(batches(tiles, run.step, settings.steps, settings.batch_size, workers))


def _loop(
    run: Run,
    ahead: Iterable[Batch],
    output: Path,
    checkpoint_every_s: float,
    report: "_Report",
    stop: list[str],
) -> None:
    settings = run.config.training
    unread: list[Tensor] = []  # on a GPU, reading every step would make the host wait for it
    began = saved = time.monotonic()
    seconds_before = run.seconds
    for batch in ahead:
        unread.append(train_step(run, batch))
        run.step += 1
        now = time.monotonic()
        run.seconds = seconds_before + now - began
        asked_by = stop[0] if stop else None  # a signal from here on counts in the next step
        save = now - saved > checkpoint_every_s or bool(asked_by) or run.step == settings.steps
        if save or run.device.type == "cpu" or row_due(run.step, settings.steps):
            run.pending += torch.stack(unread).tolist()
            _refuse_non_finite(run, len(unread), output)
            unread = []
        if row_due(run.step, settings.steps):
            rate = learning_rate(run.step - 1, settings)
            run.history.append(history_row(run.step, run.pending, rate))
            run.pending = []
            report.row(run.history)
        if save:
            _save(run, output)
            saved = time.monotonic()
        report.step(run.step)
        if asked_by and run.step < settings.steps:
            raise TrainingStopped(
                f"stopped by {asked_by} after step {run.step} of {settings.steps}; the same "
                f"command continues from {output / CURRENT}"
            )


def train_step(run: Run, batch: Batch) -> Tensor:
    """One step of gradient descent (paper §3); returns (loss, share predicted cell, accuracy)."""
    settings = run.config.training
    torch.manual_seed(_random_seed(run.seed, 3, run.step))
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(run.step, settings)
    image, labels, weights = (t.to(run.device, non_blocking=True) for t in batch)
    image = image.contiguous(memory_format=torch.channels_last)
    run.optimizer.zero_grad(set_to_none=True)
    with autocast(run.device, settings.precision):
        scores = run.network(image)
    loss = weighted_cross_entropy(scores, labels, weights)
    loss.backward()
    if settings.gradient_clip is not None:
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), settings.gradient_clip)
    with torch.no_grad():
        predicted = scores.argmax(dim=1)
        cells = (predicted == CELL).float().mean()
        right = (predicted == labels).float().mean()
    run.optimizer.step()
    return torch.stack([loss.detach(), cells, right])


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which the network computes: bfloat16 autocast, or none for float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def new_run(config: ExperimentConfig, seed: int, device: torch.device, data: dict[str, Any]) -> Run:
    """A run before its first step; its weights are drawn from `seed` (paper §3)."""
    network = UNet(config.model, seed=_random_seed(seed, 4))
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    return Run(config, seed, network, make_optimizer(network, config.training), device, data)


def _start_or_resume(
    config: ExperimentConfig, seed: int, output: Path, device: torch.device, data: dict[str, Any]
) -> Run | None:
    """A new run, the continued one of `output`, or None if that is finished."""
    output.mkdir(parents=True, exist_ok=True)
    if (output / WEIGHTS).exists():
        _same_run(load_checkpoint(output / WEIGHTS), config, seed, data, output)
        return None
    run = new_run(config, seed, device, data)
    found, refused = newest_checkpoint(output)
    for message in refused:
        print(f"warning: {message}; continuing from the one before it", file=sys.stderr)
    if found is not None:
        _same_run(found, config, seed, data, output)
        load_weights(run.network, found.model)
        load_optimizer(run.network, run.optimizer, found.optimizer)
        run.step, run.seconds = found.step, found.seconds
        run.history, run.pending = found.history, found.pending
        write_history(output, run.history)
    return run


def _same_run(
    found: Checkpoint, config: ExperimentConfig, seed: int, data: dict[str, Any], output: Path
) -> None:
    remedy = "give another --output, or remove that folder to start again"
    if config_hash(found.config) != config_hash(config):
        changed = "; ".join(differences(config, found.config))
        raise ValueError(f"{output} holds a run of another configuration ({changed}): {remedy}")
    if found.seed != seed:
        raise ValueError(f"{output} holds a run with seed {found.seed}, not {seed}: {remedy}")
    if found.data != data:
        raise ValueError(f"{output} holds a run on other data ({found.data}): {remedy}")


def _refuse_non_finite(run: Run, steps: int, output: Path) -> None:
    """Stop at the first of the last `steps` steps with a non-finite loss, naming its sample."""
    for step, (loss, *_) in enumerate(run.pending[-steps:], start=run.step - steps):
        if math.isfinite(loss):
            continue
        settings = run.config.training
        first, last = step * settings.batch_size, (step + 1) * settings.batch_size - 1
        which = f"sample {first}" if first == last else f"samples {first} to {last}"
        kept = output / CURRENT
        state = f"the last good checkpoint is {kept}" if kept.exists() else "none was saved yet"
        raise TrainingStopped(
            f"the loss is {loss} at step {step + 1} ({which}): "
            f"training cannot go on; {state}. Lower training.learning_rate "
            f"(= {settings.learning_rate}) or lengthen training.warmup_steps "
            f"(= {settings.warmup_steps})"
        )


@dataclass
class _Report:
    """Where the user sees the run: progress bar, TensorBoard, caller's function."""

    bar: tqdm
    writer: Any
    on_step: Callable[[int], None] | None

    def row(self, history: list[Row]) -> None:
        row = history[-1]
        self.bar.set_postfix(loss=f"{row['loss']:.4f}", accuracy=f"{row['accuracy']:.3f}")
        if message := dead_start_warning(history):
            self.bar.write(message, file=sys.stderr)
        if self.writer is not None:
            for name in COLUMNS[1:]:
                self.writer.add_scalar(name, row[name], int(row["step"]))
            self.writer.flush()

    def step(self, step: int) -> None:
        self.bar.update()
        if self.on_step is not None:
            self.on_step(step)


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


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """A list that names the signal once SIGINT or SIGTERM has asked for a clean stop."""
    received: list[str] = []

    def note(number: int, _frame: object) -> None:
        if received:  # asked twice: at once
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's business
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _random_seed(*key: int) -> int:
    """A 63-bit seed that depends on every number of `key`."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _tensorboard_writer(output: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--tensorboard needs the package tensorboard: pip install tensorboard"
        ) from error
    return SummaryWriter(str(output / "tensorboard"))
