"""deeplearningcafe/unet-pytorch on the EM stack, which "did not converge".

Images are enlarged from 512 to 572 pixels before they are cut into tiles, labels are not: what the
network sees lies up to 41 pixels, along each axis, from what it is told. Image and mask are
deformed by two different elastic fields, and rotation fills the corners of the mask with membrane.
Its README blames rotation and the distance weight; the mended arm has both. The arms `unaligned`
and `aligned` have neither and differ in nothing but the enlargement.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from skimage.transform import resize, rotate

from unet2015.augmentation.deformation import deform, random_displacement
from unet2015.augmentation.samples import training_tiles
from unet2015.augmentation.tile import TrainingTile
from unet2015.config import (
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
    WeightMapConfig,
)
from unet2015.data.gray_scale import GrayScale
from unet2015.data.isbi2012 import load_isbi2012
from unet2015.inference.prediction import predict_image
from unet2015.metrics import challenge_scores
from unet2015.model import CELL, UNet, context_margin_px
from unet2015.studies.reimplementation import Arm, Metrics, System, Task

TILE_PX, OUTPUT_PX, SCORED, QUICK_EPOCHS, EPOCHS = 572, 388, 3, 3, 200
UNALIGNED = "images are enlarged from 512 to 572 px before they are cut into tiles, labels are not"
TWO_FIELDS = "image and mask are deformed by two different elastic fields"
FILLED = "rotation fills the corners of the mask with membrane"
NO_DISTANCE = "the border weights are switched off"
_STREAM = 14
PUBLISHED = ExperimentConfig(
    model=ModelConfig(width=32, normalization="batch", dropout=0.1, initialization="pytorch"),
    weight_map=WeightMapConfig(w0=0.0, class_weights="none"),
    training=TrainingConfig(
        input_tile_px=TILE_PX,
        batch_size=1,
        optimizer="adamw",
        momentum=0.9,
        learning_rate=1e-4,
        weight_decay=0.01,
        schedule="cosine",
        gradient_clip=1.0,
    ),
    prediction=PredictionConfig(averaging="none"),
)
QUICK = replace(
    PUBLISHED,
    model=replace(PUBLISHED.model, width=16),
    training=replace(PUBLISHED.training, learning_rate=1e-3, precision="bfloat16"),
    prediction=replace(PUBLISHED.prediction, precision="bfloat16"),
)


def enlarged(image: np.ndarray) -> np.ndarray:
    """A (512, 512) image at 572 × 572 px."""
    return np.asarray(resize(image, (TILE_PX, TILE_PX), order=1), np.float32)


@dataclass(frozen=True, eq=False)
class UnalignedTiles:
    """The four corner tiles of each image, cut from the enlarged image and the label as it is."""

    images: list[np.ndarray]
    """(512, 512) float32."""
    labels: list[np.ndarray]
    seed: int
    augment: bool = True
    """With the two fields and the filled corners; else the misalignment alone."""
    enlarge: bool = True
    """False: the same tiles of the image as it is, where the label belongs to it."""

    def __getitem__(self, k: int) -> TrainingTile:
        rng = np.random.default_rng([self.seed, _STREAM, k])
        index, corner = rng.integers(len(self.images)), rng.integers(4)
        image, label = self.images[index], self.labels[index]
        if self.enlarge:
            image = enlarged(image)
        if self.augment:
            image, label = _deformed_apart(image, label, rng)
        margin = context_margin_px()
        around = np.pad(image, margin, mode="reflect")
        bottom, right = divmod(int(corner), 2)
        inner, outer = len(label) - OUTPUT_PX, len(image) - OUTPUT_PX
        tile = around[bottom * outer :, right * outer :][:TILE_PX, :TILE_PX]
        part = label[bottom * inner :, right * inner :][:OUTPUT_PX, :OUTPUT_PX]
        return TrainingTile(
            np.ascontiguousarray(tile[None]),
            np.ascontiguousarray(part),
            np.ones(part.shape, np.float32),
        )


def _deformed_apart(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One angle for both, but a field for each, and membrane where the mask has no corner."""
    angle = rng.uniform(0, 360)
    turned = rotate(image, angle, mode="reflect", order=1, preserve_range=True)
    mask = rotate(label, angle, mode="constant", cval=0, order=0, preserve_range=True)
    fields = (random_displacement(rng), random_displacement(rng))
    return (
        np.clip(deform([turned.astype(np.float32)], fields[0], orders=[1])[0], 0, 1),
        deform([mask.astype(np.uint8)], fields[1], orders=[0])[0],
    )


def as_it_is(image: np.ndarray) -> np.ndarray:
    """The image."""
    return image


def prepare(
    data: Path | None, seed: int, device: str, *, config: ExperimentConfig, tiles: str
) -> Task:
    """27 slices to train on and the last three to score, a tenth as published."""
    stack = load_isbi2012(data)
    scale = GrayScale.of(stack.train_images)
    images, labels = scale.apply(stack.train_images), (stack.train_labels > 0).astype(np.uint8)
    trained, scored = slice(0, -SCORED), slice(-SCORED, None)
    source = {
        "aligned": lambda: training_tiles(images[trained], labels[trained], config, seed=seed),
        "unaligned": lambda: UnalignedTiles(
            list(images[trained]), list(labels[trained]), seed, augment=False
        ),
        "corners": lambda: UnalignedTiles(
            list(images[trained]), list(labels[trained]), seed, augment=False, enlarge=False
        ),
        "published": lambda: UnalignedTiles(list(images[trained]), list(labels[trained]), seed),
    }[tiles]()
    see = as_it_is if tiles in ("aligned", "corners") else enlarged
    return Task(
        source,
        4 * len(images[trained]),
        partial(_evaluate, images[scored], labels[scored], config.prediction, see),
        stack.source,
        dict(stack.hashes),
        {"trained on": f"{len(images[trained])} slices", "scored": f"{SCORED} slices"},
    )


def _evaluate(
    images: np.ndarray,
    labels: np.ndarray,
    settings: PredictionConfig,
    see: Callable[[np.ndarray], np.ndarray],
    network: UNet,
) -> dict[str, Metrics]:
    """The challenge's metrics of the predicted slices, and how far the prediction follows them."""
    found = []
    for image in images:
        plane = predict_image(network, see(image)[None], settings)[CELL]
        found.append(np.asarray(resize(plane, image.shape, order=1), np.float32).clip(0, 1))
    predicted = np.stack(found)
    varies = predicted.std() > 0 and labels.std() > 0  # else there is no correlation
    correlation = float(np.corrcoef(predicted.ravel(), labels.ravel())[0, 1]) if varies else 0.0
    scores = challenge_scores(labels, predicted).as_dict()
    names = {"pixel error": "pixel_error", "V^Rand": "v_rand_thinned", "V^Info": "v_info_thinned"}
    honest = {shown: float(scores[key]["value"]) for shown, key in names.items()}
    return {"theirs": {}, "honest": honest | {"correlation with the labels": correlation}}


def arms(preset: str) -> tuple[Arm, ...]:
    """As published; with the misalignment alone and without; mended, all of the paper's on."""
    config, epochs = (PUBLISHED, EPOCHS) if preset == "published" else (QUICK, QUICK_EPOCHS)
    weighted = replace(config, weight_map=WeightMapConfig())
    remarks = (f"{epochs} epochs of four tiles a slice (published: not on record)",)

    def arm(name: str, own: ExperimentConfig, tiles: str, defects: tuple[str, ...] = ()) -> Arm:
        task = partial(prepare, config=own, tiles=tiles)
        return Arm(name, own, epochs, task, defects, warmup_epochs=1, remarks=remarks)

    return (
        arm("published", config, "published", (UNALIGNED, TWO_FIELDS, FILLED, NO_DISTANCE)),
        arm("unaligned", config, "unaligned", (UNALIGNED, NO_DISTANCE)),
        arm("aligned", config, "corners", (NO_DISTANCE,)),
        arm("mended", weighted, "aligned"),
    )


SYSTEM = System(
    title='EM stack, "did not converge"',
    repository="deeplearningcafe/unet-pytorch @ b3c1519",
    published=(),
    arms=arms,
    compare="correlation with the labels",
    meaning=(
        "`unaligned` and `aligned` differ in the enlargement alone: what lies between them is the "
        "misalignment's. `published` and `mended` differ in all defects and in the rest of the "
        "augmentation. No arm has both the misalignment and border weights, which the code as "
        "published leaves out. Cell everywhere is the worst there is in pixel error and in "
        "V^Rand, both of which are of the best threshold: at threshold 0 any prediction is cell "
        "everywhere. (Computed from the labels of the scored slices, by a test of "
        "tests/test_committed_results.py: its pixel error is exactly the highest one that "
        "several runs share, and its V^Rand lies below that of every run.) A V^Rand that is a "
        "little better is no success: at the corners of the image, from which on image and label "
        "come apart, they fit, and something may be learnt there."
    ),
    data="isbi2012",
    load=load_isbi2012,
    not_rerun=(
        "JPEG labels with 51 gray levels",
        "d2 := d1 in the weight map, because the term is commented out at this commit",
        "validation in training mode (normalisation by the batch, drop-out on), because it has no "
        "figure of the EM stack on record that this would change: every arm is scored in "
        "evaluation mode; `penn_fudan` shows what it does",
        "batches of 10 (its code at this commit, read for Penn-Fudan): one tile a step here, as in "
        "the paper",
        "8-bit AdamW: AdamW here",
    ),
)
