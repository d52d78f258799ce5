"""Brain MRI with lower-grade gliomas (kaggle_3m; Buda, Saha and Mazurowski 2019).

3929 slices, 256 × 256 px, of 110 patients of The Cancer Genome Atlas; the three channels are the
pre-contrast, FLAIR and post-contrast sequences; the masks outline the abnormality in FLAIR.
Terms: CC BY-NC-SA 4.0 as the Kaggle page is remembered to say; no slice is part of this
repository; cite doi:10.1016/j.compbiomed.2019.05.002.

A patient's slices are numbered without leading zeros, so that the sorted images ("_1.tif" before
"_10.tif") and the sorted masks ("_10_mask.tif" before "_1_mask.tif") are in different orders. A
later re-implementation of the U-Net pairs the two lists by place; here they are paired by name.
"""

import re
from pathlib import Path

from unet2015.data.pairs import PairSet, find_folder, hash_pairs, named_files, pair_files

NAME = "LGG-kaggle_3m"
FOLDER = "kaggle_3m"
OFFICIAL_PAIRS, OFFICIAL_PATIENTS = 3929, 110
HOW_TO_GET = (
    "Get it with a Kaggle account from "
    "https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation:\n"
    "  kaggle datasets download -d mateuszbuda/lgg-mri-segmentation\n"
    f"and unpack it into the folder {NAME}/, which then has "
    f"{FOLDER}/<patient>/<patient>_<slice>.tif and …_<slice>_mask.tif (whole patients; some of "
    "them will do)."
)


def load_lgg(data: str | Path | None = None) -> PairSet:
    """The slices of the LGG set that are there, whole or a part; the group is the patient.

    data: the folder, and no other is looked at if it is given; see `find_folder`. Pairs are named
    <patient>_<slice> and sorted by patient and, numerically, by slice; masks are 0 and 255, all 0
    in slices without tumour. Nothing is downloaded: Kaggle asks for an account.

    Raises FileNotFoundError with what to do if the set is nowhere; ValueError for files that are
    named otherwise, and for images without masks and masks without images, all of them.
    """
    folder, words = find_folder(data, NAME, (FOLDER,), HOW_TO_GET)
    images, masks = {}, {}
    for patient in sorted(path for path in (folder / FOLDER).iterdir() if path.is_dir()):
        example = f"{patient.name}_<slice>.tif or {patient.name}_<slice>_mask.tif"
        files = named_files(patient, rf"({re.escape(patient.name)}_\d+(?:_mask)?)\.tif", example)
        for name, path in files.items():
            (masks if name.endswith("_mask") else images)[name.removesuffix("_mask")] = path
    pairs = tuple(sorted(pair_files(images, masks, _patient), key=lambda pair: _order(pair.name)))
    patients = len({pair.group for pair in pairs})
    return PairSet(
        name=NAME,
        folder=folder,
        pairs=pairs,
        source=(
            f"LGG MRI segmentation (kaggle_3m), {words}; {len(pairs)} of {OFFICIAL_PAIRS} pairs, "
            f"{patients} of {OFFICIAL_PATIENTS} patients"
        ),
        hashes=hash_pairs(folder, pairs),
    )


def _patient(name: str) -> str:
    return name.rpartition("_")[0]


def _order(name: str) -> tuple[str, int]:
    patient, _, number = name.rpartition("_")
    return patient, int(number)
