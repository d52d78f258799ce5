"""The cell tracking sets: frames with gold masks, errors, the download; on tiny sets made here."""

import dataclasses
import hashlib
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.morphology import dilation, disk

from tests.offline import refused
from unet2015.data import cell_tracking
from unet2015.data.cell_tracking import RELEASES, load_cell_tracking

Change = Callable[[Path], None]
NAME = "PhC-C2DH-U373"
SHAPE = (24, 30)
REACH_PX = 3


def image(sequence: str, t: int) -> np.ndarray:
    return np.random.default_rng([int(sequence), t]).integers(0, 256, SHAPE).astype(np.uint8)


def block(*cells: tuple[int, int, int, int]) -> np.ndarray:
    """Squares, each (id, top, left, side)."""
    mask = np.zeros(SHAPE, dtype=np.uint16)
    for cell, top, left, side in cells:
        mask[top : top + side, left : left + side] = cell
    return mask


GOLD = block((1, 2, 2, 6), (2, 12, 2, 6))
"""Two cells with gold masks; their markers have other ids, and a third marker has no mask."""
MARKERS = block((7, 4, 4, 2), (8, 14, 4, 2), (9, 10, 20, 2))
SILVER = block((7, 2, 2, 6), (8, 12, 2, 6), (9, 8, 18, 7))


def write(path: Path, pixels: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", **options)


def fill(folder: Path, *, digits: int = 3, **options) -> Path:
    """Four frames a sequence; gold masks for 1 and 3, silver truth for 1 of sequence 01 only."""
    for sequence in ("01", "02"):
        for t in range(4):
            number = f"{t:0{digits}}"
            write(folder / sequence / f"t{number}.tif", image(sequence, t), **options)
            markers = folder / f"{sequence}_GT" / "TRA" / f"man_track{number}.tif"
            write(markers, MARKERS, **options)
            if t in (1, 3):
                gold = folder / f"{sequence}_GT" / "SEG" / f"man_seg{number}.tif"
                write(gold, GOLD, **options)
    write(folder / "01_ST" / "SEG" / f"man_seg{1:0{digits}}.tif", SILVER, **options)
    (folder / "01_GT" / "TRA" / "man_track.txt").write_text("7 0 3 0\n")
    (folder / "01" / "._t000.tif").write_text("left there by macOS")
    return folder


@pytest.fixture(autouse=True)
def _small_and_offline(tmp_path, monkeypatch):
    """A small reach, no release known, an empty cache, and no way to the network."""
    release = dataclasses.replace(RELEASES[NAME], reach_px=REACH_PX, pixel_sha256={})
    monkeypatch.setattr(cell_tracking, "RELEASES", {**RELEASES, NAME: release})
    monkeypatch.setattr(cell_tracking, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(cell_tracking, "fetch", refused)
    monkeypatch.delenv("UNET2015_DATA", raising=False)


def check(data: cell_tracking.CellTracking) -> None:
    """The set is that of `fill`."""
    assert data.name == NAME
    assert list(data.sequences) == ["01", "02"]
    silver = SILVER == 9
    around_marker = dilation(MARKERS == 9, disk(REACH_PX)).astype(bool)
    for name, outlines in (
        ("01", (silver, around_marker)),
        ("02", (around_marker, around_marker)),
    ):
        sequence = data.sequences[name]
        assert sequence.name == name
        assert sequence.frames == (1, 3)
        assert list(sequence.frame_files) == [0, 1, 2, 3]
        assert sequence.images.dtype == np.uint8
        assert sequence.instances.dtype == np.int32
        assert sequence.ignore.dtype == np.bool_
        for k, t in enumerate(sequence.frames):
            np.testing.assert_array_equal(sequence.images[k], image(name, t))
            np.testing.assert_array_equal(sequence.instances[k], GOLD)
            np.testing.assert_array_equal(sequence.ignore[k], outlines[k])
        assert sequence.unannotated == {1: (9,), 3: (9,)}
        for t in range(4):
            frame = data.read_frame(name, t)
            assert frame.dtype == np.uint8
            np.testing.assert_array_equal(frame, image(name, t))


@pytest.mark.parametrize("digits", [3, 4])
def test_annotated_frames_come_with_gold_masks_and_ignore_regions(tmp_path, digits):
    data = load_cell_tracking(NAME, fill(tmp_path / "data", digits=digits))
    check(data)
    assert str(tmp_path) not in data.source
    assert "4 annotated frames (paper: 35)" in data.source


def test_the_hashes_are_of_the_arrays(tmp_path):
    data = load_cell_tracking(NAME, fill(tmp_path / "data"))
    kinds = ("images", "instances", "ignore")
    assert list(data.hashes) == [f"{s} {kind}" for s in ("01", "02") for kind in kinds]
    for key, digest in data.hashes.items():
        name, kind = key.split()
        pixels = getattr(data.sequences[name], kind)
        assert digest == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert len(set(data.hashes.values())) == 5  # the instances of both sequences are equal


def test_the_source_says_whether_the_pixels_are_known(tmp_path, monkeypatch):
    folder = fill(tmp_path / "data")
    hashes = {k: v for k, v in load_cell_tracking(NAME, folder).hashes.items() if "ign" not in k}
    release = dataclasses.replace(cell_tracking.RELEASES[NAME], pixel_sha256=hashes)
    monkeypatch.setitem(cell_tracking.RELEASES, NAME, release)
    assert "the pixels of the release known here" in load_cell_tracking(NAME, folder).source
    write(folder / "02" / "t003.tif", image("02", 3) ^ (np.indices(SHAPE).sum(0) == 0))
    assert "other pixels than the release known here" in load_cell_tracking(NAME, folder).source


def test_the_folder_given_goes_before_the_environment_and_that_before_the_cache(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    fill(tmp_path / "cache" / NAME)
    assert "per-user cache" in load_cell_tracking(NAME).source
    fill(tmp_path / "root" / NAME)
    data = load_cell_tracking(NAME)
    assert f"$UNET2015_DATA/{NAME}" in data.source
    assert str(tmp_path) not in data.source
    assert "--data" in load_cell_tracking(NAME, fill(tmp_path / "data")).source


def refusal(folder: Path, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        load_cell_tracking(NAME, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_folder_above_and_another_name_are_pointed_out(tmp_path):
    fill(tmp_path / NAME)
    assert refusal(tmp_path, FileNotFoundError).endswith(
        f"; they are in {tmp_path / NAME}: give that folder"
    )
    with pytest.raises(ValueError, match="name = 'HeLa': must be 'PhC-C2DH-U373' or 'DIC-C2DH"):
        load_cell_tracking("HeLa")


def removed(*parts: str) -> Change:
    def remove(folder: Path) -> None:
        for part in parts:
            for path in folder.glob(part):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def added(name: str, pixels: np.ndarray | None = None) -> Change:
    return lambda folder: write(folder / name, GOLD if pixels is None else pixels)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda folder: write(folder / name, change(tifffile.imread(folder / name)))


def narrower(pixels: np.ndarray) -> np.ndarray:
    return pixels[:, :-1]


def in_3d(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels] * 3)


FRAME, GOLD_MASK, MARKER, SILVER_MASK = (
    *("02/t003.tif", "02_GT/SEG/man_seg001.tif", "02_GT/TRA/man_track003.tif"),
    "01_ST/SEG/man_seg001.tif",
)
UNMARKED = GOLD + block((12, 20, 20, 3), (15, 20, 26, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((removed(part), f": has no {part}") for part in ("02", "01_GT/SEG", "02_GT/TRA")),
        (removed("02_GT/SEG/*"), "/02_GT/SEG: has no man_seg"),
        *(
            (removed(part), rf"man_seg003.tif: is a mask of frame 3, but .*{part} is missing")
            for part in (FRAME, MARKER)
        ),
        (
            added("01_GT/SEG/man_seg003.tif", UNMARKED),
            r"man_seg003.tif: no tracking marker of .*man_track003.tif lies in .* id 12, 15, so",
        ),
        *(
            (changed(name, narrower), rf"{name}: has shape \(24, 29\), .*first.*\(24, 30\)")
            for name in (FRAME, GOLD_MASK, MARKER, SILVER_MASK)
        ),
        *(
            (changed(name, in_3d), f"{name}: has 3 planes, so it is 3-D")
            for name in ("01/t001.tif", FRAME, GOLD_MASK, MARKER, SILVER_MASK)
        ),
        (added("01_GT/SEG/man_seg_003_012.tif"), "is the mask of one plane of a 3-D frame"),
        (added("01_GT/SEG/man_seg03.tif"), "is not named man_seg and a frame number of 3 or 4 dig"),
        (added("02/frame7.tif"), "is not named t and a frame number of 3 or 4 digits, such as t0"),
        (added("01_GT/TRA/man_track0003.tif"), "man_track0003.tif has the same frame number"),
    ],
)
def test_what_is_missing_or_odd_in_a_folder_is_named_in_one_line(tmp_path, change, message):
    folder = fill(tmp_path / "data")
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_cell_tracking(NAME, folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pixels: pixels[:5], r"t002\.tif: has shape \(5, 30\)"),
        (lambda pixels: pixels.astype(np.uint16), r"t002\.tif: has dtype uint16, expected uint8"),
        (lambda pixels: np.stack([pixels] * 2), r"t002\.tif: has 2 planes, so it is 3-D"),
    ],
)
def test_a_frame_that_is_read_later_is_checked_then(tmp_path, change, message):
    folder = fill(tmp_path / "data")
    write(folder / "01" / "t002.tif", change(image("01", 2)))
    data = load_cell_tracking(NAME, folder)
    with pytest.raises(ValueError, match=message):
        data.read_frame("01", 2)


def test_a_sequence_or_frame_that_is_not_there_is_refused(tmp_path):
    data = load_cell_tracking(NAME, fill(tmp_path / "data"))
    with pytest.raises(ValueError, match="sequence = '03': must be '01' or '02'"):
        data.read_frame("03", 0)
    with pytest.raises(ValueError, match=rf"t = 4: sequence 02 of {NAME} has the frames 0 … 3 \(4"):
        data.read_frame("02", 4)


def serve(monkeypatch, archive: Path, sha256: str | None = None) -> list[str]:
    """A stand-in for the download that copies a file; the list of what was asked for."""
    asked: list[str] = []

    def copy(url: str, target: Path, *, progress: bool) -> None:
        asked.append(url)
        shutil.copy(archive, target)

    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    release = dataclasses.replace(cell_tracking.RELEASES[NAME], archive_sha256=sha256 or found)
    monkeypatch.setitem(cell_tracking.RELEASES, NAME, release)
    monkeypatch.setattr(cell_tracking, "fetch", copy)
    # what is served here needs no imagecodecs
    monkeypatch.setattr(cell_tracking.importlib.util, "find_spec", lambda name: object())
    return asked


def packed(folder: Path, *extra: str, top: str = NAME) -> Path:
    content = fill(folder / "packed")
    with zipfile.ZipFile(folder / "archive.zip", "w") as file:
        for path in sorted(content.rglob("*.*")):
            file.write(path, f"{top}/{path.relative_to(content)}")
        for name in extra:
            file.writestr(name, "must not be written")
    return folder / "archive.zip"


def in_cache(tmp_path: Path) -> list[Path]:
    cache = tmp_path / "cache"
    return sorted(cache.iterdir()) if cache.exists() else []


@pytest.mark.parametrize("empty_folder_there", [False, True])
def test_download_fills_the_cache_once(tmp_path, monkeypatch, empty_folder_there):
    asked = serve(monkeypatch, packed(tmp_path))
    if empty_folder_there:
        (tmp_path / "cache" / NAME).mkdir(parents=True)
    data = load_cell_tracking(NAME, progress=False)
    check(data)
    assert asked == ["https://data.celltrackingchallenge.net/training-datasets/PhC-C2DH-U373.zip"]
    assert f"downloaded from {asked[0]}" in data.source
    assert in_cache(tmp_path) == [tmp_path / "cache" / NAME]
    check(load_cell_tracking(NAME))
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no zip", r"download failed: .*\n.*three ways"),
        ("another set", r"download failed: .*\n.*three ways"),
        ("another hash", rf"{NAME}\.zip: .* SHA-256 [0-9a-f]+, expected 0+; noth"),
        ("outside", "outside the target folder; nothing was unpacked"),
        ("damaged", "3-D"),
    ],
)
def test_a_download_that_is_not_the_set_does_not_reach_the_cache(
    tmp_path, monkeypatch, kind, message
):
    if kind == "damaged":
        write(tmp_path / "packed" / "01_GT" / "SEG" / "man_seg_001_002.tif", GOLD)
    extra = ("../../outside.tif",) if kind == "outside" else ()
    archive = packed(tmp_path, *extra, top="Fluo-N2DH-SIM+" if kind == "another set" else NAME)
    if kind == "no zip":
        archive.write_text("<html>sign in first</html>")
    serve(monkeypatch, archive, sha256="0" * 64 if kind == "another hash" else None)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_cell_tracking(NAME)
    assert in_cache(tmp_path) == []
    assert list(tmp_path.rglob("*outside.tif")) == []


def test_a_half_filled_cache_is_left_as_it_is(tmp_path, monkeypatch):
    serve(monkeypatch, packed(tmp_path))
    kept = tmp_path / "cache" / NAME / "01" / "t000.tif"
    write(kept, image("01", 0))
    with pytest.raises(FileNotFoundError, match="some of the files but not all; remove that fold"):
        load_cell_tracking(NAME)
    assert in_cache(tmp_path) == [tmp_path / "cache" / NAME]
    assert [path for path in (tmp_path / "cache").rglob("*.*") if path.is_file()] == [kept]


def test_without_imagecodecs_nothing_is_downloaded(tmp_path, monkeypatch):
    asked = serve(monkeypatch, packed(tmp_path))
    monkeypatch.setattr(cell_tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="with LZW; pip install imagecodecs first"):
        load_cell_tracking(NAME)
    assert asked == []


@pytest.mark.parametrize("allowed", [True, False])
def test_nothing_anywhere_names_the_three_ways(tmp_path, monkeypatch, allowed):
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(cell_tracking.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(FileNotFoundError) as caught:
        load_cell_tracking(NAME, download=allowed)
    message = str(caught.value)
    for part in ("--data DIR", "UNET2015_DATA", "internet", f"{NAME}.zip", "cache", "01_GT/SEG"):
        assert part in message
    assert ("cannot be reached" in message) == allowed
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
