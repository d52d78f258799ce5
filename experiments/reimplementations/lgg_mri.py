"""ris27hav/model-zoo: low-grade glioma in brain MRI, with images and masks paired at random.

Images and masks are sorted apart from each other, and "_1.tif" comes before "_10.tif" but
"_10_mask.tif" before "_1_mask.tif": most images get the mask of another slice. Slices of one
patient lie on both sides of the split, and inputs are divided by 255 twice.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from unet2015.augmentation.whole_images import ExampleSequence, examples_of, split_off
from unet2015.config import ExperimentConfig, ModelConfig, TrainingConfig
from unet2015.data.lgg import load_lgg
from unet2015.data.pairs import Pair
from unet2015.model import UNet
from unet2015.studies.reimplementation import Arm, Metrics, System, Task, per_image, probabilities

SIDE, EPOCHS, QUICK_EPOCHS, BATCH = 256, 50, 8, 16
SCORED = 729 / 3929
UNSEEN = 0.25
"""Share of the patients that no arm trains on (ours)."""
MISPAIRED = "images and masks are paired by two sorted lists"
LEAK = "its own validation has slices of the patients that it trains on"
TWICE = "inputs are divided by 255 twice"
PUBLISHED = ExperimentConfig(
    model=ModelConfig(
        in_channels=3,
        classes=1,
        width=16,
        padding="same",
        normalization="batch",
        dropout=0.0,
        initialization="pytorch",
    ),
    training=TrainingConfig(
        input_tile_px=SIDE,
        batch_size=BATCH,
        loss="logistic_dice",
        optimizer="adam",
        momentum=0.9,
        learning_rate=3e-3,
        final_learning_rate=3e-4,
        weight_decay=1e-5,
        warmup_steps=0,
        schedule="cosine",
    ),
)
QUICK = replace(PUBLISHED, training=replace(PUBLISHED.training, precision="bfloat16"))


def paired_by_sorting(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The k-th image in the order of file names with the k-th mask in theirs."""
    images = sorted(pairs, key=lambda pair: str(pair.image))
    masks = sorted(pairs, key=lambda pair: str(pair.mask))
    return tuple(replace(a, mask=b.mask) for a, b in zip(images, masks, strict=True))


def prepare(data: Path | None, seed: int, device: str, *, mispaired: bool, twice: bool) -> Task:
    """Slices of three quarters of the patients, of which a share is its own validation; the rest
    of the patients are scored."""
    slices = load_lgg(data)
    divide_by = 255.0**2 if twice else 255.0
    right = examples_of(slices, SIDE, SIDE, divide_by=divide_by)
    theirs = right
    if mispaired:
        wrong = replace(slices, pairs=paired_by_sorting(slices.pairs))
        by_name = {e.name: e for e in examples_of(wrong, SIDE, SIDE, divide_by=divide_by)}
        theirs = [by_name[example.name] for example in right]
    seen, scored = split_off([example.group for example in right], UNSEEN, seed=seed)
    train, left_out = split_off(seen, SCORED, seed=seed)
    own_validation = [seen[k] for k in left_out]

    def evaluate(network: UNet) -> dict[str, Metrics]:
        own = per_image(
            [theirs[k].labels for k in own_validation],
            probabilities(network, [theirs[k].image for k in own_validation]),
        )
        unseen = probabilities(network, [right[k].image for k in scored])
        return {
            "theirs": {name: own[name] for name in ("IoU pooled", "Dice pooled")},
            "honest": per_image([right[k].labels for k in scored], unseen),
        }

    patients = sorted({str(right[k].group) for k in scored})
    return Task(
        ExampleSequence([theirs[seen[k]] for k in train], seed=seed),
        len(train),
        evaluate,
        slices.source,
        dict(slices.hashes),
        {
            "trained on": f"{len(train)} slices",
            "scored": f"{len(scored)} slices of {len(patients)} patients",
        },
    )


def arms(preset: str) -> tuple[Arm, ...]:
    """As published; and with the right pairs, divided by 255 once."""
    config, epochs = (PUBLISHED, EPOCHS) if preset == "published" else (QUICK, QUICK_EPOCHS)
    remarks = ("convolutions have biases, which batch normalisation cancels",)
    remarks += (f"{epochs} epochs (its code: {EPOCHS}, its README: 90)",)
    published = partial(prepare, mispaired=True, twice=True)
    mended = partial(prepare, mispaired=False, twice=False)
    return (
        Arm("published", config, epochs, published, (MISPAIRED, LEAK, TWICE), remarks=remarks),
        Arm("mended", config, epochs, mended, remarks=remarks),
    )


SYSTEM = System(
    title="Brain MRI (LGG)",
    repository="ris27hav/model-zoo @ d5d4606, semantic_segmentation/UNet_Pytorch",
    published=(("IoU, validation", "0.62"), ("Dice, validation", "0.76")),
    arms=arms,
    compare="Dice pooled",
    meaning=(
        "Two defects that change the training, the pairing and the second division by 255, are "
        "mended together: the difference cannot be attributed to either. The published arm's own "
        "figures are of wrong masks too. Where a mended network does better on its own "
        "validation than on unseen patients, slices of the same patients may be why; the unseen "
        "patients are too few to tell."
    ),
    data="LGG-kaggle_3m",
    load=load_lgg,
)
