"""A later re-implementation of the U-Net, rerun with this project's parts.

What a system is (its settings, defects and published figures) stands in one file each of
experiments/reimplementations/; here is what all of them share: an arm is trained, judged by the
system's own metrics and by honest ones, and summed up for its record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unet2015.config import ExperimentConfig, config_hash
from unet2015.loss import Loss
from unet2015.metrics.segmentation import dice, iou
from unet2015.model import CELL, UNet
from unet2015.runtime.numerics import numerics
from unet2015.studies.budget import FINISH_S, Cost, time_steps, timed
from unet2015.studies.run_folder import train_once, training_summary
from unet2015.training.batches import TileSource
from unet2015.training.checkpoint import load_weights
from unet2015.training.step import autocast

Metrics = dict[str, float]


@dataclass(frozen=True, eq=False)
class Task:
    """What an arm trains on and how it is judged."""

    tiles: TileSource
    count: int
    """Training examples, of which an epoch has each once."""
    evaluate: Callable[[UNet], dict[str, Metrics]]
    """'theirs': the system's own metrics as it computes them; 'honest': of images it has not seen,
    with right labels."""
    source: str
    """The data set in words."""
    hashes: dict[str, str]
    counts: dict[str, Any]
    """How much was trained on and scored, for the record."""
    make_network: Callable[..., UNet] = UNet
    loss: Loss | None = None


@dataclass(frozen=True, eq=False)
class Arm:
    """One run of a system."""

    name: str
    config: ExperimentConfig
    """All settings but the number of steps, which follows from the epochs."""
    epochs: float
    prepare: Callable[[Path | None, int, str], Task]
    """prepare(data folder or None, seed, device)."""
    defects: tuple[str, ...] = ()
    """What the published code does wrong and this arm does too; none: mended."""
    warmup_epochs: float = 0
    remarks: tuple[str, ...] = ()
    """How this arm differs from the published system, beside settings and defects."""


@dataclass(frozen=True, eq=False)
class System:
    """One re-implementation."""

    title: str
    repository: str
    """With the commit that was read."""
    published: tuple[tuple[str, str], ...]
    """(what, figure) as its authors report it; empty: they report none."""
    arms: Callable[[str], tuple[Arm, ...]]
    """arms('quick' or 'published'), the first one as published."""
    compare: str
    """The honest metric by which its arms are compared."""
    meaning: str
    """How to take the difference between its arms, without a figure."""
    data: str
    """The folder of its data set."""
    load: Callable[[Path | None], Any]
    """Finds the data set, or raises FileNotFoundError with what to do."""
    not_rerun: tuple[str, ...] = ()
    """Defects that no arm has, with the reason."""


def run_arm(
    arm: Arm, folder: Path, data: Path | None, *, seed: int, device: str, name: str, **options: Any
) -> tuple[dict[str, Any], ExperimentConfig, Task]:
    """Train and judge one arm in `folder`, which continues what it holds.

    name: what progress bars call it. Returns what the record says of it, the configuration with
    the number of steps, and the task. Further options: as `run_folder.train_once`.
    """
    task = arm.prepare(data, seed, device)
    config = with_epochs(arm, task.count)
    checkpoint = train_once(
        config,
        task.tiles,
        folder,
        seed=seed,
        device=device,
        name=name,
        data={"hashes": task.hashes, "defects": list(arm.defects), "counts": task.counts},
        make_network=task.make_network,
        loss=task.loss,
        **options,
    )
    network = task.make_network(config.model)
    load_weights(network, checkpoint.model)
    with numerics(device):
        metrics = task.evaluate(network.eval().to(device))
    summary = {
        "defects": list(arm.defects),
        "epochs": arm.epochs,
        "metrics": metrics,
        "training": training_summary(checkpoint),
        "source": task.source,
        "counts": task.counts,
    }
    return summary, config, task


def measure_arm(arm: Arm, data: Path | None, *, seed: int, device: str, **way: Any) -> Cost:
    """Time what `run_arm` would take here; the cost's `step_s` is that of all its steps.

    way: further options of `estimate.seconds_per_step`.
    """
    prepare_s, task = timed(lambda: arm.prepare(data, seed, device))
    config = with_epochs(arm, task.count)
    parts = {"make_network": task.make_network, "loss": task.loss}
    step_s, compile_s = time_steps(config, task.tiles, device=device, **way, **parts)
    network = task.make_network(config.model).to(device).eval()
    with numerics(device):
        evaluate_s, _ = timed(lambda: task.evaluate(network))
    return Cost(config.training.steps * step_s, prepare_s + compile_s + evaluate_s + FINISH_S)


def shortened(arm: Arm, share: float) -> Arm:
    """The arm with that share of its epochs, which a remark says; 1: as it is."""
    if share == 1:
        return arm
    epochs, warmup = (round(number * share, 4) for number in (arm.epochs, arm.warmup_epochs))
    remark = f"{arm.name}: {epochs:g} of {arm.epochs:g} epochs, which fitted into --minutes"
    return replace(arm, epochs=epochs, warmup_epochs=warmup, remarks=(*arm.remarks, remark))


def with_epochs(arm: Arm, count: int) -> ExperimentConfig:
    """The arm's settings with the steps of its epochs, `count` examples each."""
    training = arm.config.training
    per_epoch = count / training.batch_size
    return replace(
        arm.config,
        training=replace(
            training,
            steps=max(1, round(arm.epochs * per_epoch)),
            warmup_steps=round(arm.warmup_epochs * per_epoch),
        ),
    )


def probabilities(
    network: UNet, images: Sequence[np.ndarray], *, train_mode: bool = False, batch: int = 1
) -> list[np.ndarray]:
    """Probability of 'cell' of whole images (C, H, W), each (h, w) float32 in [0, 1].

    train_mode: as a network in training computes it, with the batch's own statistics for batch
    normalisation and with drop-out, which some evaluate with by mistake; the network's own
    statistics stay as they are.
    """
    device = next(network.parameters()).device
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found: list[np.ndarray] = []
    gpus = [device] if device.type == "cuda" else []
    network.train(train_mode)
    with torch.no_grad(), torch.random.fork_rng(gpus), numerics(device):
        torch.manual_seed(0)
        for first in range(0, len(images), batch):
            stack = torch.from_numpy(np.stack(images[first : first + batch])).to(device)
            with autocast(device, "float32"):
                scores = network(stack.contiguous(memory_format=torch.channels_last)).float()
            one = scores.shape[1] == 1
            planes = torch.sigmoid(scores[:, 0]) if one else torch.softmax(scores, 1)[:, CELL]
            found += list(planes.cpu().numpy())
    network.load_state_dict(kept)
    network.eval()
    return found


def per_image(truths: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> Metrics:
    """IoU and Dice of the thresholded prediction (> 0.5): mean over images, and all pixels pooled.

    truths: (h, w) masks; predicted: probabilities as large. An image without foreground counts 1
    where none is predicted, and 0 otherwise.
    """
    pairs = list(zip(truths, predicted, strict=True))
    truth_pixels = np.concatenate([plane.ravel() for plane in truths])
    predicted_pixels = np.concatenate([plane.ravel() for plane in predicted])
    return {
        "IoU": float(np.mean([iou(truth, found) for truth, found in pairs])),
        "Dice": float(np.mean([dice(truth, found) for truth, found in pairs])),
        "IoU pooled": iou(truth_pixels, predicted_pixels),
        "Dice pooled": dice(truth_pixels, predicted_pixels),
    }


def soft_dice_of_batches(
    truths: Sequence[np.ndarray], predicted: Sequence[np.ndarray], batch: int
) -> float:
    """The mean over batches of the soft Dice coefficient of all pixels of a batch."""
    found = []
    for first in range(0, len(truths), batch):
        part = slice(first, first + batch)
        found.append(dice(np.stack(truths[part]), np.stack(predicted[part]), threshold=None))
    return float(np.mean(found))


def run_name(preset: str, system: str, arm: Arm, seed: int) -> str:
    """The name of a run's folder and record: what was run with which settings."""
    settings = f"{arm.epochs:g}epochs_{config_hash(arm.config)}"
    return f"reimplementation_{preset}_{system}_{arm.name}_seed{seed}_{settings}"
