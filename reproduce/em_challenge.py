"""The paper's Table 1: train the U-Net on the ISBI 2012 EM stack, predict, score, tabulate.

    python reproduce/em_challenge.py --preset quick    # two CPU cores, about 10 minutes
    python reproduce/em_challenge.py --preset paper    # five folds, needs an accelerator

The 30 training slices are cut into five contiguous folds of six (0-5, …, 24-29). For each fold
the network is trained on the other 24 slices and predicts the six held-out ones, which are scored
with the challenge's metrics; several folds are pooled. `--submit` trains on all 30 and predicts
the challenge's test volume. `quick` runs the last fold only, with every deviation from the paper
listed in experiments/quick.py.

What it leaves: checkpoints, history.csv, probability.tif and pictures per fold in runs/<name>/; a
record in results/runs/; the page results/em_challenge.md with our row in the paper's table. The
same command continues a run that was cut off.
"""

import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

import experiments
from unet2015 import em, figures, tables
from unet2015.command_line import resolve_device, run_command
from unet2015.config import ExperimentConfig, differences
from unet2015.data.isbi2012 import EMStack, five_folds, load_isbi2012
from unet2015.data.phantom import phantom_stack
from unet2015.metrics import challenge_scores
from unet2015.model import context_margin_px
from unet2015.record import peak_memory_gib, provenance, write_record

FOLDS = {"quick": (4,), "paper": (0, 1, 2, 3, 4)}
"""Folds that a preset runs. quick's settings were chosen on fold 0, with fold 4 unseen."""
RESULTS = Path(__file__).parents[1] / "results"
CITATION = "ISBI 2012 EM stack: Cardona et al. 2010, doi:10.1371/journal.pbio.1000502"


@dataclass(frozen=True)
class Options:
    """Train, predict and score the U-Net on the ISBI 2012 EM stack (paper, Table 1)."""

    preset: Literal["quick", "paper"] = "quick"
    """quick: two CPU cores, about 10 minutes. paper: everything the paper states, nothing else."""
    data: Path | None = None
    """Folder with train-volume.tif and train-labels.tif; otherwise $UNET2015_DATA/isbi2012, the
    per-user cache, or a download."""
    phantom: bool = False
    """Use the procedural phantom even where the real stack could be had (preset quick only)."""
    folds: tuple[int, ...] | None = None
    """Folds to run, 0-4; default: 4 for quick, all five for paper."""
    submit: bool = False
    """Also train on all slices and predict the challenge's test volume."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation and drop-out."""
    output: Path = Path("runs")
    """Folder for checkpoints and predictions."""
    results: Path = RESULTS
    """Folder of the records, the tables and the figures."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    workers: int = 1
    """Threads that prepare training tiles (the result does not depend on it)."""
    tensorboard: bool = False
    """Also write TensorBoard files (pip install tensorboard)."""
    config: Annotated[ExperimentConfig, tyro.conf.arg(name="")] = field(
        default_factory=ExperimentConfig
    )


def load_data(options: Options) -> EMStack:
    """The EM stack; for quick, and never for paper, the phantom where there is none."""
    if options.phantom and options.preset == "paper":
        raise ValueError("--phantom: preset paper runs on the real stack only; use --preset quick")
    if not options.phantom:
        try:
            return load_isbi2012(options.data)
        except FileNotFoundError as error:
            if options.preset == "paper" or options.data is not None:
                raise
            print(error, file=sys.stderr)
    line = "=" * 78
    print(f"\n{line}\nPHANTOM: this run uses a procedural stand-in, NOT the ISBI 2012 EM stack.")
    print(f"Its scores say nothing about the paper and stand on a page of their own.\n{line}\n")
    return phantom_stack(seed=0)


def run_fold(stack: EMStack, fold: int, folder: Path, options: Options) -> dict[str, Any]:
    """Train without the fold's slices, predict them, score them (record's entry of the fold)."""
    held_out = list(five_folds(len(stack.train_images))[fold])
    trained_on = [k for k in range(len(stack.train_images)) if k not in held_out]
    device = resolve_device(options.device)
    checkpoint = em.train_on(
        stack.train_images[trained_on],
        stack.train_labels[trained_on],
        options.config,
        folder,
        seed=options.seed,
        device=device,
        data={"hashes": stack.hashes, "trained_on": trained_on},
        estimate=options.preset == "paper",
        workers=options.workers,
        tensorboard=options.tensorboard,
        description=f"fold {fold}, training",
    )
    images, truth = stack.train_images[held_out], stack.train_labels[held_out]
    probability = em.predict_with(
        checkpoint, images, folder, device=device, description=f"fold {fold}, predicting"
    )
    draw(images, truth, probability, folder, options)
    return {
        "held_out": held_out,
        "trained_on": trained_on,
        "scores": challenge_scores(truth, probability).as_dict(),
        "training": em.training_summary(checkpoint),
        "prediction_seconds": em.prediction_seconds(folder),
    }


def draw(
    images: np.ndarray, truth: np.ndarray, probability: np.ndarray, folder: Path, options: Options
) -> None:
    """Fig. 2 of the paper, a panel of the fold's first slice, and the learning curve."""
    image = images[0] / np.float32(255)
    config = options.config
    margin = context_margin_px(config.model.depth)
    input_px = config.training.input_tile_px
    output_px = input_px - 2 * margin
    figures.overlap_tile_figure(
        image, (0, 0), output_px, input_px, folder / "overlap_tile.png", caption=CITATION
    )
    figures.prediction_panel(
        image, truth[0], probability[0], folder / "panel.png", caption=CITATION
    )
    figures.learning_curve(folder / "history.csv", folder / "learning_curve.png")


def predict_test_volume(stack: EMStack, folder: Path, options: Options) -> dict[str, Any]:
    """Train on all slices, predict the test volume (float32 TIFF, ready for the challenge)."""
    if stack.test_images is None:
        raise ValueError("--submit: the data have no test-volume.tif")
    device = resolve_device(options.device)
    checkpoint = em.train_on(
        stack.train_images,
        stack.train_labels,
        options.config,
        folder,
        seed=options.seed,
        device=device,
        data={"hashes": stack.hashes, "trained_on": list(range(len(stack.train_images)))},
        workers=options.workers,
        tensorboard=options.tensorboard,
        description="all slices, training",
    )
    probability = em.predict_with(
        checkpoint, stack.test_images, folder, device=device, description="test volume, predicting"
    )
    print(f"test volume: {folder / em.PROBABILITY}")
    if stack.test_labels is None:
        return {"scores": None, "reason": "test labels not available"}
    return {"scores": challenge_scores(stack.test_labels, probability).as_dict()}


def main(options: Options) -> None:
    began, started = time.monotonic(), datetime.now(UTC)
    stack = load_data(options)
    name = em.run_name(options.preset, stack.name, options.seed, options.config)
    folder = options.output / name
    chosen = options.folds if options.folds is not None else FOLDS[options.preset]
    folds = {fold: run_fold(stack, fold, folder / f"fold{fold}", options) for fold in chosen}
    ...


if __name__ == "__main__":
    ...
