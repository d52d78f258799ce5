"""The nuclei of the Data Science Bowl 2018 (BBBC038): one image, one mask file per nucleus.

stage1_train: 670 microscope images of nine sizes, fluorescence and stained tissue, with 29,461
outlined nuclei; a later re-implementation of the U-Net takes 18 of them. Licence: CC0 1.0.

Two layouts are read: the official one, and one with the same content in fewer files, where
labels.png holds all nuclei of an image and mask_names.tsv their official file names.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from unet2015.data.image_file import distinct, read_instances, read_mask, read_rgb
from unet2015.data.pairs import (
    Pair,
    PairSet,
    check_same_size,
    files_sha256,
    find_folder,
    hash_pairs,
    named_files,
    pair_files,
)
from unet2015.runtime.read_back import read_text

NAME = "dsb2018"
FOLDER = "stage1_train"
LABELS, MASK_NAMES = "labels.png", "mask_names.tsv"
SPLIT = "split_swodesh-2001_Unet-Scratch.txt"
PARTS = ("train", "validation")
OFFICIAL_PAIRS = 670
HOW_TO_GET = (
    "Get it with a Kaggle account that has accepted the rules of "
    "https://www.kaggle.com/c/data-science-bowl-2018:\n"
    "  kaggle competitions download -c data-science-bowl-2018 -f stage1_train.zip\n"
    "or without one from https://bbbc.broadinstitute.org/BBBC038 (stage1_train.zip), and unpack it "
    f"into the folder {NAME}/{FOLDER}/, which then has <ImageId>/images/<ImageId>.png and "
    "<ImageId>/masks/*.png."
)


def load_nuclei(data: str | Path | None = None) -> PairSet:
    """The images of stage1_train that are there, whole or a part, with their nuclei.

    data: the folder, and no other is looked at if it is given; see `find_folder`. Pairs are named
    by ImageId and have no group. Nothing is downloaded: Kaggle asks for an account. In the layout
    with labels.png the hashes have a third entry, 'mask names'.

    Raises FileNotFoundError with what to do if the set is nowhere, or mask_names.tsv is missing;
    ValueError for a folder without its image, for images without masks, all of them, and for a
    damaged mask_names.tsv.
    """
    folder, words = find_folder(data, NAME, (FOLDER,), HOW_TO_GET)
    images: dict[str, Path] = {}
    masks: dict[str, Path | tuple[Path, ...]] = {}
    for each in sorted(path for path in (folder / FOLDER).iterdir() if path.is_dir()):
        image = each / "images" / f"{each.name}.png"
        if image.is_file():
            images[each.name] = image
        # sorted by file name, which counts: what is left out elsewhere is the first of them
        official = named_files(each / "masks", r"(.+)\.png", "<MaskId>.png").values()
        if official:
            masks[each.name] = tuple(official)
        elif (each / LABELS).is_file():
            masks[each.name] = each / LABELS
        if each.name not in images and each.name not in masks:
            raise ValueError(
                f"{each}: has neither images/{each.name}.png nor masks; unpack the set again or "
                "move that folder elsewhere"
            )
    pairs = pair_files(images, masks, group=lambda name: None)
    hashes = hash_pairs(folder, pairs)
    if any(isinstance(pair.mask, Path) for pair in pairs):
        pairs = _with_mask_names(pairs, folder / MASK_NAMES)
        hashes["mask names"] = files_sha256(folder, [folder / MASK_NAMES])
    return PairSet(
        name=NAME,
        folder=folder,
        pairs=pairs,
        source=(
            f"Data Science Bowl 2018, stage1_train, {words}; {len(pairs)} of {OFFICIAL_PAIRS} pairs"
        ),
        hashes=hashes,
    )


def read_nuclei(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The image, (H, W, 3) uint8 RGB, and its nuclei, (H, W) int32, of one pair of this set.

    In the nuclei 0 = background and k = the nucleus whose official mask file is the k-th in the
    order of file names, so that `labels > 1` is what is left without the alphabetically first
    mask, and `labels > 0` the whole foreground, in either layout. Raises as `read_pair`, and
    ValueError for nuclei that overlap and for more or fewer ids than names, naming the file.
    """
    image = read_rgb(pair.image)
    if isinstance(pair.mask, tuple):
        labels = np.zeros(image.shape[:2], dtype=np.int32)
        for k, path in enumerate(pair.mask, start=1):
            nucleus = read_mask(path)
            check_same_size(pair.image, image, path, nucleus)
            if (labels[nucleus] != 0).any():
                raise ValueError(f"{path}: overlaps another nucleus; take the official file")
            labels[nucleus] = k
        return image, labels
    labels = read_instances(pair.mask)
    check_same_size(pair.image, image, pair.mask, labels)
    ids = distinct(labels)
    if not np.array_equal(ids[ids > 0], np.arange(1, len(pair.mask_names) + 1)):
        raise ValueError(
            f"{pair.mask}: has {np.count_nonzero(ids)} ids up to {ids.max()}, but {MASK_NAMES} has "
            f"{len(pair.mask_names)} names for this image; the ids must be 1 … "
            f"{len(pair.mask_names)}"
        )
    return image, labels


def read_split(path: str | Path) -> dict[str, tuple[str, ...]]:
    """The ImageIds of the parts 'train' and 'validation', in the order of a split file.

    One line an image: part, tab, ImageId; lines that begin with '#' are remarks. The set's folder
    may have such a file, `SPLIT`, with the 12 + 6 images that github.com/swodesh-2001/Unet-Scratch
    keeps in its folder microscope_data. Raises FileNotFoundError if there is none; ValueError
    naming the file and the line for another part, an ImageId that was there before and a part
    without an image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; write one line an image, train or validation, tab, ImageId"
        )
    split: dict[str, list[str]] = {part: [] for part in PARTS}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.startswith("#") or not line.strip():
            continue
        part, _, name = line.partition("\t")
        if part not in PARTS or not name or any(name in names for names in split.values()):
            raise ValueError(
                f"{path}: line {number} is {line!r}; must be train or validation, tab, and an "
                "ImageId that is on no line before it"
            )
        split[part].append(name)
    if empty := [part for part, names in split.items() if not names]:
        raise ValueError(f"{path}: has no image for {' and '.join(empty)}; add a line for one")
    return {part: tuple(names) for part, names in split.items()}


def _with_mask_names(pairs: tuple[Pair, ...], table: Path) -> tuple[Pair, ...]:
    """The pairs, those of the layout with labels.png with the official names of their masks."""
    if not table.is_file():
        raise FileNotFoundError(
            f"{table}: no such file; the layout with {LABELS} needs it: copy it from where the "
            "labels are from"
        )
    names = {}
    for line in read_text(table).splitlines():
        if not line.startswith("#"):
            image, _, masks = line.partition("\t")
            names[image] = tuple(masks.split())
    named = []
    for pair in pairs:
        if isinstance(pair.mask, tuple):
            named.append(pair)
            continue
        masks = names.get(pair.name, ())
        if not masks or any(one >= other for one, other in pairwise(masks)):
            raise ValueError(
                f"{table}: has {len(masks)} names for the image {pair.name}; must be one or more, "
                "sorted, each once"
            )
        named.append(replace(pair, mask_holds="instances", mask_names=masks))
    return tuple(named)
