"""The ISBI cell tracking sets (paper §4, Table 2): found or downloaded, with their gold truth.

PhC-C2DH-U373: glioblastoma-astrocytoma U373 cells on a polyacrylamide substrate, phase contrast;
DIC-C2DH-HeLa: HeLa cells on glass, differential interference contrast. Two sequences each, "01"
and "02". The paper trained on 35 and 20 "partially annotated training images"; the Cell Tracking
Challenge's release of today has gold masks (GT/SEG) for 34 and 18 frames, and nobody says which
frames are gone or whether masks were redrawn.

Terms (celltrackingchallenge.net/datasets, "Conditions of use of the images"): publications cite
doi:10.1038/nmeth.4473 and acknowledge the Cell Tracking Challenge as the source; use for the
challenge needs no consent; any other public scientific use needs the permission of the data's
provider (PhC-C2DH-U373: Dr. S. Kumar, University of California at Berkeley; DIC-C2DH-HeLa:
Dr. G. van Cappellen, Erasmus Medical Center, Rotterdam); commercial use needs explicit permission.
That is no open licence: the images are never part of this repository.
"""

import importlib.util
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt

from unet2015.data.download import cache_folder, check_archive, fetch, unpack, usual_folders
from unet2015.data.given_folder import check_given_folder
from unet2015.data.isbi2012 import pixel_sha256
from unet2015.data.labels import read_instance_labels
from unet2015.data.tiff import read_stack

SEQUENCES = ("01", "02")
UNPACK_AGAIN = "unpack the official zip file again"


@dataclass(frozen=True)
class Release:
    """What is known of one set, as the challenge gives it out today."""

    archive_sha256: str
    """Of the official zip file, as other projects pin it (three of them; HeLa: one)."""
    paper_frames: int
    """Annotated frames in the paper (§4)."""
    reach_px: int
    """How far a marker is dilated where the outline of its cell is unknown (our choice: 90 % of
    the pixels of the median gold cell lie within 39.4 px, U373, and 59.1 px, HeLa, of its marker.
    Too small would teach cell as background; too large only leaves background out)."""
    pixel_sha256: Mapping[str, str]
    """Of `AnnotatedSequence.hashes`, those that the silver truth has no part in: taken from copies
    in public repositories."""


RELEASES = {
    "PhC-C2DH-U373": Release(
        archive_sha256="b18185c18fce54e8eeb93e4bbb9b201d757add9409bbf2283b8114185a11bc9e",
        paper_frames=35,
        reach_px=40,
        pixel_sha256={
            "01 images": "9a3d4d09be42a830f3dbd12ab807bedc976eaf8145ba121621eb15b626d81c4a",
            "01 instances": "1e621adfd37d7998bd205d14cad47e53ff5894ff79cc0ad7282a2a64cf13eb88",
            "02 images": "c347fa080b76315f23c69dbf3635b0a1893a16db86f08bd0249d4e6d80670d08",
            "02 instances": "07abb8f39449ef4994a716ce6db2ba0184126a1425e9ed64f9e0dff4c2d639c9",
        },
    ),
    "DIC-C2DH-HeLa": Release(
        archive_sha256="832fed2d05bb7488cf9c51a2994b75f8f3f53b3c3098856211f2d39023c34e1a",
        paper_frames=20,
        reach_px=60,
        pixel_sha256={
            "01 images": "bdead1e443d94be2df19e129e3916a7d92cb9803bc56fbb5b6fc88869ac8f59a",
            "01 instances": "dec32960e28739834cd68065e0c5ecde78befdded200edf1a698bf9a0b5e7b92",
            "02 images": "142e4fbc587b30ff3374d6ad736ee04e3e848133a79634290e796f5f8883ccce",
            "02 instances": "119b642625fff65bfe5d8002cbca1c7a42fa123a9228e2fbb37b88d38c63c6b8",
        },
    ),
}


@dataclass(frozen=True, eq=False)
class AnnotatedSequence:
    """The frames of one sequence that have a gold mask, stacked; N of them, ordered by number."""

    name: str
    """'01' or '02'."""
    frames: tuple[int, ...]
    """The N frames' numbers in the sequence; index k below is frame `frames[k]`."""
    images: np.ndarray
    """(N, H, W) uint8, gray values 0-255."""
    instances: np.ndarray
    """(N, H, W) int32, the gold masks (GT/SEG): 0 = background, each id one cell."""
    ignore: np.ndarray
    """(N, H, W) bool, where a cell is that nobody outlined, see `ignore_region`; never a pixel
    of a gold mask. Weight 0 in training; SEG does not look at it."""
    unannotated: Mapping[int, tuple[int, ...]]
    """Frame number → ids of the tracking markers without a gold mask; only frames with some."""
    frame_files: Mapping[int, Path]
    """Number → file of every frame, annotated or not, ordered by number."""
    hashes: Mapping[str, str]
    """'01 images', '01 instances', '01 ignore' → SHA-256 of the array above."""


@dataclass(frozen=True, eq=False)
class CellTracking:
    """A cell tracking set with its two training sequences; the test sequences' truth is secret."""

    name: str
    """'PhC-C2DH-U373' or 'DIC-C2DH-HeLa'."""
    sequences: Mapping[str, AnnotatedSequence]
    """By name, '01' and '02'."""
    source: str
    """Where the set was found, in words, and whether it has the pixels known here."""

    @property
    def hashes(self) -> dict[str, str]:
        """What a record keeps: the hashes of both sequences."""
        return {
            key: digest for each in self.sequences.values() for key, digest in each.hashes.items()
        }

    def read_frame(self, sequence: str, t: int) -> np.ndarray:
        """Frame `t` of a sequence, annotated or not, from its file: (H, W) uint8, 0-255.

        t: one of `sequences[sequence].frame_files`. Raises ValueError for another sequence or
        number, for another size or dtype than the annotated frames', and as `read_stack`.
        """
        if sequence not in self.sequences:
            raise ValueError(f"sequence = {sequence!r}: must be '01' or '02'")
        files = self.sequences[sequence].frame_files
        if t not in files:
            raise ValueError(
                f"t = {t!r}: sequence {sequence} of {self.name} has the frames "
                f"{min(files)} … {max(files)} ({len(files)} of them)"
            )
        return _read_image(files[t], self.sequences[sequence].images.shape[1:])


def load_cell_tracking(
    name: str,
    directory: str | Path | None = None,
    *,
    download: bool = True,
    progress: bool = True,
) -> CellTracking:
    """The gold-truth frames of a cell tracking set (paper §4, Table 2) in both its sequences.

    name: 'PhC-C2DH-U373' or 'DIC-C2DH-HeLa'. Looked for in `directory`, and nowhere else if that
    is given; otherwise in $UNET2015_DATA/name, then in the per-user cache, and then, with
    `download`, the official zip file is fetched, verified by its SHA-256 and unpacked into that
    cache (`progress`: with a progress bar). The folder has the challenge's layout: 01/t000.tif …,
    01_GT/SEG/man_seg000.tif …, 01_GT/TRA/man_track000.tif …, the same for 02, numbers of 3 or 4
    digits; 01_ST/SEG, the silver truth, may be there and only outlines ignore regions.

    Raises FileNotFoundError, naming every way to supply the data, if they are nowhere or a file is
    missing; ValueError, naming the file, for an archive with another hash or members that would
    land elsewhere, a damaged or 3-D file, one that needs imagecodecs (the official TIFFs are LZW),
    a frame or mask of another size, and a gold mask without a tracking marker.
    """
    if name not in RELEASES:
        raise ValueError(f"name = {name!r}: must be {' or '.join(map(repr, RELEASES))}")
    if directory is not None:
        folder = Path(directory)
        check_given_folder(folder, name, "01, 02 and their _GT folders", archive_url(name))
        if missing := _missing(folder):
            nested = folder / name
            hint = "" if _missing(nested) else f"; they are in {nested}: give that folder"
            raise FileNotFoundError(f"--data {folder}: has no {' and no '.join(missing)}{hint}")
        return _load(name, folder, "the folder given with --data")
    looked = []
    for folder, words in usual_folders(name, cache_folder(name)):
        if not (missing := _missing(folder)):
            return _load(name, folder, words)
        looked.append(f"{words} ({folder}) has no {' and no '.join(missing)}")
    if not download:
        raise FileNotFoundError(_how_to_supply(name, looked, "not allowed (download=False)"))
    if importlib.util.find_spec("imagecodecs") is None:
        why = "not tried: the official files are compressed with LZW; pip install imagecodecs first"
        raise FileNotFoundError(_how_to_supply(name, looked, why))
    try:
        return _download(name, cache_folder(name), progress=progress)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise FileNotFoundError(_how_to_supply(name, looked, f"failed: {error}")) from error


def archive_url(name: str) -> str:
    """Where the challenge gives out the training sequences of a set."""
    return f"https://data.celltrackingchallenge.net/training-datasets/{name}.zip"


def marker_masks(markers: np.ndarray, masks: np.ndarray) -> dict[int, int]:
    """The mask that each tracking marker lies in: marker id → mask id, 0 = in none.

    A marker lies in the mask that covers more than half of it, which is how the challenge itself
    matches markers and masks (TRA, evaluation methodology); the ids do not tell, because GT/SEG
    and GT/TRA number the cells differently. Both (H, W) integers, 0 = background.

    >>> marker_masks(np.array([[0, 4, 4, 4, 0, 7]]), np.array([[0, 0, 1, 1, 1, 0]]))
    {4: 1, 7: 0}
    """
    found = {}
    for marker in np.unique(markers[markers > 0]):
        under, pixels = np.unique(masks[markers == marker], return_counts=True)
        most = np.argmax(pixels)
        found[int(marker)] = int(under[most]) if 2 * pixels[most] > pixels.sum() else 0
    return found


def ignore_region(
    instances: np.ndarray, markers: np.ndarray, silver: np.ndarray | None, reach_px: int
) -> np.ndarray:
    """Where cells are that have a tracking marker but no gold mask: (H, W) bool (paper §4).

    Not specified in the paper ("partially annotated training images"). Our choice: each marker
    that lies in no gold mask (`marker_masks`), together with the silver-truth mask that it lies
    in, or, where there is none, with all pixels within `reach_px` of it; without gold-mask pixels.
    The silver truth, fused from computed segmentations, is never a label to learn from.

    instances, markers, silver: (H, W) integers of GT/SEG, GT/TRA and ST/SEG, 0 = background.
    """
    region = np.zeros(instances.shape, dtype=bool)
    outlines = {} if silver is None else marker_masks(markers, silver)
    for marker, gold in marker_masks(markers, instances).items():
        if gold:
            continue
        cell = markers == marker
        if silver is not None and outlines[marker]:
            region |= cell | (silver == outlines[marker])
        else:
            region |= np.asarray(distance_transform_edt(~cell)) <= reach_px
    return region & (instances == 0)


def _missing(folder: Path) -> list[str]:
    """The folders, relative to the set's, that must be there and are not."""
    needed = [part for name in SEQUENCES for part in (name, f"{name}_GT/SEG", f"{name}_GT/TRA")]
    return [part for part in needed if not (folder / part).is_dir()]


def _load(name: str, folder: Path, words: str) -> CellTracking:
    """The set from a folder that has all of its folders; errors as documented."""
    release = RELEASES[name]
    sequences = {each: _load_sequence(folder, each, release.reach_px) for each in SEQUENCES}
    hashes = {item for each in sequences.values() for item in each.hashes.items()}
    pixels = "the pixels of" if hashes >= release.pixel_sha256.items() else "other pixels than"
    annotated = sum(len(each.frames) for each in sequences.values())
    return CellTracking(
        name=name,
        sequences=sequences,
        source=(
            f"{name}, Cell Tracking Challenge, {words}; {annotated} annotated frames (paper: "
            f"{release.paper_frames}), {pixels} the release known here"
        ),
    )


def _load_sequence(folder: Path, name: str, reach_px: int) -> AnnotatedSequence:
    """The annotated frames of one sequence of the set in `folder`."""
    truth = folder / f"{name}_GT"
    frames, gold = _numbered(folder / name, "t"), _numbered(truth / "SEG", "man_seg")
    markers = _numbered(truth / "TRA", "man_track")
    silver = _numbered(folder / f"{name}_ST" / "SEG", "man_seg")
    if not gold:
        raise FileNotFoundError(f"{truth / 'SEG'}: has no man_seg*.tif; {UNPACK_AGAIN}")
    images, instances, ignore, unannotated = [], [], [], {}
    for t, mask in gold.items():
        for there, missing in ((frames, folder / name / "t"), (markers, truth / "TRA/man_track")):
            if t not in there:
                raise FileNotFoundError(
                    f"{mask}: is a mask of frame {t}, but {missing}{t:03}.tif is missing; "
                    f"{UNPACK_AGAIN}"
                )
        images.append(_read_image(frames[t], images[0].shape if images else None))
        cells = _read_mask(mask, images[0].shape)
        marked = _read_mask(markers[t], cells.shape)
        if without := _unannotated(mask, cells, markers[t], marked):
            unannotated[t] = without
        outlines = _read_mask(silver[t], cells.shape) if without and t in silver else None
        instances.append(cells)
        ignore.append(ignore_region(cells, marked, outlines, reach_px))
    stacks = [np.stack(arrays) for arrays in (images, instances, ignore)]
    keys = (f"{name} {what}" for what in ("images", "instances", "ignore"))
    return AnnotatedSequence(
        name,
        tuple(gold),
        *stacks,
        unannotated=unannotated,
        frame_files=frames,
        hashes=dict(zip(keys, map(pixel_sha256, stacks), strict=True)),
    )


def _numbered(folder: Path, stem: str) -> dict[int, Path]:
    """Frame number → the file stem000.tif or stem0000.tif, by number; empty without the folder."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob("*.tif")):
        if path.name.startswith("."):  # what macOS leaves beside a copied file
            continue
        if re.fullmatch(rf"{stem}_\d+_\d+", path.stem):
            raise ValueError(
                f"{path}: is the mask of one plane of a 3-D frame; only 2-D sets are read: "
                f"{' and '.join(RELEASES)}"
            )
        number = re.fullmatch(rf"{stem}(\d{{3,4}})", path.stem)
        if number is None:
            raise ValueError(
                f"{path}: is not named {stem} and a frame number of 3 or 4 digits, such as "
                f"{stem}000.tif; rename it or move it elsewhere"
            )
        other = found.setdefault(int(number[1]), path)
        if other != path:
            raise ValueError(f"{path}: {other.name} has the same frame number; remove one of them")
    return dict(sorted(found.items()))


def _read_plane(
    path: Path, shape: tuple[int, ...] | None, read: Callable[[Path], np.ndarray]
) -> np.ndarray:
    """The one 2-D image of a file, of size `shape` if that is given."""
    stack = read(path)
    if len(stack) != 1:
        raise ValueError(
            f"{path}: has {len(stack)} planes, so it is 3-D or a whole sequence; must be one 2-D "
            "image per file"
        )
    if shape is not None and stack.shape[1:] != shape:
        raise ValueError(
            f"{path}: has shape {stack.shape[1:]}, but the sequence's first annotated frame has "
            f"{shape} (height, width); {UNPACK_AGAIN}"
        )
    return stack[0]


def _read_image(path: Path, shape: tuple[int, ...] | None) -> np.ndarray:
    image = _read_plane(path, shape, partial(read_stack, option=None))
    if image.dtype != np.uint8:
        raise ValueError(f"{path}: has dtype {image.dtype}, expected uint8; {UNPACK_AGAIN}")
    return image


def _read_mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    return _read_plane(path, shape, read_instance_labels)


def _unannotated(
    mask_file: Path, masks: np.ndarray, marker_file: Path, markers: np.ndarray
) -> tuple[int, ...]:
    """The markers in no gold mask; ValueError for a gold mask without a marker."""
    found = marker_masks(markers, masks)
    unmarked = np.setdiff1d(masks[masks > 0], list(found.values()))
    if len(unmarked):
        raise ValueError(
            f"{mask_file}: no tracking marker of {marker_file} lies in the mask(s) with id "
            f"{', '.join(map(str, unmarked))}, so the two are of different frames or releases; "
            f"{UNPACK_AGAIN}"
        )
    return tuple(marker for marker, mask in found.items() if not mask)


def _download(name: str, cache: Path, *, progress: bool) -> CellTracking:
    """Fetch, verify and unpack beside the cache; only then put the whole folder in its place."""
    url = archive_url(name)
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".download-") as temporary:
        archive = Path(temporary) / "archive.zip"
        fetch(url, archive, progress=progress)
        check_archive(archive, RELEASES[name].archive_sha256, url)
        unpack(archive, Path(temporary))
        archive.unlink()
        unpacked = Path(temporary) / name
        if missing := _missing(unpacked):
            raise zipfile.BadZipFile(f"the archive has no {name}/ with {' and no '.join(missing)}")
        _load(name, unpacked, "")
        if _missing(cache):  # else another process was faster
            _make_way(cache)
            unpacked.replace(cache)
    return _load(name, cache, f"downloaded from {url}")


def _make_way(cache: Path) -> None:
    """Remove an empty folder; refuse to touch one in which something is."""
    if cache.exists():
        try:
            cache.rmdir()
        except OSError as error:
            raise FileExistsError(
                f"{cache} has some of the files but not all; remove that folder and try again"
            ) from error


def _how_to_supply(name: str, looked: list[str], download: str) -> str:
    places = "".join(f"\n  {place};" for place in looked)
    return (
        f"the cell tracking set {name} was not found:{places}\n  download {download}.\n"
        f"Supply it in one of three ways: --data DIR with {', '.join(SEQUENCES)} and their _GT "
        f"folders; the environment variable UNET2015_DATA naming the folder that holds {name}/; "
        f"or an internet connection, for {archive_url(name)} (kept in {cache_folder(name)})"
    )
