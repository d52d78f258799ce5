"""What a part of an experiment does in a folder of its own: train, predict, each once.

Each step continues from what it finds in the folder, so that a command which was cut off goes on
where it stopped.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from unet2015.atomic import write_text
from unet2015.batches import TileSource
from unet2015.checkpoint import Checkpoint
from unet2015.config import ExperimentConfig
from unet2015.cuda_step import Compile
from unet2015.data.gray_scale import GrayScale
from unet2015.data.tiff import read_stack, write_stack
from unet2015.estimate import seconds_per_step
from unet2015.history import dead_start_steps
from unet2015.numerics import numerics
from unet2015.prediction import predict_stack
from unet2015.tile_place import AugmentOn
from unet2015.training import train

PROBABILITY, ABOUT = "probability.tif", "prediction.json"
"""The predicted probability of 'cell' (float32); by which weights, and in how many seconds."""


def train_once(
    config: ExperimentConfig,
    tiles: TileSource,
    folder: Path,
    *,
    device: str,
    name: str,
    estimate: bool = False,
    augment_on: AugmentOn = "auto",
    deterministic: bool = False,
    compile: Compile = "none",
    **options: Any,
) -> Checkpoint:
    """The network trained in `folder`: as `training.train`, whose options these are.

    name: what the progress bar calls it. `estimate` prints, before a new training starts, how long
    it will take, from three timed steps.
    """
    way: dict[str, Any] = {
        "device": device,
        "augment_on": augment_on,
        "deterministic": deterministic,
        "compile": compile,
    }
    if estimate and not any(folder.glob("*.safetensors")):
        seconds, steps = seconds_per_step(config, tiles, **way), config.training.steps
        print(
            f"{steps} steps of {seconds:.2f} s: about {duration(seconds * steps)} on this machine "
            f"({device}), from three timed steps"
        )
    return train(config, tiles, folder, description=f"{name}, training", **way, **options)


def predict_once(
    checkpoint: Checkpoint, stack: np.ndarray, folder: Path, *, device: str, name: str
) -> tuple[np.ndarray, float]:
    """The probability of 'cell' of (N, H, W) gray images, and the seconds that predicting took.

    Kept in `folder`, and taken from there if these weights have made it.
    """
    about = {"weights": checkpoint.weights_sha256()}
    kept = _kept(folder, about, stack.shape)
    if kept is not None:
        return kept
    images = GrayScale.from_dict(checkpoint.data["gray_scale"]).apply(stack)
    network = checkpoint.network().to(device)
    began = time.monotonic()
    with numerics(device):
        slices = predict_stack(
            network, images, checkpoint.config.prediction, description=f"{name}, predicting"
        )
        probability = np.stack(list(slices))
    seconds = round(time.monotonic() - began, 1)
    # first of all what is there loses its name, so that no cut leaves a pair that does not belong
    (folder / ABOUT).unlink(missing_ok=True)
    write_stack(folder / PROBABILITY, probability)
    write_text(folder / ABOUT, json.dumps(about | {"seconds": seconds}) + "\n")
    return probability, seconds


def _kept(
    folder: Path, about: dict[str, str], shape: tuple[int, ...]
) -> tuple[np.ndarray, float] | None:
    """The prediction in the folder; None if it is missing, damaged, or made by other weights."""
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        seconds = float(found.pop("seconds"))
        probability = read_stack(folder / PROBABILITY)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (probability, seconds) if found == about and probability.shape == shape else None


def training_summary(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a record says of a training: steps, seconds, last loss, steps of a dead start."""
    history = checkpoint.history
    return {
        "steps": checkpoint.step,
        "seconds": round(checkpoint.seconds, 1),
        "final_loss": history[-1]["loss"],
        "final_accuracy": history[-1]["accuracy"],
        "dead_start_steps": dead_start_steps(history),
    }


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use.

    >>> duration(90), duration(5400), duration(300_000)
    ('90 s', '90 min', '83.3 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
