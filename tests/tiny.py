"""Settings and tiles of a network so small that a training step takes milliseconds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from unet2015.augmentation.samples import training_tiles
from unet2015.augmentation.tile import TileSequence, TrainingTile
from unet2015.config import (
    AugmentationConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
)
from unet2015.data.phantom import phantom_stack
from unet2015.model import valid_output_size
from unet2015.runtime.lock import LOCK
from unet2015.training.batches import TileSource
from unet2015.training.checkpoint import Checkpoint
from unet2015.training.loop import train

# threads that wait for each other take far longer than these few numbers take to compute
torch.set_num_threads(1)

ALWAYS, NEVER = -1.0, 1e9
"""Values of `checkpoint_every_s`: after every step, and after the last only."""

_SETTINGS = ExperimentConfig(
    model=ModelConfig(width=4, depth=1, dropout=0.5),
    augmentation=AugmentationConfig(image_order=1),
    training=TrainingConfig(
        input_tile_px=20, steps=8, momentum=0.9, learning_rate=0.05, warmup_steps=3
    ),
    prediction=PredictionConfig(averaging="none"),
)


def settings(model: dict[str, Any] | None = None, **training: Any) -> ExperimentConfig:
    """20 px in, 4 px out, eight steps; `model` and `training` replace single fields."""
    return replace(
        _SETTINGS,
        model=replace(_SETTINGS.model, **(model or {})),
        training=replace(_SETTINGS.training, **training),
    )


def augmented_tiles(config: ExperimentConfig, seed: int = 0) -> TileSequence:
    """Tiles as a real training draws them, from two phantom slices."""
    stack = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)
    images = stack.train_images / np.float32(255)
    return training_tiles(images, stack.train_labels, config, seed=seed)


def blob_tiles(config: ExperimentConfig, count: int = 16, seed: int = 0) -> list[TrainingTile]:
    """Fixed tiles of bright blobs on dark ground, which are the cells; random weights ≥ 1."""
    rng = np.random.default_rng(seed)
    size = config.training.input_tile_px
    output = valid_output_size(size, config.model.depth)
    margin = (size - output) // 2
    tiles = []
    for _ in range(count):
        blobs = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2)
        image = (ndimage.gaussian_filter(1.0 * (blobs > 0), 0.5)).astype(np.float32)
        labels = (blobs > 0)[margin : margin + output, margin : margin + output].astype(np.uint8)
        weights = rng.uniform(1, 5, labels.shape).astype(np.float32)
        tiles.append(TrainingTile(image[None], labels, weights))
    return tiles


class PowerCut(Exception):
    """Whatever ends a run from outside."""


def quietly(
    config: ExperimentConfig, tiles: TileSource, folder: Path, **options: Any
) -> Checkpoint:
    """`train` without a progress bar, saving after every step."""
    return train(
        config, tiles, folder, **({"progress": False, "checkpoint_every_s": ALWAYS} | options)
    )


def cut_off(
    step: int, config: ExperimentConfig, tiles: TileSource, folder: Path, **options: Any
) -> None:
    """A run that ends after `step` without warning."""

    def at(now: int) -> None:
        if now == step:
            raise PowerCut

    with pytest.raises(PowerCut):
        quietly(config, tiles, folder, on_step=at, **options)


def same_weights(ours: Checkpoint, theirs: Checkpoint) -> bool:
    """Whether two networks have the same tensors, bit for bit."""
    names = ours.model.keys() | theirs.model.keys()
    return all(
        ours.model[name].numpy().tobytes() == theirs.model[name].numpy().tobytes() for name in names
    )


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder but locks: its bytes and when it was last changed."""
    files: Sequence[Path] = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != LOCK)
    return {str(f.relative_to(folder)): (f.read_bytes(), f.stat().st_mtime_ns) for f in files}
