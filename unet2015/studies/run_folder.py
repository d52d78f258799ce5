"""What a part of an experiment does in a folder of its own: train, predict, each once.

Each step continues from what it finds in the folder, so that a command which was cut off goes on
where it stopped.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unet2015.config import ExperimentConfig, PredictionConfig
from unet2015.data.gray_scale import GrayScale
from unet2015.data.tiff import read_stack, write_stack
from unet2015.inference.memory import memory_statement
from unet2015.inference.prediction import predict_stack
from unet2015.loss import Loss
from unet2015.model import UNet
from unet2015.reports.words import duration
from unet2015.runtime.atomic import own_folder, place_of, write_text
from unet2015.runtime.numerics import numerics
from unet2015.runtime.read_back import from_json, read_text
from unet2015.training.batches import TileSource
from unet2015.training.checkpoint import TIME, Checkpoint
from unet2015.training.cuda_step import Compile
from unet2015.training.estimate import seconds_per_step
from unet2015.training.history import HISTORY, dead_start_steps
from unet2015.training.loop import train
from unet2015.training.tile_place import AugmentOn

PROBABILITY, ABOUT = "probability.tif", "prediction.json"
"""The predicted probability of 'cell' (float32); by which weights, in how many seconds, and the
SHA-256 of the file."""
KEPT = ("*.safetensors", HISTORY, ABOUT, TIME)
"""What lies in the folder of every run; what `predict_once` has predicted there comes on top."""


def train_once(
    config: ExperimentConfig,
    tiles: TileSource,
    folder: Path,
    *,
    device: str,
    name: str,
    estimate: bool = False,
    workers: int = 1,
    augment_on: AugmentOn = "auto",
    deterministic: bool = False,
    compile: Compile = "none",
    make_network: Callable[..., UNet] = UNet,
    loss: Loss | None = None,
    **options: Any,
) -> Checkpoint:
    """The network trained in `folder`: as `loop.train`, whose options these are.

    name: what the progress bar calls it. `estimate` prints, before a new training starts, how long
    it will take, from some timed steps. Raises ValueError for a folder that is a symbolic link.
    """
    own_folder(folder)
    way: dict[str, Any] = {
        "device": device,
        "workers": workers,
        "augment_on": augment_on,
        "deterministic": deterministic,
        "compile": compile,
        "make_network": make_network,
        "loss": loss,
    }
    if estimate and not any(folder.glob("*.safetensors")):
        seconds, steps = seconds_per_step(config, tiles, **way), config.training.steps
        print(
            f"{steps} steps of {duration(seconds)}: about {duration(seconds * steps)} on this "
            f"machine ({device}), from some timed steps"
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
    scale = GrayScale.from_dict(checkpoint.data["gray_scale"])
    network = checkpoint.network().to(device)
    settings = checkpoint.config.prediction
    began = time.monotonic()
    probability = predict_gray(
        network, stack, scale, settings, device=device, description=f"{name}, predicting"
    )
    seconds = round(time.monotonic() - began, 1)
    # first of all what is there loses its name, so that no cut leaves a pair that does not belong
    (folder / ABOUT).unlink(missing_ok=True)
    write_stack(folder / PROBABILITY, probability)
    about |= {"sha256": _sha256(folder / PROBABILITY)}
    write_text(folder / ABOUT, json.dumps(about | {"seconds": seconds}) + "\n")
    return probability, seconds


def refuse_kept(option: str, output: Path, checkpoint: Path) -> None:
    """Refuse an output that would replace what a run keeps in the folder of its checkpoint.

    checkpoint: folder of a run or a file in it, or a link to it. Other names in the folder are
    free. Raises ValueError naming `option`, the path, and a name that is free.
    """
    real, place = Path(os.path.realpath(checkpoint)), place_of(output)
    folders = {real} if real.is_dir() else {place_of(checkpoint).parent, real.parent}
    predicted = (PROBABILITY, "cells_*.tif") if (place.parent / ABOUT).exists() else ()
    # file systems that do not tell capitals apart would replace the file all the same
    taken = any(fnmatch(place.name.lower(), pattern) for pattern in (*KEPT, *predicted))
    if place.parent in folders and taken:
        raise ValueError(
            f"{option} {output}: is the name of a file that the run keeps there; give another "
            f"path, {output.with_name(f'{output.stem}-of-other.tif')}, say"
        )


def predict_gray(
    network: UNet,
    stack: np.ndarray,
    scale: GrayScale,
    config: PredictionConfig,
    *,
    device: str,
    description: str = "predicting",
    progress: bool = True,
    clip: bool = False,
) -> np.ndarray:
    """The probability of 'cell' of gray images, slice by slice (paper §2, §4).

    stack: (N, H, W) of the dtype of `scale`. Returns (N, H, W) float32 in [0, 1]. Beside these two
    arrays one slice at a time is in memory. progress: about how much it is in all is printed first,
    and a bar shows how far it is. clip: gray values beyond the scale are black and white. Raises
    ValueError as `GrayScale.apply` and `choose_tiling`.
    """
    if progress:
        print(memory_statement(network.config, config, stack.shape, stack.dtype))
    probability = np.empty(stack.shape, np.float32)
    with numerics(device):
        slices = predict_stack(
            *(network, stack, config),
            scale=partial(scale.apply, clip=clip),
            description=description,
            progress=progress,
        )
        for index, plane in enumerate(slices):
            probability[index] = plane
    return probability


def _kept(
    folder: Path, about: dict[str, str], shape: tuple[int, ...]
) -> tuple[np.ndarray, float] | None:
    """The prediction in the folder; None if it is missing, or made by other weights.

    And if it is not what was written there, which is told.
    """
    path = folder / PROBABILITY
    try:
        found = from_json(read_text(folder / ABOUT))
        # None: of an earlier version, which did not say what it had written
        seconds, sha256 = float(found.pop("seconds")), found.pop("sha256", None)
        if found != about or not path.is_file():
            return None
        if _sha256(path) == sha256:
            probability = read_stack(path)
            return (probability, seconds) if probability.shape == shape else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    why = "was changed since it was predicted" if sha256 else "is of an earlier version"
    print(f"warning: {path}: {why}; predicting again", file=sys.stderr)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
