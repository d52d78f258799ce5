"""One part of the EM challenge: train on some slices, predict others, leave everything in a folder.

Each function continues from what it finds in the folder, so that a command which was cut off goes
on where it stopped.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet2015.atomic import write_text
from unet2015.checkpoint import Checkpoint
from unet2015.config import ExperimentConfig, config_hash
from unet2015.data.tiff import GrayScale, read_stack, write_stack
from unet2015.history import dead_start_steps
from unet2015.prediction import predict_stack
from unet2015.samples import em_tiles
from unet2015.training import seconds_per_step, train

PROBABILITY, TIMES = "probability.tif", "times.json"
"""A part's files: the probability of 'cell' (float32, 0 = membrane, 1 = cell); seconds spent."""


def train_on(
    images: np.ndarray,
    labels: np.ndarray,
    config: ExperimentConfig,
    folder: Path,
    *,
    seed: int,
    device: str,
    data: dict[str, Any],
    estimate: bool = False,
    **options: Any,
) -> Checkpoint:
    """Train on (N, H, W) uint8 slices and their labels; `data` goes into the checkpoint.

    `estimate` prints, before a new run starts, how long it will take, from three timed steps.
    Further options are those of `training.train`.
    """
    scale = GrayScale.of(images)
    tiles = em_tiles(scale.apply(images), labels, config, seed=seed)
    if estimate and not any(folder.glob("*.safetensors")):
        each = seconds_per_step(config, tiles, device=device)
        print(
            f"{config.training.steps} steps of {each:.2f} s: about "
            f"{duration(each * config.training.steps)} on this machine ({device}), "
            "from three timed steps"
        )
    return train(
        config,
        tiles,
        folder,
        seed=seed,
        device=device,
        data=data | {"gray_scale": scale.as_dict()},
        **options,
    )


def predict_with(
    checkpoint: Checkpoint, images: np.ndarray, folder: Path, *, device: str, **options: Any
) -> np.ndarray:
    """The probability of 'cell' of (N, H, W) uint8 slices, float32; kept in the folder's TIFF.

    Further options are those of `prediction.predict_stack`.
    """
    path = folder / PROBABILITY
    if path.exists():
        return read_stack(path)
    began = time.monotonic()
    scale = GrayScale.from_dict(checkpoint.data["gray_scale"])
    network = checkpoint.network().to(device)
    slices = predict_stack(network, scale.apply(images), checkpoint.config.prediction, **options)
    probability = np.stack(list(slices))
    write_text(folder / TIMES, json.dumps({"prediction_seconds": time.monotonic() - began}))
    write_stack(path, probability)
    return probability


def prediction_seconds(folder: Path) -> float | None:
    """How long the prediction in `folder` took, if that is known."""
    path = folder / TIMES
    return json.loads(path.read_text())["prediction_seconds"] if path.exists() else None


def training_summary(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a record says of a training run: steps, seconds, final loss, steps of a dead start."""
    return {
        "steps": checkpoint.step,
        "seconds": round(checkpoint.seconds, 1),
        "final_loss": checkpoint.history[-1]["loss"],
        "final_accuracy": checkpoint.history[-1]["accuracy"],
        "dead_start_steps": dead_start_steps(checkpoint.history),
    }


def run_name(preset: str, dataset: str, seed: int, config: ExperimentConfig) -> str:
    """The name of a run's folder and record: what was run, on what, with which settings."""
    return f"em_challenge_{preset}_{dataset}_seed{seed}_{config_hash(config)}"


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use.

    >>> duration(90), duration(5400), duration(300_000)
    ('90 s', '90 min', '83.3 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def held_out_slices(folds: Sequence[range]) -> list[int]:
    """The slices of several folds, in order."""
    return sorted(index for fold in folds for index in fold)
