"""The EM stack of the ISBI 2012 segmentation challenge (paper §4): found or downloaded, verified.

Thirty sections, 512 × 512 px, of the ventral nerve cord of a Drosophila first instar larva, serial
section transmission electron microscopy, 4 × 4 × 50 nm per pixel; labels: 0 = membrane, 255 = cell.
Terms: non-commercial segmentation software only, and publications cite Cardona et al. 2010,
doi:10.1371/journal.pbio.1000502. The data are never part of this repository.
"""

import hashlib
import itertools
import tempfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from unet2015.data.download import cache_folder, fetch, refuse_bomb, usual_folders
from unet2015.data.given_folder import check_given_folder
from unet2015.data.labels import binary_labels
from unet2015.data.tiff import read_stack
from unet2015.runtime.atomic import write_bytes

ARCHIVE_URL = "https://downloads.imagej.net/ISBI-2012-challenge.zip"
"""Linked from https://imagej.net/events/isbi-2012-segmentation-challenge."""
TRAIN_IMAGES, TRAIN_LABELS = "train-volume.tif", "train-labels.tif"
TEST_IMAGES, TEST_LABELS = "test-volume.tif", "test-labels.tif"
SHAPE = (30, 512, 512)
"""Slices, height, width."""
PIXEL_SHA256 = {
    TRAIN_IMAGES: "200da3d452d726e6c9ca1ce04b869d4edb727320d23b516d01cce707dc8c4760",
    TRAIN_LABELS: "a7cb64000a1a7e542682927e19c91339f58f9f178e0bcce4e207371116f0ca36",
    TEST_IMAGES: "1b58fa7ec1d0ff9d39a855622db3ff66a97863036339b0d04be51b2f5a99b0e9",
}
"""SHA-256 of the pixels, C order: taken from copies in four unrelated repositories that agree
pixel for pixel. The test labels' is not known."""


@dataclass(frozen=True, eq=False)
class EMStack:
    """An EM stack with its segmentation; arrays are (slices, height, width) uint8."""

    name: str
    """'isbi2012' or 'phantom'."""
    train_images: np.ndarray
    """Gray values 0-255."""
    train_labels: np.ndarray
    """0 = membrane, 1 = cell."""
    test_images: np.ndarray | None
    """Gray values 0-255; None if there is no test volume."""
    test_labels: np.ndarray | None
    """0 = membrane, 1 = cell; None if they are not available."""
    hashes: dict[str, str] = field(default_factory=dict)
    """File name → SHA-256 of its pixels."""
    source: str = ""
    """Where the stack was found, in words."""


def load_isbi2012(
    directory: str | Path | None = None, *, download: bool = True, progress: bool = True
) -> EMStack:
    """The ISBI 2012 EM stack, verified by the SHA-256 of its pixels whatever the TIFF's encoding.

    Looked for in `directory`, and nowhere else if that is given; otherwise in
    $UNET2015_DATA/isbi2012, then in the per-user cache, and then, with `download`, fetched from
    `ARCHIVE_URL` into that cache (`progress`: with a progress bar). train-volume.tif and
    train-labels.tif must be there, test-volume.tif and test-labels.tif may; of the latter the hash
    is unknown, so that it is recorded, and only shape and values are checked.

    Raises FileNotFoundError, naming every way to supply the data, if they are nowhere; ValueError
    for a file with other pixels than the challenge's, naming what was found and expected.
    """
    if directory is not None:
        folder = Path(directory)
        needed = f"{TRAIN_IMAGES} and {TRAIN_LABELS}"
        check_given_folder(folder, "isbi2012", needed, ARCHIVE_URL)
        if missing := _missing(folder):
            nested = folder / "isbi2012"
            hint = "" if _missing(nested) else f"; they are in {nested}: give that folder"
            raise FileNotFoundError(f"--data {folder}: has no {' and no '.join(missing)}{hint}")
        return _load(folder, "the folder given with --data")
    looked = []
    for folder, words in usual_folders("isbi2012", _cache()):
        if not (missing := _missing(folder)):
            return _load(folder, words)
        looked.append(f"{words} ({folder}) has no {' and no '.join(missing)}")
    if not download:
        raise FileNotFoundError(_how_to_supply(looked, "not allowed (download=False)"))
    try:
        return _download(_cache(), progress=progress)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise FileNotFoundError(_how_to_supply(looked, f"failed: {error}")) from error


def five_folds(slices: int = 30, folds: int = 5) -> tuple[range, ...]:
    """The slices held out in each fold: contiguous, because neighbouring slices are alike.

    Not specified in the paper, which scores on the challenge's server. Our choice: 0-5, …, 24-29;
    where `slices` is no multiple of `folds`, the first ones are longer by one. Raises ValueError
    unless 2 ≤ folds ≤ slices.

    >>> five_folds()
    (range(0, 6), range(6, 12), range(12, 18), range(18, 24), range(24, 30))
    """
    if not 2 <= folds <= slices:
        raise ValueError(f"folds = {folds} of {slices} slices: must be 2 … {max(slices, 2)}")
    length, longer = divmod(slices, folds)
    starts = [fold * length + min(fold, longer) for fold in range(folds + 1)]
    return tuple(range(start, stop) for start, stop in itertools.pairwise(starts))


def pixel_sha256(pixels: np.ndarray) -> str:
    """The SHA-256 of an array's values in C order, which does not depend on any file's encoding."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def _cache() -> Path:
    return cache_folder("isbi2012")


def _missing(folder: Path) -> list[str]:
    return [name for name in (TRAIN_IMAGES, TRAIN_LABELS) if not (folder / name).is_file()]


def _load(folder: Path, source: str) -> EMStack:
    """The stack from a folder that has at least the training files; ValueError as documented."""
    arrays, hashes = {}, {}
    for name in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
        path = folder / name
        if path.is_file():
            arrays[name], hashes[name] = _verified(path)
    return EMStack(
        name="isbi2012",
        train_images=arrays[TRAIN_IMAGES],
        train_labels=arrays[TRAIN_LABELS],
        test_images=arrays.get(TEST_IMAGES),
        test_labels=arrays.get(TEST_LABELS),
        hashes=hashes,
        source=f"ISBI 2012 EM segmentation challenge, {source}",
    )


def _verified(path: Path) -> tuple[np.ndarray, str]:
    """The images, or the labels as 0 and 1, of one file; and the hash of its pixels."""
    pixels = read_stack(path, option=None)
    remedy = f"take the challenge's own {path.name} (from {ARCHIVE_URL}) instead"
    for what, found, expected in (
        ("slices", len(pixels), SHAPE[0]),
        ("shape", pixels.shape, SHAPE),
        ("dtype", pixels.dtype.name, "uint8"),
        ("SHA-256 of the pixels", found_hash := pixel_sha256(pixels), PIXEL_SHA256.get(path.name)),
    ):
        if expected is not None and found != expected:
            raise ValueError(f"{path}: {what} {found}, expected {expected}; {remedy}")
    is_labels = path.name in (TRAIN_LABELS, TEST_LABELS)
    return (binary_labels(pixels, path, SHAPE) if is_labels else pixels), found_hash


def _download(cache: Path, *, progress: bool) -> EMStack:
    """Fetch, unpack and verify beside the cache; only then put the files into it."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".download-") as temporary:
        archive = Path(temporary) / "archive.zip"
        fetch(ARCHIVE_URL, archive, progress=progress)
        unpacked = Path(temporary) / "isbi2012"
        _unpack(archive, unpacked)
        _leave_out_odd_test_labels(unpacked / TEST_LABELS)
        stack = _load(unpacked, f"downloaded from {ARCHIVE_URL}")
        cache.mkdir(exist_ok=True)
        # the training files last: the cache counts as filled when both are there
        for path in sorted(unpacked.iterdir()):
            path.replace(cache / path.name)
    return stack


def _leave_out_odd_test_labels(path: Path) -> None:
    """Go on without test labels that are none: they are optional, and their hash is not known."""
    if path.is_file():
        try:
            _verified(path)
        except ValueError as error:
            path.unlink()
            warnings.warn(f"test labels of {ARCHIVE_URL} left out: {error}", stacklevel=4)


def _unpack(archive: Path, folder: Path) -> None:
    """Write the challenge's TIFFs, and nothing else, from a zip file into `folder`.

    Only a member's last name is used, so that none can land elsewhere. Raises BadZipFile for a
    damaged archive and for one without the training files.
    """
    with zipfile.ZipFile(archive) as file:
        refuse_bomb(file, archive.stat().st_size)
        for wanted in (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS):
            members = [name for name in file.namelist() if name.split("/")[-1] == wanted]
            if members:
                write_bytes(folder / wanted, file.read(min(members, key=len)))
    if missing := _missing(folder):
        raise zipfile.BadZipFile(f"the archive has no {' and no '.join(missing)}")


def _how_to_supply(looked: list[str], download: str) -> str:
    places = "".join(f"\n  {place};" for place in looked)
    return (
        f"the ISBI 2012 EM stack was not found:{places}\n  download {download}.\n"
        f"Supply it in one of three ways: --data DIR with {TRAIN_IMAGES} and {TRAIN_LABELS}; the "
        f"environment variable UNET2015_DATA naming the folder that holds isbi2012/; or an "
        f"internet connection, for {ARCHIVE_URL} (kept in {_cache()})"
    )
