"""Hiroaki-K4/unet-pytorch: find the Go logo in synthetic images with an unpadded U-Net.

The label is the mask of the whole 572-pixel image shrunk to the 388 pixels of the output, not its
centre: it shows the logo somewhere else and smaller than the network sees it.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from unet2015.augmentation.whole_images import Example, ExampleSequence
from unet2015.config import ExperimentConfig, ModelConfig, TrainingConfig
from unet2015.data.go_logo import load_go_logo
from unet2015.model import UNet, valid_output_size
from unet2015.studies.reimplementation import Arm, Metrics, System, Task, per_image, probabilities

INPUT_PX, IMAGES, EPOCHS = 572, 200, 5
SHRUNK = "the label is the whole mask, shrunk to the output's size"
PUBLISHED = ExperimentConfig(
    model=ModelConfig(classes=1, dropout=0.0, initialization="pytorch"),
    training=TrainingConfig(
        input_tile_px=INPUT_PX,
        batch_size=4,
        loss="logistic",
        positive_weight=10.0,
        optimizer="adam",
        momentum=0.9,
        learning_rate=1e-4,
        warmup_steps=0,
        schedule="constant",
    ),
)
# three quarters of the steps, a sixteenth of the work each; a narrow network needs a higher rate
QUICK = replace(
    PUBLISHED,
    model=replace(PUBLISHED.model, width=16),
    training=replace(PUBLISHED.training, learning_rate=1e-3, precision="bfloat16"),
)


def label(mask: np.ndarray, *, shrunk: bool) -> np.ndarray:
    """The (388, 388) label of a (572, 572) mask: its centre, or, as published, all of it shrunk."""
    side = valid_output_size(len(mask))
    if shrunk:
        small = Image.fromarray(mask.astype(np.uint8)).resize(
            (side, side), Image.Resampling.NEAREST
        )
        return np.array(small)
    margin = (len(mask) - side) // 2
    return mask[margin : margin + side, margin : margin + side].astype(np.uint8)


def prepare(data: Path | None, seed: int, device: str, *, count: int, shrunk: bool) -> Task:
    """`count` images to train on, and a tenth as many of another seed."""
    logo = load_go_logo(data)

    def examples(of_seed: int, number: int, *, as_published: bool) -> list[Example]:
        made = []
        for k in range(number):
            image, mask = logo.pair(of_seed, k)
            gray = np.asarray(Image.fromarray(image).convert("L"), np.float32) / np.float32(255)
            made.append(Example(str(k), None, gray[None], label(mask, shrunk=as_published)))
        return made

    trained = examples(seed, count, as_published=shrunk)
    fresh = examples(seed + 1, max(10, count // 10), as_published=False)

    def evaluate(network: UNet) -> dict[str, Metrics]:
        """Theirs: a look at its own training images, here with their labels."""
        found = []
        for chosen in (trained[: len(fresh)], fresh):
            images = [example.image for example in chosen]
            predicted = probabilities(network, images)
            found.append(per_image([example.labels for example in chosen], predicted))
        theirs = {"IoU with the training labels": found[0]["IoU"]}
        return {"theirs": theirs, "honest": found[1]}

    return Task(
        ExampleSequence(trained, seed=seed),
        count,
        evaluate,
        logo.source,
        logo.hashes,
        {"trained on": f"{count} synthetic images", "scored": f"{len(fresh)} of another seed"},
    )


def arms(preset: str) -> tuple[Arm, ...]:
    """As published, and with the label's centre."""
    config = PUBLISHED if preset == "published" else QUICK
    count, epochs = (IMAGES, EPOCHS) if preset == "published" else (IMAGES // 4, 2 * EPOCHS)
    remarks = () if preset == "published" else (f"{count} images, {epochs} epochs",)
    published = partial(prepare, count=count, shrunk=True)
    mended = partial(prepare, count=count, shrunk=False)
    return (
        Arm("published", config, epochs, published, (SHRUNK,), remarks=remarks),
        Arm("mended", config, epochs, mended, remarks=remarks),
    )


SYSTEM = System(
    title="Go logo",
    repository="Hiroaki-K4/unet-pytorch @ 805d3ea",
    published=(),
    arms=arms,
    compare="IoU",
    meaning=(
        "The label as published shows the logo at another place and size than the output's "
        "pixels stand for. How far off depends on the place in the image, which nothing tells "
        "unpadded convolutions. What longer training would make of it, a single short run does "
        "not show; high agreement with those labels would be agreement with wrong ones."
    ),
    data="golang-logo",
    load=load_go_logo,
)
