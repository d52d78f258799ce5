"""The real cell tracking sets: counts, sizes, ids, and the frames known to be partly annotated."""

import csv
import hashlib

import numpy as np
import pytest

from tests.real_data import real_data
from unet2015.data.cell_tracking import load_cell_tracking
from unet2015.data.tiff import read_stack

REAL_SETS = {
    "PhC-C2DH-U373": (
        {"01": (15, 0, 115, (520, 696)), "02": (19, 5, 115, (520, 696))},
        {"02": {26: 1, 51: 1, 85: 1, 106: 2}},
        210,
    ),
    "DIC-C2DH-HeLa": (
        {"01": (9, 17, 84, (512, 512)), "02": (9, 6, 84, (512, 512))},
        {"01": {34: 1, 39: 1, 67: 15}, "02": {7: 1, 14: 1, 42: 2, 61: 1, 67: 1}},
        195,
    ),
}
"""Annotated frames, cells without mask, frames, size; frame → cells without mask; gold masks."""


@pytest.fixture(scope="module", params=REAL_SETS)
def real(request):
    return load_cell_tracking(request.param, real_data(request.param, "01_GT").parent)


def test_the_real_sets_have_the_frames_and_cells_that_are_published(real):
    sizes, partly, gold_masks = REAL_SETS[real.name]
    assert "the pixels of the release known here" in real.source
    for name, (annotated, unannotated, frames, size) in sizes.items():
        sequence = real.sequences[name]
        for array in (sequence.images, sequence.instances, sequence.ignore):
            assert array.shape == (annotated, *size)
        assert list(sequence.frame_files) == list(range(frames))
        found = {t: len(markers) for t, markers in sequence.unannotated.items()}
        assert found == partly.get(name, {})
        assert sum(found.values()) == unannotated
        ignored = [
            t for t, region in zip(sequence.frames, sequence.ignore, strict=True) if region.any()
        ]
        assert ignored == list(found)
        assert not sequence.ignore[sequence.instances > 0].any()
        t = sequence.frames[-1]
        np.testing.assert_array_equal(real.read_frame(name, t), sequence.images[-1])
    cells = [len(np.unique(plane)) - 1 for s in real.sequences.values() for plane in s.instances]
    assert sum(cells) == gold_masks


def test_the_real_pixels_are_those_of_the_manifest(real):
    """The manifest beside the data is older than this program; masks are uint16 in the files."""
    with real_data(real.name, "MANIFEST.tsv").open(newline="") as file:
        known = {
            row["path"]: row["sha256_pixels_C_order"]
            for row in csv.DictReader(file, delimiter="\t")
        }
    for name, sequence in real.sequences.items():
        for k, t in enumerate(sequence.frames):
            image, mask = sequence.images[k], sequence.instances[k].astype("<u2")
            found = hashlib.sha256(image.tobytes()).hexdigest()
            assert found == known[f"{name}/t{t:03}.tif"]
            found = hashlib.sha256(mask.tobytes()).hexdigest()
            assert found == known[f"{name}_GT/SEG/man_seg{t:03}.tif"]


def test_the_real_ignore_regions_hold_the_unannotated_markers_and_no_other(real):
    for name, sequence in real.sequences.items():
        for k, t in enumerate(sequence.frames):
            path = real_data(real.name, f"{name}_GT", "TRA", f"man_track{t:03}.tif")
            markers = read_stack(path)[0]
            for marker in np.unique(markers[markers > 0]):
                ignored = sequence.ignore[k][markers == marker]
                annotated = marker not in sequence.unannotated.get(t, ())
                # a marker may reach a little beyond its mask, where a neighbour is ignored
                assert ignored.mean() < 0.5 if annotated else ignored.all(), (name, t, marker)
