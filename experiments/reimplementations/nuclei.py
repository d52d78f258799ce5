"""swodesh-2001/Unet-Scratch: nuclei of the Data Science Bowl 2018, from twelve images.

Every training image lacks the nucleus whose mask comes first in the alphabet, and so do nearly all
validation images, so that the figures do not show it.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from unet2015.augmentation.whole_images import (
    Example,
    ExampleSequence,
    examples_of,
    rotate_and_flip,
)
from unet2015.config import ExperimentConfig, ModelConfig, TrainingConfig
from unet2015.data.nuclei import load_nuclei, read_nuclei
from unet2015.data.pairs import Pair, PairSet, choose
from unet2015.metrics.segmentation import iou
from unet2015.model import UNet
from unet2015.studies.reimplementation import (
    Arm,
    Metrics,
    System,
    Task,
    per_image,
    probabilities,
    soft_dice_of_batches,
)

HEIGHT, WIDTH, EPOCHS, BATCH = 160, 240, 20, 4
FIRST_MASK = "the alphabetically first mask of every image is left out (theirs: 17 of 18 images)"
IMAGES = {
    "train": (
        "5d58600e",
        "5d75a639",
        "5ddbfba2",
        "5e263abf",
        "5ef4442e",
        "5f9d29d6",
        "6aa7dd0c",
        "6ab24e7e",
        "6af82abb",
        "6b0ac2ab",
        "6b61ab2e",
        "6b6d4e6f",
    ),
    "validation": (
        "00ae65c1",
        "0a7d30b2",
        "0acd2c22",
        "0b0d5771",
        "0b2e702f",
        "0bda515e",
    ),
}
"""Its 12 + 6 images, by the first eight digits of their ImageIds (its folder microscope_data)."""
PUBLISHED = ExperimentConfig(
    model=ModelConfig(
        in_channels=3,
        classes=1,
        padding="same",
        normalization="batch",
        dropout=0.0,
        initialization="pytorch",
    ),
    training=TrainingConfig(
        input_tile_px=HEIGHT,
        batch_size=BATCH,
        loss="logistic",
        optimizer="adamw",
        momentum=0.9,
        learning_rate=1e-3,
        weight_decay=0.01,
        warmup_steps=0,
        schedule="constant",
    ),
)
QUICK = replace(PUBLISHED, training=replace(PUBLISHED.training, precision="bfloat16"))
AUGMENT = partial(rotate_and_flip, degrees=35.0, horizontal=0.5, vertical=0.1)


def read_without(pair: Pair, *, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and foreground of a pair without its first masks in alphabetical order."""
    image, nuclei = read_nuclei(pair)
    return image, nuclei > first


def load(data: Path | None) -> PairSet:
    """The set with the system's 18 images in it; ValueError names those that are missing."""
    nuclei = load_nuclei(data)
    for part in IMAGES:
        of_part(nuclei, part)
    return nuclei


def of_part(nuclei: PairSet, part: str) -> PairSet:
    """The system's images of 'train' or 'validation'."""
    by_prefix = {pair.name[:8]: pair.name for pair in nuclei.pairs}
    names = [by_prefix.get(prefix, f"{prefix}…") for prefix in IMAGES[part]]
    return replace(nuclei, pairs=choose(nuclei.pairs, names))


def prepare(data: Path | None, seed: int, device: str, *, first: int) -> Task:
    """The system's own 12 + 6 images."""
    nuclei = load(data)

    def examples(part: str, left_out: int) -> list[Example]:
        read = partial(read_without, first=left_out)
        return examples_of(of_part(nuclei, part), HEIGHT, WIDTH, read)

    trained, scored = examples("train", first), examples("validation", 0)
    with_their_labels = examples("validation", first)

    def evaluate(network: UNet) -> dict[str, Metrics]:
        predicted = probabilities(network, [example.image for example in scored])
        labels = [example.labels for example in with_their_labels]
        theirs = {
            "batch Dice, soft, their labels": soft_dice_of_batches(labels, predicted, BATCH),
            "IoU, their labels": iou(np.stack(labels), np.stack(predicted)),
        }
        return {
            "theirs": theirs,
            "honest": per_image([example.labels for example in scored], predicted),
        }

    return Task(
        ExampleSequence(trained, seed=seed, augment=AUGMENT),
        len(trained),
        evaluate,
        nuclei.source,
        dict(nuclei.hashes),
        {"trained on": f"{len(trained)} images", "scored": f"{len(scored)} images"},
    )


def arms(preset: str) -> tuple[Arm, ...]:
    """As published, and with all nuclei."""
    config = PUBLISHED if preset == "published" else QUICK
    return (
        Arm("published", config, EPOCHS, partial(prepare, first=1), (FIRST_MASK,)),
        Arm("mended", config, EPOCHS, partial(prepare, first=0)),
    )


SYSTEM = System(
    title="Nuclei (Data Science Bowl 2018)",
    repository="swodesh-2001/Unet-Scratch @ f94a490",
    published=(),
    arms=arms,
    compare="IoU",
    meaning=(
        "Its own labels lack the nucleus in training and validation alike, so that its own "
        "figures cannot show what that costs; only figures of the whole labels can. So few "
        "images, with one run an arm, do not settle whether it costs anything."
    ),
    data="dsb2018",
    load=load,
    not_rerun=("`--load_model` is on by default, so that a fresh run fails without a checkpoint",),
)
