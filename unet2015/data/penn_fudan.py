"""The Penn-Fudan Pedestrian Database (Wang, Shi, Song and Shen, ACCV 2007): found or downloaded.

170 photographs of streets, 74 of Fudan and 96 of Pennsylvania, of various sizes, with 423 outlined
pedestrians; a later re-implementation of the U-Net tells person from background on them.
Terms: copyright stays with the authors of the photographs, which may in most cases not be posted
again; no image, crop or overlay is part of this repository.
"""

import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from unet2015.data.download import fetch, unpack
from unet2015.data.image_file import distinct, read_instances
from unet2015.data.pairs import Pair, PairSet, find_folder, hash_pairs, named_files, pair_files

NAME = "PennFudanPed"
ARCHIVE_URL = "https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip"
IMAGES, MASKS = "PNGImages", "PedMasks"
OFFICIAL_PAIRS, OFFICIAL_PERSONS = 170, 423
KNOWN_HASHES = {
    "images": "f35ab23cd904a5ecdc388ee6f355c04eb2e8dfeeb774ca8f08019d7cf3ba5df4",
    "masks": "240934c35ad8493607f24384f17735951697e1a892fe676836592b91e89b937d",
}
"""Of a copy in a public repository that has the complete official content by every count and by
all annotated boxes. The official archive's own checksum is not published."""
HOW_TO_GET = (
    f"Get it from {ARCHIVE_URL} (51 MB, no account) and unpack it, so that the folder {NAME}/ has "
    f"{IMAGES}/<name>.png and {MASKS}/<name>_mask.png; with an internet connection and no --data "
    "this is done for you."
)


def load_penn_fudan(
    data: str | Path | None = None, *, download: bool = True, progress: bool = True
) -> PairSet:
    """The Penn-Fudan pairs; masks have one id per person, and their foreground is any person.

    data: the folder, and no other is looked at if it is given; see `find_folder`. Otherwise, with
    `download`, the official zip file (`progress`: with a progress bar) is unpacked into the cache.
    Its checksum is not published: the numbers of images and persons are checked, and `source` says
    whether the files are those of the copy known here. Pairs have no group.

    Raises FileNotFoundError with what to do if the set is nowhere; ValueError for files that are
    named otherwise, for images without masks and masks without images, all of them, and for an
    archive with other numbers of images or persons.
    """
    fill: Callable[[Path], str] | None = partial(_download, progress=progress) if download else None
    folder, words = find_folder(data, NAME, (IMAGES, MASKS), HOW_TO_GET, fill)
    pairs = _pairs(folder)
    hashes = hash_pairs(folder, pairs)
    known = "the files of" if hashes == KNOWN_HASHES else "other files than"
    return PairSet(
        name=NAME,
        folder=folder,
        pairs=pairs,
        source=(
            f"Penn-Fudan Pedestrian Database, {words}; {len(pairs)} of {OFFICIAL_PAIRS} pairs, "
            f"{known} the copy known here"
        ),
        hashes=hashes,
    )


def count_persons(pair: Pair) -> int:
    """The number of persons outlined in one image; errors as `read_instances`."""
    files = pair.mask if isinstance(pair.mask, tuple) else (pair.mask,)
    return sum(int(np.count_nonzero(distinct(read_instances(path)))) for path in files)


def _pairs(folder: Path) -> tuple[Pair, ...]:
    pairs = pair_files(
        named_files(folder / IMAGES, r"(\w+?)\.png", "<name>.png"),
        named_files(folder / MASKS, r"(\w+?)_mask\.png", "<name>_mask.png"),
        group=lambda name: None,
    )
    return tuple(replace(pair, mask_holds="instances") for pair in pairs)


def _download(cache: Path, *, progress: bool) -> str:
    """Fetch, unpack and count beside the cache; only then put the whole folder in its place."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".download-") as temporary:
        archive = Path(temporary) / "archive.zip"
        fetch(ARCHIVE_URL, archive, progress=progress)
        unpack(archive, Path(temporary))
        unpacked = Path(temporary) / NAME
        if not ((unpacked / IMAGES).is_dir() and (unpacked / MASKS).is_dir()):
            raise zipfile.BadZipFile(f"the archive has no {NAME}/{IMAGES} and {NAME}/{MASKS}")
        pairs = _pairs(unpacked)
        found = len(pairs), sum(map(count_persons, pairs))
        if found != (OFFICIAL_PAIRS, OFFICIAL_PERSONS):
            raise ValueError(
                f"{ARCHIVE_URL}: has {found[0]} images and {found[1]} persons, expected "
                f"{OFFICIAL_PAIRS} and {OFFICIAL_PERSONS}; nothing of it was kept. Try again, and "
                "if it stays so, give another copy with --data"
            )
        if cache.exists() and any(cache.iterdir()):
            raise FileExistsError(
                f"{cache} has some of the files but not all; remove that folder and try again"
            )
        unpacked.replace(cache)
    return f"downloaded from {ARCHIVE_URL}"
