"""In what the data sets of an ablation differ: folds, baselines, one training, its scores.

EM stack (paper §4, Table 1): five folds of slices, the challenge's scores. Cell tracking sets
(paper §4, Table 2): two folds, which are directions; SEG and what its cells are made of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unet2015.config import ExperimentConfig
from unet2015.data.cell_tracking import RELEASES, SEQUENCES, CellTracking
from unet2015.data.isbi2012 import EMStack, five_folds
from unet2015.inference.instances import InstanceConfig, instances_of
from unet2015.metrics import challenge_scores
from unet2015.reports.cell_tracking import PRESETS as CELL_PRESETS
from unet2015.studies import cell_tracking, em
from unet2015.studies.budget import Cost, Measured
from unet2015.training.checkpoint import Checkpoint

Data = EMStack | CellTracking


@dataclass(frozen=True, eq=False)
class Network:
    """A network that never saw the images of its fold, and what it predicts for these."""

    folder: Path
    checkpoint: Checkpoint
    held_out: np.ndarray
    """(N, H, W) uint8, the fold's images."""
    probability: np.ndarray
    """(N, H, W) float32, probability of 'cell' there."""
    prediction_seconds: float
    summary: Callable[[np.ndarray], dict[str, Any]]
    """What a record says of the training, and of the scores of a probability of these images."""


@dataclass(frozen=True)
class DataSet:
    """What an ablation has to know of the data that it is run on."""

    bases: Mapping[str, str]
    """Preset → the file in experiments/ that is its baseline."""
    folds: tuple[int, ...]
    """Run unless told otherwise."""
    fold_limits: tuple[int, int]
    """The first fold and the last one."""
    about: Callable[[Any, int, InstanceConfig], dict[str, Any]]
    """(data, fold, cells) → what a record says of what is held out, and of how it is scored: runs
    of two `scores_protocol` share no table."""
    train: Callable[..., Network]
    """(data, fold, configuration, folder, cells, options of `run_folder.train_once`) → network."""
    measure: Callable[..., Measured]
    """(data, fold, configuration, cells, options of `budget.measure`) → what was timed of it."""


def cells_fit(data: Data, cells: InstanceConfig) -> None:
    """Raise ValueError if cells cannot be found so in images of this size."""
    if isinstance(data, CellTracking):
        for sequence in data.sequences.values():
            cells.check(sequence.images.shape[1:])


def _slices_of_fold(stack: EMStack, fold: int) -> list[int]:
    return list(five_folds(len(stack.train_images))[fold])


def _about_em(stack: EMStack, fold: int, cells: InstanceConfig) -> dict[str, Any]:
    return {"held_out": _slices_of_fold(stack, fold), "scores_protocol": "2015"}


def _train_em(
    stack: EMStack,
    fold: int,
    config: ExperimentConfig,
    folder: Path,
    *,
    cells: InstanceConfig,
    **options: Any,
) -> Network:
    """Train on all slices but a fold's, predict these (paper §3, §4); `cells` has no part in it."""
    held_out = _slices_of_fold(stack, fold)
    part = em.run_part(stack, held_out, config, folder, **options)
    assert part is not None  # only one of several processes under torchrun gets none

    def summary(probability: np.ndarray) -> dict[str, Any]:
        scores = challenge_scores(stack.train_labels[held_out], probability)
        return part.summary() | {"scores": scores.as_dict()}

    images = stack.train_images[held_out]
    kept = part.probability, part.prediction_seconds
    return Network(part.folder, part.checkpoint, images, *kept, summary)


def _measure_em(
    stack: EMStack, fold: int, config: ExperimentConfig, cells: InstanceConfig, **way: Any
) -> Measured:
    return em.measure_part(stack, _slices_of_fold(stack, fold), config, **way)


def split_of_fold(data: CellTracking, fold: int) -> cell_tracking.Split:
    """Fold 1: train on 01, score 02. Fold 2: train on 02, score 01."""
    return cell_tracking.split_frames(data, SEQUENCES[fold - 1])


def _about_cells(data: CellTracking, fold: int, cells: InstanceConfig) -> dict[str, Any]:
    split = split_of_fold(data, fold)
    return {
        "held_out": split.scored_frames,
        "train_sequence": split.train.name,
        "scored_sequence": split.scored.name,
        "instances": cells.as_dict(),
        "scores_protocol": f"SEG, {cells.tag}",
    }


def _train_cells(
    data: CellTracking,
    fold: int,
    config: ExperimentConfig,
    folder: Path,
    *,
    cells: InstanceConfig,
    **options: Any,
) -> Network:
    """Train on one sequence, predict the other one, find its cells (paper §3, §4)."""
    split = split_of_fold(data, fold)
    direction = cell_tracking.run_direction(split, config, cells, folder, **options)
    assert direction is not None  # as above

    def summary(probability: np.ndarray) -> dict[str, Any]:
        shown = direction
        if probability is not direction.probability:
            found = np.stack([instances_of(plane, cells) for plane in probability])
            shown = replace(direction, probability=probability, instances=found)
        about = shown.summary()
        return about | {"scores": cell_scores(about["scores"]), "all_scores": about["scores"]}

    images = split.scored.images[list(split.scored_index)]
    kept = direction.probability, direction.prediction_seconds
    return Network(folder, direction.checkpoint, images, *kept, summary)


def _measure_cells(
    data: CellTracking, fold: int, config: ExperimentConfig, cells: InstanceConfig, **way: Any
) -> Measured:
    return cell_tracking.measure_direction(split_of_fold(data, fold), config, cells, **way)


def cell_scores(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The three figures that arms are compared in, of those of `cell_tracking.scores`.

    SEG (the paper's "IOU", Table 2); the IoU of the foreground; of the gold masks, the share that
    have their predicted cell in common with another one (our addition).

    >>> cell_scores({"seg": 0.5, "foreground_iou": 0.75, "merged": 2, "cells": 8})["merged_share"]
    {'value': 0.25}
    """
    values = {name: found[name] for name in ("seg", "foreground_iou")}
    values["merged_share"] = found["merged"] / found["cells"]
    return {name: {"value": value} for name, value in values.items()}


_EM = DataSet(
    bases={"quick": "ablation_quick", "long": "ablation_long", "paper": "paper"},
    folds=(1, 4),
    fold_limits=(0, 4),
    about=_about_em,
    train=_train_em,
    measure=_measure_em,
)
_CELLS = DataSet(
    bases=CELL_PRESETS | {"long": "cell_tracking_ablation_long"},
    folds=(1, 2),
    fold_limits=(1, 2),
    about=_about_cells,
    train=_train_cells,
    measure=_measure_cells,
)
SETS = {"isbi2012": _EM, "phantom": _EM} | dict.fromkeys(RELEASES, _CELLS)
"""By the name of the data set; the first one is the default."""


def costs(
    data: Data,
    fold: int,
    configs: Mapping[str, ExperimentConfig],
    cells: InstanceConfig,
    **way: Any,
) -> list[Cost]:
    """What each arm's run on a fold costs, the baseline's first (`budget.measure`)."""
    found, base = [], next(iter(configs.values()))
    images = len(SETS[data.name].about(data, fold, cells)["held_out"])
    for config in configs.values():
        # an arm that differs in prediction only predicts with the baseline's network
        trained = config == base or replace(config, prediction=base.prediction) != base
        measured = SETS[data.name].measure(data, fold, config, cells, trained=trained, **way)
        found.append(measured.cost(images))
    return found
