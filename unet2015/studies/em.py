"""One part of the EM challenge: train on some slices, predict others, leave everything in a folder.

Each step continues from what it finds in the folder, so that a command which was cut off goes on
where it stopped.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet2015.augmentation.samples import SampleTiles, training_tiles
from unet2015.config import ExperimentConfig, config_hash
from unet2015.data import isbi2012
from unet2015.data import phantom as phantoms
from unet2015.data.gray_scale import GrayScale
from unet2015.data.gray_use import about_gray
from unet2015.data.isbi2012 import EMStack
from unet2015.metrics import ChallengeScores, challenge_scores, dice_of_classes
from unet2015.model import valid_output_size
from unet2015.reports import figures
from unet2015.runtime import distributed
from unet2015.runtime.atomic import writable_folder, write_bytes
from unet2015.studies.budget import Cost, Measured, measure
from unet2015.studies.run_folder import predict_once, train_once, training_summary
from unet2015.training.checkpoint import Checkpoint
from unet2015.training.history import HISTORY

PICTURES = ("overlap_tile.png", "panel.png", "learning_curve.png")
CITATION = "ISBI 2012 EM stack: Cardona et al. 2010, doi:10.1371/journal.pbio.1000502"


Scored = dict[str, dict[str, Any]]
"""What a record says of a prediction: each metric's value, threshold, …"""


@dataclass(frozen=True, eq=False)
class Part:
    """A network trained on some slices, and what it predicts for others."""

    folder: Path
    trained_on: list[int]
    """Slices of the training volume."""
    predicted: list[int] | None
    """Slices of the training volume; None: the test volume."""
    probability: np.ndarray
    """(N, H, W) float32, probability of 'cell' of the predicted slices."""
    checkpoint: Checkpoint
    prediction_seconds: float

    def summary(self) -> dict[str, Any]:
        """What a record says of the part, apart from its scores."""
        return {
            "held_out": self.predicted,
            "trained_on": self.trained_on,
            "training": training_summary(self.checkpoint),
            "prediction_seconds": self.prediction_seconds,
        }


def load_stack(directory: Path | None, *, phantom: bool = False, fallback: bool = False) -> EMStack:
    """The ISBI 2012 stack as `load_isbi2012` finds it; the phantom, with an unmistakable notice.

    phantom: take it in any case. fallback: take it where there are no data, instead of raising
    FileNotFoundError.
    """
    if not phantom:
        try:
            return isbi2012.load_isbi2012(directory)
        except FileNotFoundError as error:
            if not fallback:
                raise
            print(error, file=sys.stderr)
    line = "=" * 78
    print(f"\n{line}\nPHANTOM: this run uses a procedural stand-in, NOT the ISBI 2012 EM stack.")
    print(f"Its scores say nothing about the paper and stand on a page of their own.\n{line}\n")
    return phantoms.phantom_stack(seed=0)


def run_part(
    stack: EMStack,
    held_out: Sequence[int] | None,
    config: ExperimentConfig,
    folder: Path,
    *,
    seed: int,
    device: str,
    name: str,
    **options: Any,
) -> Part | None:
    """Train on all slices but `held_out` and predict these; None: train on all, predict the test.

    folder: of this part alone; it keeps checkpoints, history.csv and probability.tif, and a part
    found there continues. name: what progress bars call it. Further options: as
    `run_folder.train_once`.
    Of several processes (`distributed`) all train, and the first alone goes on: None in the others.
    Raises ValueError for a stack without test images, and as `train` does.
    """
    if held_out is None and stack.test_images is None:
        raise ValueError(f"{stack.source}: has no test volume to predict")
    trained_on = slices_without(stack, held_out)
    scale = GrayScale.of(stack.train_images, gray_values=config.training.gray_values)
    tiles = _tiles(stack, trained_on, scale, config, seed)
    # only what training sees: a test volume that came later does not make it another run
    hashes = {key: value for key, value in stack.hashes.items() if "test" not in key}
    checkpoint = train_once(
        config,
        tiles,
        folder,
        seed=seed,
        device=device,
        data={
            "hashes": hashes,
            "trained_on": trained_on,
            **about_gray(scale, stack.train_images[trained_on]),
        },
        name=name,
        **options,
    )
    if not distributed.is_writer():
        return None
    unseen = stack.test_images if held_out is None else stack.train_images[list(held_out)]
    assert unseen is not None
    probability, seconds = predict_once(checkpoint, unseen, folder, device=device, name=name)
    predicted = None if held_out is None else list(held_out)
    return Part(folder, trained_on, predicted, probability, checkpoint, seconds)


def slices_without(stack: EMStack, held_out: Sequence[int] | None) -> list[int]:
    """The slices of the training volume that are trained on."""
    return [k for k in range(len(stack.train_images)) if k not in (held_out or ())]


def _tiles(
    stack: EMStack, trained_on: list[int], scale: GrayScale, config: ExperimentConfig, seed: int
) -> SampleTiles:
    images, labels = stack.train_images[trained_on], stack.train_labels[trained_on]
    return training_tiles(images, labels, config, gray=scale, seed=seed)


def measure_part(
    stack: EMStack,
    held_out: Sequence[int] | None,
    config: ExperimentConfig,
    *,
    seed: int,
    trained: bool = True,
    **way: Any,
) -> Measured:
    """Time what `run_part` and the scoring of its slices would take here (`budget.measure`).

    trained: False times the prediction and the scoring alone.
    """
    first = held_out[0] if held_out else 0  # a slice of the test volume takes as long
    scale = GrayScale.of(stack.train_images, gray_values=config.training.gray_values)
    truth, image = stack.train_labels[[first]], scale.apply(stack.train_images[[first]])

    def make_tiles() -> SampleTiles:
        return _tiles(stack, slices_without(stack, held_out), scale, config, seed)

    return measure(
        config,
        make_tiles if trained else None,
        image,
        lambda probability: challenge_scores(truth, probability[None]),
        **way,
    )


def costs(
    stack: EMStack, folds: Sequence[int], submit: bool, config: ExperimentConfig, **way: Any
) -> list[Cost]:
    """What `run_part` and the scoring cost for each fold, and for all slices; `measure_part`."""
    slices = isbi2012.five_folds(len(stack.train_images))
    measured = measure_part(stack, slices[folds[0]] if folds else None, config, **way)
    found = [measured.cost(len(slices[fold]), scored=2) for fold in folds]  # by itself, pooled
    if submit and stack.test_images is not None:
        found.append(measured.cost(len(stack.test_images), int(stack.test_labels is not None)))
    return found


def draw(stack: EMStack, part: Part) -> None:
    """Fig. 2 of the paper, a panel of the first held-out slice, and the learning curve, as PNG."""
    assert part.predicted is not None  # the test volume has no truth to draw
    index, settings = part.predicted[0], part.checkpoint.config
    image, truth = stack.train_images[index] / np.float32(255), stack.train_labels[index]
    overlap_tile, panel, learning_curve = (part.folder / name for name in PICTURES)
    caption = CITATION if stack.name == "isbi2012" else "PHANTOM, not EM data"
    input_px = settings.training.input_tile_px
    figures.overlap_tile_figure(
        image,
        (0, 0),
        valid_output_size(input_px, settings.model.depth, settings.model.padding),
        input_px,
        overlap_tile,
        segmentation=part.probability[0],
        caption=caption,
    )
    title = f"slice {index}, held out"
    figures.prediction_panel(image, truth, part.probability[0], panel, title=title, caption=caption)
    figures.learning_curve(part.folder / HISTORY, learning_curve)


def pooled(stack: EMStack, parts: Sequence[Part]) -> tuple[list[int], ChallengeScores, Scored]:
    """The held-out slices of all parts, and their scores together, as such and for a record."""
    slices = [k for part in parts for k in part.predicted or ()]
    truth, probability = stack.train_labels[slices], np.concatenate([p.probability for p in parts])
    found = challenge_scores(truth, probability)
    return slices, found, for_record(found, truth, probability)


def test_scores(stack: EMStack, part: Part) -> dict[str, Any]:
    """The scores of the predicted test volume, or why there are none."""
    if stack.test_labels is None:
        return {"scores": None, "reason": "test labels not available"}
    truth, probability = stack.test_labels, part.probability
    return {"scores": for_record(challenge_scores(truth, probability), truth, probability)}


def for_record(scores: ChallengeScores, truth: np.ndarray, probability: np.ndarray) -> Scored:
    """What a record says of a prediction: the challenge's scores, and NVIDIA's DICE beside them."""
    return scores.as_dict() | {"dice_of_classes": {"value": dice_of_classes(truth, probability)}}


def publish(folder: Path, results: Path, preset: str, stack: EMStack) -> None:
    """Copy a part's pictures to where README.md shows them; none of a phantom."""
    if stack.name != "isbi2012":
        return
    target = writable_folder(results / "figures", "--results")
    for picture in filter(Path.is_file, (folder / name for name in PICTURES)):
        write_bytes(target / f"em_challenge_{preset}_{picture.name}", picture.read_bytes())


def run_name(preset: str, dataset: str, seed: int, config: ExperimentConfig) -> str:
    """The name of a run's folder and record: what was run, on what, with which settings."""
    several = f"_{distributed.count()}processes" if distributed.count() > 1 else ""
    return f"em_challenge_{preset}_{dataset}_seed{seed}_{config_hash(config)}{several}"
