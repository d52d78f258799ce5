"""Images with a mask each, as the later re-implementations of the U-Net use them: pairs of files.

What the modules of those sets share: a set is found, its files are paired by name, and one pair is
read and resized. An image and its mask are paired by what their names have in common and never by
their places in two sorted lists, which need not be in the same order.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from unet2015.data.download import cache_folder, usual_folders
from unet2015.data.image_file import read_instances, read_mask, read_rgb


@dataclass(frozen=True)
class Pair:
    """One image and what is known of its foreground, as files; `read_pair` makes arrays of it."""

    name: str
    """Unique in its set; what the file names of image and mask have in common."""
    group: str | None
    """The car, patient … that the image shows; None where each image stands alone. Images of one
    group are alike, so that a split must not cut through it."""
    image: Path
    """The file of the image."""
    mask: Path | tuple[Path, ...]
    """The file of the mask; several, in the order of their names, where each has one object."""
    mask_holds: Literal["binary", "instances"] = "binary"
    """'binary': 0 = background and one other value. 'instances': 0 = background, each id an
    object."""
    mask_names: tuple[str, ...] = ()
    """The official file names of the objects' masks where one file holds all of them: object k is
    the k-th. Empty elsewhere."""


@dataclass(frozen=True, eq=False)
class PairSet:
    """A set of images with masks, all of its files found and paired; nothing is read into memory.

    Which part of the official set it is, `source` says.
    """

    name: str
    """The name of the set's folder under $UNET2015_DATA."""
    folder: Path
    """Where the set was found."""
    pairs: tuple[Pair, ...]
    """Sorted by name (numbers in them by value where the set's module says so)."""
    source: str
    """How much of the official set is there and where it was found, in words."""
    hashes: Mapping[str, str]
    """'images', 'masks' → `files_sha256` of the files; what a record keeps. They identify files:
    the same pixels in another encoding or layout have other hashes."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of the pairs, sorted, each once; empty for a set without groups."""
        return tuple(sorted({pair.group for pair in self.pairs if pair.group is not None}))


def find_folder(
    data: str | Path | None,
    name: str,
    needed: tuple[str, ...],
    instructions: str,
    download: Callable[[Path], str] | None = None,
) -> tuple[Path, str]:
    """The folder of the set `name` that has all of `needed`, and where that is in words.

    Looked for in `data`, and nowhere else if that is given; otherwise in $UNET2015_DATA/name, then
    in the per-user cache; then `download`, if there is one, is called to fill the cache folder
    that it is given, and returns what it did in words. needed: files or folders, relative.

    Raises FileNotFoundError with `missing_message` if the set is nowhere and cannot be downloaded.
    """
    if data is not None:
        folder = Path(data)
        if missing := _missing(folder, needed):
            nested = folder / name
            hint = "" if _missing(nested, needed) else f"; they are in {nested}: give that folder"
            place = f"--data {folder} has no {' and no '.join(missing)}{hint}"
            raise FileNotFoundError(missing_message(name, [place], instructions))
        return folder, "the folder given with --data"
    looked = []
    cache = cache_folder(name)
    for folder, words in usual_folders(name, cache):
        if not (missing := _missing(folder, needed)):
            return folder, words
        looked.append(f"{words} ({folder}) has no {' and no '.join(missing)}")
    if download is None:
        raise FileNotFoundError(missing_message(name, looked, instructions))
    try:
        return cache, download(cache)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        looked.append(f"the download failed: {error}")
        raise FileNotFoundError(missing_message(name, looked, instructions)) from error


def missing_message(name: str, looked: Iterable[str], instructions: str) -> str:
    """What to tell somebody who has not got the set `name`: the places looked at, what to do.

    looked: each place with what it lacks. instructions: where to get the set and which files go
    where; this function adds how to name the folder.
    """
    places = "".join(f"\n  {place};" for place in looked)
    return (
        f"the set {name} was not found:{places}\n{instructions}\nThe folder is found as --data "
        f"DIR, as {name} in the folder that the environment variable UNET2015_DATA names, or as "
        f"{cache_folder(name)}"
    )


def named_files(folder: Path, pattern: str, example: str) -> dict[str, Path]:
    """The files of a folder by their name in the set: what group 1 of `pattern` matches.

    pattern: a regular expression for whole file names. Files with another suffix than `example`
    and hidden ones are left out; any other that does not match raises ValueError naming it.
    """
    found = {}
    for path in sorted(folder.glob(f"*{Path(example).suffix}")):
        if path.name.startswith("."):  # what macOS leaves beside a copied file
            continue
        match = re.fullmatch(pattern, path.name)
        if match is None:
            raise ValueError(
                f"{path}: is not named as in the set, {example}; rename it or move it elsewhere"
            )
        found[match[1]] = path
    return found


def pair_files(
    images: Mapping[str, Path],
    masks: Mapping[str, Path | tuple[Path, ...]],
    group: Callable[[str], str | None],
) -> tuple[Pair, ...]:
    """Pairs of image and mask that have the same name, sorted by name (binary masks).

    images, masks: name in the set → file(s). group: name → `Pair.group`. Raises ValueError for no
    image at all, and one that lists every image without a mask and every mask without an image.

    >>> both = {"a": Path("a.jpg")}, {"a": Path("a_mask.gif")}
    >>> [(pair.name, pair.mask.name) for pair in pair_files(*both, group=lambda name: None)]
    [('a', 'a_mask.gif')]
    """
    if not images and not masks:
        raise ValueError("images: there is none, and no mask; give a folder that has pairs of both")
    lines = [f"image without a mask: {images[name]}" for name in sorted(images.keys() - masks)]
    for name in sorted(masks.keys() - images):
        lines.append(f"mask without an image: {_first(masks[name])}")
    if lines:
        raise ValueError(
            f"{len(lines)} file(s) without the other of the pair; copy what is missing or move the "
            "file elsewhere:\n  " + "\n  ".join(lines)
        )
    return tuple(Pair(name, group(name), images[name], masks[name]) for name in sorted(images))


def choose(pairs: Iterable[Pair], names: Iterable[str]) -> tuple[Pair, ...]:
    """The pairs with the given names, in the order of the names: one part of a split.

    Raises ValueError that lists all names that no pair has.
    """
    known = {pair.name: pair for pair in pairs}
    names = tuple(names)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"names: {len(unknown)} of {len(names)} are not among the {len(known)} pairs of the "
            f"set, so that part of it is missing: {', '.join(unknown)}"
        )
    return tuple(known[name] for name in names)


def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """The image, (H, W, 3) uint8 RGB, and its foreground, (H, W) bool, of one pair.

    Several mask files are united. Raises ValueError as `read_rgb` and `read_mask`, and for an
    image and a mask of different sizes, naming both files and both sizes.
    """
    image = read_rgb(pair.image)
    mask = np.zeros(image.shape[:2], dtype=bool)
    for path in pair.mask if isinstance(pair.mask, tuple) else (pair.mask,):
        part = read_mask(path) if pair.mask_holds == "binary" else read_instances(path) > 0
        check_same_size(pair.image, image, path, part)
        mask |= part
    return image, mask


def resize_pair(
    image: np.ndarray, mask: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask at another size, so that they stay aligned: pixels are areas, not points.

    image: (H, W, 3) uint8, by Pillow's BILINEAR, which is antialiased: where it shrinks, its
    triangle filter grows with the distance of the new pixels' centres. mask: (H, W) bool, the value
    at the nearest pixel centre (NEAREST), so that no new values arise. Both are our choice: the
    sizes are the later re-implementations', their interpolation is not on record. Returns
    (height, width, 3) uint8 and (height, width) bool. Raises ValueError for arrays of unequal sizes
    or other kinds, and for height or width below 1.
    """
    if height < 1 or width < 1:
        raise ValueError(f"height, width = {height}, {width}: must be at least 1")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} of shape {image.shape}: must be uint8 (H, W, 3)")
    if mask.dtype != np.bool_ or mask.shape != image.shape[:2]:
        raise ValueError(
            f"mask is {mask.dtype} of shape {mask.shape}: must be bool of the image's "
            f"{image.shape[:2]}"
        )
    size = (width, height)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    nearest = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.array(resized), np.array(nearest).astype(bool)


def check_same_size(image_path: Path, image: np.ndarray, mask_path: Path, mask: np.ndarray) -> None:
    """Raise ValueError, with both files and sizes, unless image and mask are of one size."""
    if image.shape[:2] != mask.shape[:2]:
        raise ValueError(
            f"{image_path} is {image.shape[0]} × {image.shape[1]} px (height × width), but its "
            f"mask {mask_path} is {mask.shape[0]} × {mask.shape[1]} px; take both from the same "
            "release of the set"
        )


def files_sha256(folder: Path, files: Iterable[Path]) -> str:
    """The SHA-256 over the names, relative to `folder`, and the bytes of files, in name order.

    Of the text with one line a file: name with slashes, tab, the hexadecimal SHA-256 of its bytes.
    """
    named = sorted((path.relative_to(folder).as_posix(), path) for path in files)
    total = hashlib.sha256()
    for name, path in named:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{name}\t{digest}\n".encode(errors="surrogateescape"))  # any locale's name
    return total.hexdigest()


def hash_pairs(folder: Path, pairs: Iterable[Pair]) -> dict[str, str]:
    """'images' and 'masks' → `files_sha256` of the files of pairs, which lie under `folder`."""
    pairs = tuple(pairs)
    masks = [p.mask if isinstance(p.mask, tuple) else (p.mask,) for p in pairs]
    return {
        "images": files_sha256(folder, (pair.image for pair in pairs)),
        "masks": files_sha256(folder, (path for paths in masks for path in paths)),
    }


def _missing(folder: Path, needed: tuple[str, ...]) -> list[str]:
    return [part for part in needed if not (folder / part).exists()]


def _first(mask: Path | tuple[Path, ...]) -> Path:
    return mask[0] if isinstance(mask, tuple) else mask
