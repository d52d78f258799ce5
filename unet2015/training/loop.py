"""The training loop (paper §3): SGD with high momentum, one large tile a step.

Whatever is random in step k follows from (seed, k) alone, so that a run which was interrupted and
continued ends bit-identical (CPU; CUDA with deterministic = True) to one that was not.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from unet2015.augmentation.on_device import DeviceTiles
from unet2015.config import ExperimentConfig, as_toml
from unet2015.loss import Loss
from unet2015.model import UNet
from unet2015.runtime import distributed
from unet2015.runtime.atomic import write_text
from unet2015.runtime.cuda_streams import made_aside
from unet2015.runtime.numerics import check_precision, numerics
from unet2015.runtime.record import code_version, versions
from unet2015.runtime.signals import stop_signals
from unet2015.training.batches import Batch, TileSource, batches
from unet2015.training.checkpoint import (
    BEFORE_FALL,
    CURRENT,
    Checkpoint,
    as_final,
    load_optimizer,
    load_weights,
    save_checkpoint,
    save_final,
    save_rotating,
)
from unet2015.training.cuda_step import Compile, check_compile, fast_step
from unet2015.training.history import history_row, restore_history, row_due, write_history
from unet2015.training.optimization import fall_begins, learning_rate
from unet2015.training.progress import Report, tensorboard_writer
from unet2015.training.resume import PROCESSES, find_run
from unet2015.training.step import FIGURES, Run, new_run, own_drop_out, train_step
from unet2015.training.stopping import TrainingStopped, continued_after_refusal, how_to_continue
from unet2015.training.tile_place import AUGMENT_ON, AugmentOn, Place, place_of_tiles, tiles_at

__all__ = ["Run", "TrainingStopped", "new_run", "train", "train_step"]

SETTINGS = "config.toml"
"""The run's settings in its folder, for people and for --config."""
Step = Callable[[Run, Batch], Tensor]


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
    augment_on: AugmentOn = "auto",
    deterministic: bool = False,
    compile: Compile = "none",
    shorter_run: Path | None = None,
) -> Checkpoint:
    """Train the U-Net on `tiles` (paper §3) and return its final weights.

    tiles[k] gives image (C, h, w) float32, labels (o, o) uint8 and weights (o, o) float32 of
    sample k; step n uses samples n·batch_size …. `output` holds the resume states, history.csv,
    config.toml and the final weights; an unfinished run found there continues, a finished one is
    returned. `workers` threads prepare tiles ahead. `data` (JSON values) is recorded in the
    checkpoints and must be the same on resume. `on_step` is called after each step (tests,
    benchmarks).
    `make_network` (called as `UNet`) and `loss` replace what the configuration says, for networks
    and losses that no option stands for; `data` must then tell them apart.
    `shorter_run`: folder of a run that differs in its number of steps alone. With the schedule
    'constant_then_fall' the two are equal until the shorter one's rate falls, and a new run begins
    with the state that was kept there: it ends bit-identical to one from the first step.

    `augment_on`: who makes the tiles, `workers` threads of the host or the device itself, which
    needs none; 'auto': the device on CUDA (`tile_place`). `deterministic`: equal bits in every run
    on CUDA too, at some cost of speed (`numerics`); the CPU gives them anyway. `compile`: a step in
    fewer, larger pieces, equal within rounding (`cuda_step`); a run may continue with another.

    Under torchrun (`distributed`) n processes share the work: step and history are those of one
    process with batches of n·batch_size samples; the first process alone reads and writes `output`.
    n decides which samples a step uses: it is recorded, and a run continues with the same n only.

    Raises ValueError if `output` holds a run of another configuration, seed, data set, number of
    processes or place of augmentation, or if somebody else is at work there (`lock.held`), and for
    options that the device does not allow;
    TrainingStopped at a non-finite loss or gradient, when a signal asks to stop (`ASKING`), or when
    another process has ended; OSError where the disk refuses. Messages name the command that
    continues.
    """
    distributed.join()
    check_compile(compile, device)
    precision = config.training.precision
    check_precision(precision, device)
    about = json.loads(json.dumps(data or {}))  # as it comes back from a checkpoint
    if distributed.count() > 1:
        if config.training.loss == "logistic_dice":
            raise ValueError(
                "training.loss = 'logistic_dice': is of a whole batch, which several processes "
                "share; start one process, or use 'logistic'"
            )
        about[PROCESSES] = distributed.count()
    tf32 = precision == "tf32"
    with (
        numerics(device, deterministic=deterministic, tf32=tf32),
        _other_processes(output),
        distributed.alone_in(output),
    ):
        place: Place = distributed.from_writer(
            lambda: place_of_tiles(augment_on, tiles, device, output)
        )
        if place == "device":
            about[AUGMENT_ON] = place
        found, finished = distributed.from_writer(
            lambda: find_run(output, config, seed, about, shorter_run)
        )
        if found is not None and finished:
            if distributed.is_writer():
                restore_history(output, found.history)
            return found
        run = new_run(config, seed, distributed.own_device(device), about, make_network, loss)
        _continue_from(found, run, output)
        source = tiles_at(place, tiles, run.device)
        writes = distributed.is_writer()
        with (
            own_drop_out(),
            # torchrun passes on the signal that a terminal has sent to all, and kills by itself
            stop_signals(run.stop, urgent_if_repeated=run.replicas is None),
            tiles_ahead(run, source, workers if place == "host" else 0) as ahead,
            _bar(run, description, shown=progress and writes) as bar,
        ):
            board = tensorboard_writer(output) if tensorboard and writes else None
            step = fast_step(run, compile)
            _loop(run, step, ahead, output, checkpoint_every_s, Report(bar, board, on_step))
        final = as_final(run.checkpoint())
        if writes:
            with continued_after_refusal(output):
                save_final(output, final)
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


def tiles_ahead(run: Run, tiles: TileSource, workers: int) -> closing[Generator[Batch, None, None]]:
    """The batches still to come; their threads end with the context, not with the traceback."""
    settings = run.config.training
    place = {}
    if run.replicas is not None:
        place = {"rank": run.replicas.rank, "processes": run.replicas.count}
    made = batches(tiles, run.step, settings.steps, settings.batch_size, workers, **place)
    if isinstance(tiles, DeviceTiles) and run.device.type == "cuda":
        made = made_aside(made, run.device)
    return closing(made)


@contextmanager
def _other_processes(output: Path) -> Iterator[None]:
    """Say how to go on where another process has ended; this one cannot go on without it."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingStopped) or not distributed.partner_lost(error):
            raise
        raise TrainingStopped(
            "another process of this run has ended or cannot be reached; " + how_to_continue(output)
        ) from error


def _loop(
    run: Run,
    take_step: Step,
    ahead: Iterable[Batch],
    output: Path,
    checkpoint_every_s: float,
    report: Report,
) -> None:
    settings = run.config.training
    unread: list[Tensor] = []  # on a GPU, reading every step would make the host wait for it
    began = saved = time.monotonic()
    seconds_before = run.seconds
    falls_at = fall_begins(settings) if settings.schedule == "constant_then_fall" else None
    # several processes must stop in the same step: where all of them have read the same figures
    alone, writes = run.replicas is None, distributed.is_writer()
    for batch in ahead:
        unread.append(take_step(run, batch))
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
        if run.step == falls_at and writes:
            with continued_after_refusal(output):
                save_checkpoint(output / BEFORE_FALL, run.checkpoint())
        if (save or asked_by) and not unread:
            if writes:
                _save(run, output)
            saved = time.monotonic()
        report.step(run.step)
        if asked_by and run.step < settings.steps:
            raise TrainingStopped(
                f"stopped by {asked_by} after step {run.step} of {settings.steps}; "
                + how_to_continue(output)
            )


def _read(run: Run, unread: list[Tensor], output: Path) -> str | None:
    """Note what was measured in the last steps; what asks several processes to stop, if anything.

    Raises TrainingStopped at a non-finite loss or gradient.
    """
    read = torch.stack(unread).tolist()
    run.pending.extend(figures[:FIGURES] for figures in read)
    _refuse_non_finite(run, read, output)
    if not any(asking for figures in read for asking in figures[FIGURES + 1 :]):
        return None
    return run.stop[0] if run.stop else "a signal to another process"


def _continue_from(found: Checkpoint | None, run: Run, output: Path) -> None:
    """Put the run where the checkpoint was, in every process."""
    if found is not None:
        load_weights(run.network, found.model)
        load_optimizer(run.network, run.optimizer, found.optimizer)
        run.step, run.seconds = found.step, found.seconds
        run.history, run.pending = found.history, found.pending
        run.code = list(found.code)
        if distributed.is_writer():
            write_history(output, run.history)
    if distributed.is_writer():
        now = {**code_version(), "versions": versions(), **_threads(run)}
        if found is not None and run.code and "threads" in now:
            _warn_of_threads(run.code[-1].get("threads"), now["threads"])
        run.code += [now] if now not in run.code[-1:] else []
    if distributed.count() > 1:
        run.replicas = distributed.Replicas(run.network)


def _threads(run: Run) -> dict[str, int]:
    """The number of threads, where the last bits of a step depend on it: bfloat16 on a CPU."""
    depends = run.device.type == "cpu" and run.config.training.precision == "bfloat16"
    return {"threads": torch.get_num_threads()} if depends else {}


def _warn_of_threads(before: int | None, now: int) -> None:
    if before not in (None, now):
        print(
            f"warning: trained with {before} thread(s) so far, and with {now} from here on: the "
            "last bits of bfloat16 depend on their number, so that the result will not be that of "
            f"an uninterrupted run (--threads {before})",
            file=sys.stderr,
        )


def _refuse_non_finite(run: Run, read: list[list[float]], output: Path) -> None:
    """Stop at the first of the last steps with a non-finite loss or gradient, naming its sample."""
    for step, figures in enumerate(read, start=run.step - len(read)):
        loss, norm = figures[0], figures[FIGURES]
        if math.isfinite(loss) and math.isfinite(norm):
            continue
        first, last = step * run.batch_size, (step + 1) * run.batch_size - 1
        which = f"sample {first}" if first == last else f"samples {first} to {last}"
        what = f"the gradient's norm is {norm}" if math.isfinite(loss) else f"the loss is {loss}"
        raise TrainingStopped(_no_way_on(run, f"{what} at step {step + 1} ({which})", output))


def _no_way_on(run: Run, found: str, output: Path) -> str:
    settings, kept = run.config.training, output / CURRENT
    state = f"the last good checkpoint is {kept}" if kept.exists() else "none was saved yet"
    return (
        f"{found}: training cannot go on; {state}. Train again with a lower training.learning_rate "
        f"(= {settings.learning_rate}) or a longer training.warmup_steps "
        f"(= {settings.warmup_steps}), in another folder: a run keeps its settings"
    )


def _save(run: Run, output: Path) -> None:
    """Save the resume state, unless something in it is non-finite (the last good one stays)."""
    state = run.checkpoint()
    for name, tensor in [*state.model.items(), *state.optimizer.items()]:
        if not bool(torch.isfinite(tensor).all()):
            found = f"{name} is not finite after step {run.step}"
            raise TrainingStopped(_no_way_on(run, found, output))
    with continued_after_refusal(output):
        if not (output / SETTINGS).exists():
            write_text(output / SETTINGS, as_toml(run.config))
        save_rotating(output, state)
        write_history(output, run.history)
