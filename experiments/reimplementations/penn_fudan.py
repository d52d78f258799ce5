"""deeplearningcafe/unet-pytorch: pedestrians of Penn-Fudan, half the width, many extras.

Its README says "LayerNorm", its code has batch normalisation; both are run. It validates in
training mode, with the batch's own statistics and with drop-out.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from unet2015.augmentation.whole_images import ExampleSequence, examples_of, split_off
from unet2015.config import ExperimentConfig, ModelConfig, TrainingConfig
from unet2015.data.penn_fudan import load_penn_fudan
from unet2015.model import UNet
from unet2015.studies.reimplementation import Arm, Metrics, System, Task, per_image, probabilities

SIDE, EPOCHS, QUICK_EPOCHS, WARMUP_EPOCHS, BATCH, SHARE = 320, 50, 5, 4, 10, 0.2
TRAIN_MODE = "validation in training mode"
SPLIT = "a fifth of the images is scored, drawn anew (the split it used was not found)"
PUBLISHED = ExperimentConfig(
    model=ModelConfig(
        in_channels=3,
        width=32,
        padding="same",
        normalization="batch",
        dropout=0.1,
        initialization="pytorch",
    ),
    training=TrainingConfig(
        input_tile_px=SIDE,
        batch_size=BATCH,
        optimizer="adamw",
        momentum=0.9,
        learning_rate=1e-4,
        weight_decay=0.01,
        schedule="cosine",
        gradient_clip=1.0,
    ),
)
QUICK = replace(
    PUBLISHED,
    model=replace(PUBLISHED.model, width=16),
    training=replace(PUBLISHED.training, learning_rate=1e-3, precision="bfloat16"),
)


def prepare(data: Path | None, seed: int, device: str, *, train_mode: bool) -> Task:
    """All 170 images, 136 to train on."""
    persons = load_penn_fudan(data)
    examples = examples_of(persons, SIDE, SIDE)
    train, scored = split_off(range(len(examples)), SHARE, seed=seed)

    def evaluate(network: UNet) -> dict[str, Metrics]:
        images = [examples[k].image for k in scored]
        truths = [examples[k].labels for k in scored]
        honest = per_image(truths, probabilities(network, images))
        if not train_mode:
            return {"theirs": {}, "honest": honest}
        theirs = per_image(truths, probabilities(network, images, train_mode=True, batch=BATCH))
        return {"theirs": {"IoU in training mode": theirs["IoU"]}, "honest": honest}

    return Task(
        ExampleSequence([examples[k] for k in train], seed=seed),
        len(train),
        evaluate,
        persons.source,
        dict(persons.hashes),
        {"trained on": f"{len(train)} images", "scored": f"{len(scored)} images"},
    )


def arms(preset: str) -> tuple[Arm, ...]:
    """As its code is, judged in both modes; and with the README's layer normalisation."""
    config, epochs, warmup = PUBLISHED, EPOCHS, WARMUP_EPOCHS
    remarks = (SPLIT, "AdamW instead of 8-bit AdamW")
    if preset == "quick":
        config, epochs, warmup = QUICK, QUICK_EPOCHS, 1
        remarks += (f"{epochs} epochs, {warmup} of warm-up (published: 50, 4)",)
    layers = replace(config, model=replace(config.model, normalization="layer"))
    common = {"warmup_epochs": warmup, "remarks": remarks}
    return (
        Arm(
            "published",
            config,
            epochs,
            partial(prepare, train_mode=True),
            (TRAIN_MODE,),
            **common,
        ),
        Arm("layer_norm", layers, epochs, partial(prepare, train_mode=False), **common),
    )


SYSTEM = System(
    title="Pedestrians (Penn-Fudan)",
    repository="deeplearningcafe/unet-pytorch @ b3c1519",
    published=(),
    arms=arms,
    compare="IoU",
    meaning=(
        "Training mode normalises each batch of validation images by itself and drops "
        "activations; the honest figure is of the same weights in evaluation mode. There is no "
        "`mended` arm because this only defect known of the system on these data changes its "
        "metric, not its training: the honest figures of `published` are the mended ones, and "
        "another arm would train the same network again. The other defects found in this "
        "repository are of its EM stack (`em_unaligned`); here image and mask are resized alike. "
        "The README's layer normalisation is another network, and no mending."
    ),
    data="PennFudanPed",
    load=load_penn_fudan,
)
