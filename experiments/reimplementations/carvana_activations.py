"""AllenWrong/From-Scratch: four activation functions on Carvana's cars.

The skip connections carry the maps after the pooling, padded with zeros to the size of the maps
that they are put beside: at half the scale, out of register, and none at full resolution. The loss
takes scores, but gets their sigmoid. Views of one car are on both sides of the split.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unet2015.augmentation.whole_images import (
    ExampleSequence,
    examples_of,
    rotate_and_flip,
    split_off,
)
from unet2015.config import ExperimentConfig, ModelConfig, TrainingConfig
from unet2015.data.carvana import load_carvana
from unet2015.loss import loss_of
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

HEIGHT, WIDTH, EPOCHS, QUICK_EPOCHS, BATCH, EVAL_BATCH, SHARE = 160, 240, 5, 8, 64, 16, 0.2
HALF_SCALE = "the skips carry the pooled maps, padded with zeros"
TWO_SIGMOIDS = "the loss takes the sigmoid of what is a probability already"
LEAK = "its own validation has views of the cars that it trains on"
UNSEEN = 0.2
"""Share of the cars that no arm trains on (ours)."""
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
        optimizer="adam",
        momentum=0.9,
        learning_rate=1e-3,
        warmup_steps=0,
        schedule="constant",
    ),
)
QUICK = replace(
    PUBLISHED,
    model=replace(PUBLISHED.model, width=16),
    training=replace(PUBLISHED.training, batch_size=8, precision="bfloat16"),
)
AUGMENT = partial(rotate_and_flip, degrees=35.0, horizontal=0.5, vertical=0.1)


class HalfScaleSkips(UNet):
    """The U-Net with skips from behind the pooling, centred in zeros; for padded networks."""

    def forward(self, image: Tensor) -> Tensor:
        self._check(image)
        x, skips = image, []
        for convolutions in self.contracting[:-1]:
            x = F.max_pool2d(convolutions(x), 2)
            skips.append(x)
        x = self.contracting[-1](x)
        for up, convolutions in zip(self.up, self.expansive, strict=True):
            x = up(x)
            skip = skips.pop()
            height, width = (x.shape[axis] - skip.shape[axis] for axis in (2, 3))
            top, left = height // 2, width // 2
            skip = F.pad(skip, (left, width - left, top, height - top))
            x = convolutions(torch.cat([x, skip], dim=1))
        return self.score(x)


def two_sigmoids(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The logistic loss of a probability that is taken for a score."""
    return loss_of(PUBLISHED.training)(torch.sigmoid(scores.float()), labels, weights)


def prepare(data: Path | None, seed: int, device: str, *, as_published: bool) -> Task:
    """Views of four fifths of the cars, a fifth of which is its own validation."""
    cars = load_carvana(data)
    examples = examples_of(cars, HEIGHT, WIDTH)
    seen, scored = split_off([example.group for example in examples], UNSEEN, seed=seed)
    train, left_out = split_off(seen, SHARE, seed=seed)
    own = [examples[seen[k]] for k in left_out]
    unseen = [examples[k] for k in scored]

    def evaluate(network: UNet) -> dict[str, Metrics]:
        labels, images = [e.labels for e in own], [e.image for e in own]
        soft = soft_dice_of_batches(labels, probabilities(network, images), EVAL_BATCH)
        predicted = probabilities(network, [e.image for e in unseen])
        honest = per_image([e.labels for e in unseen], predicted)
        return {"theirs": {"Dice, soft, of batches": soft}, "honest": honest}

    of_cars = {example.group for example in unseen}
    return Task(
        ExampleSequence([examples[seen[k]] for k in train], seed=seed, augment=AUGMENT),
        len(train),
        evaluate,
        cars.source,
        dict(cars.hashes),
        {
            "trained on": f"{len(train)} images",
            "scored": f"{len(scored)} images of {len(of_cars)} cars",
        },
        make_network=HalfScaleSkips if as_published else UNet,
        loss=two_sigmoids if as_published else None,
    )


def arms(preset: str) -> tuple[Arm, ...]:
    """Each activation function, as published and mended."""
    config, epochs = (PUBLISHED, EPOCHS) if preset == "published" else (QUICK, QUICK_EPOCHS)
    remarks = () if preset == "published" else (f"{epochs} epochs (published: {EPOCHS})",)
    found = []
    for activation in ("relu", "gelu", "silu", "pysilu"):
        own = replace(config, model=replace(config.model, activation=activation))
        for name, defects in (
            (f"published_{activation}", (HALF_SCALE, TWO_SIGMOIDS, LEAK)),
            (f"mended_{activation}", ()),
        ):
            task = partial(prepare, as_published=bool(defects))
            found.append(Arm(name, own, epochs, task, defects, remarks=remarks))
    return tuple(found)


SYSTEM = System(
    title="Activation functions (Carvana)",
    repository="AllenWrong/From-Scratch @ 07176fb, unet",
    published=(
        ("Dice, evaluation, ReLU", "0.9295"),
        ("Dice, evaluation, GELU", "0.9629"),
        ("Dice, evaluation, SiLU", "0.9601"),
        ("Dice, evaluation, PySiLU", "0.9602"),
    ),
    arms=arms,
    compare="Dice",
    meaning=(
        "Under two sigmoids the best output for a pixel is not its probability but the log-odds "
        "cut off at 0 and 1: a network trained to the end would put out 0 up to a probability of "
        "0.5 and 1 from 0.73, and its soft Dice coefficient would be nearly a thresholded one. "
        "The figures of runs as short as `quick` are far from that. The skips and the second "
        "sigmoid are mended together: what either costs, these arms do not tell. To compare the "
        "activation functions takes several seeds each, within `mended` only."
    ),
    data="carvana",
    load=load_carvana,
    not_rerun=("validation swaps the arguments of the loss, which no figure here depends on",),
)
