"""The Carvana Image Masking Challenge: cars from sixteen sides each, with masks.

5088 photographs, 1918 × 1280 px, of 318 cars, which turn on a platform; a later re-implementation
of the U-Net compares activation functions on them. Views of one car are nearly the same picture.
Terms: the rules of the Kaggle competition; no open licence is known, so that no image, crop or
overlay is part of this repository.
"""

from pathlib import Path

from unet2015.data.pairs import PairSet, find_folder, hash_pairs, named_files, pair_files

NAME = "carvana"
IMAGES, MASKS = "train", "train_masks"
OFFICIAL_PAIRS, OFFICIAL_CARS = 5088, 318
HOW_TO_GET = (
    "Get it with a Kaggle account that has accepted the rules of "
    "https://www.kaggle.com/c/carvana-image-masking-challenge:\n"
    "  kaggle competitions download -c carvana-image-masking-challenge -f train.zip\n"
    "  kaggle competitions download -c carvana-image-masking-challenge -f train_masks.zip\n"
    f"and unpack both into the folder {NAME}/, which then has {IMAGES}/<car>_<view>.jpg and "
    f"{MASKS}/<car>_<view>_mask.gif (a part of the cars will do, image and mask of each view)."
)


def load_carvana(data: str | Path | None = None) -> PairSet:
    """The pairs of the Carvana set that are there, whole or a part; the group is the car.

    data: the folder, and no other is looked at if it is given; see `find_folder`. Pairs are named
    <car>_<view>; masks are GIFs of 0 and 255. Nothing is downloaded: Kaggle asks for an account.

    Raises FileNotFoundError with what to do if the set is nowhere; ValueError for files that are
    named otherwise, and for images without masks and masks without images, all of them.
    """
    folder, words = find_folder(data, NAME, (IMAGES, MASKS), HOW_TO_GET)
    pairs = pair_files(
        named_files(folder / IMAGES, r"([0-9a-z]+_\d\d)\.jpg", "<car>_<view>.jpg"),
        named_files(folder / MASKS, r"([0-9a-z]+_\d\d)_mask\.gif", "<car>_<view>_mask.gif"),
        group=_car,
    )
    cars = len({pair.group for pair in pairs})
    return PairSet(
        name=NAME,
        folder=folder,
        pairs=pairs,
        source=(
            f"Carvana Image Masking Challenge, {words}; {len(pairs)} of {OFFICIAL_PAIRS} pairs, "
            f"{cars} of {OFFICIAL_CARS} cars"
        ),
        hashes=hash_pairs(folder, pairs),
    )


def _car(name: str) -> str:
    return name.split("_")[0]
