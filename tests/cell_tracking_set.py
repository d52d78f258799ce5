"""A cell tracking set in the challenge's layout, so small that a run takes seconds."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from tests.offline import refused
from unet2015.data import cell_tracking

SHAPE = (60, 72)
FRAMES, ANNOTATED = 5, (0, 2, 4)


def cells_of_frame(sequence: str, t: int) -> np.ndarray:
    """Ids 1, 2 (touching), 3 and 4, four discs that move with t: (H, W) uint16."""
    rows, columns = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint16)
    shift = t + 3 * (sequence == "02")
    for cell, (row, column) in enumerate(((15, 14), (15, 27), (42, 20), (30, 52)), start=1):
        radius = 8 if cell == 3 else 7
        labels[np.hypot(rows - row, columns - column - shift) < radius] = cell
    return labels


def image_of_frame(sequence: str, t: int) -> np.ndarray:
    """Bright cells on dark ground with noise: (H, W) uint8."""
    rng = np.random.default_rng([int(sequence), t])
    blurred = ndimage.gaussian_filter(1.0 * (cells_of_frame(sequence, t) > 0), 1)
    return np.clip(60 + 120 * blurred + rng.normal(0, 8, SHAPE), 0, 255).astype(np.uint8)


def make_set(folder: Path, *, digits: int = 3) -> Path:
    """Both sequences; cell 4 of frame 2 has a marker but no gold mask. Returns the folder."""
    for sequence in ("01", "02"):
        truth = folder / f"{sequence}_GT"
        for place in (folder / sequence, truth / "SEG", truth / "TRA"):
            place.mkdir(parents=True)
        for t in range(FRAMES):
            number, cells = f"{t:0{digits}}", cells_of_frame(sequence, t)
            _write(folder / sequence / f"t{number}.tif", image_of_frame(sequence, t))
            _write(truth / "TRA" / f"man_track{number}.tif", cells)
            if t in ANNOTATED:
                gold = np.where(cells == 4, 0, cells) if t == 2 else cells
                _write(truth / "SEG" / f"man_seg{number}.tif", gold.astype(np.uint16))
        lines = "".join(f"{cell} 0 {FRAMES - 1} 0\n" for cell in range(1, 5))
        (truth / "TRA" / "man_track.txt").write_text(lines)
    return folder


def _write(path: Path, pixels: np.ndarray) -> None:
    tifffile.imwrite(path, pixels, photometric="minisblack")


def go_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data but those given, an empty cache, and no way to the network."""
    monkeypatch.delenv("UNET2015_DATA", raising=False)
    monkeypatch.setattr(cell_tracking, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(cell_tracking, "fetch", refused)
