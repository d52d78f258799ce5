"""What is said of a user's stacks, and what of their labels is doubted: on masks as users have."""

import re

import numpy as np
import pytest
from scipy import ndimage

from unet2015.data.labels import Annotation, LabelReading
from unet2015.studies.own_data import images_in_words, label_doubts, labels_in_words


def scene(seed: int = 0) -> np.ndarray:
    """(2, 96, 96) int32: round cells of 8 px, two of which touch, each with an id of its own."""
    ids = np.zeros((2, 96, 96), np.int32)
    y, x = np.mgrid[:96, :96]
    for plane in ids:
        for k in range(9):
            plane[(y - 16 - 32 * (k // 3)) ** 2 + (x - 16 - 32 * (k % 3)) ** 2 < 64] = k + 1
    ids[0, 10:20, 24:30] = 20
    return ids


IDS = scene()
MASK = IDS > 0


def doubts(stack: np.ndarray, kind="instances", **options) -> list[str]:
    given = LabelReading(kind, **options).of(stack, "labels")
    return list(label_doubts(given, kind))


def test_honest_labels_are_not_doubted():
    assert doubts(IDS) == []
    assert doubts(MASK.astype(np.uint8) * 255, "binary") == []
    far = IDS * 1000
    far[:, 60:] = np.where(IDS[:, 60:] > 0, IDS[:, 60:] + 40000, 0)  # cells cut in two: other ids
    assert doubts(far) == []


@pytest.mark.parametrize(
    ("stack", "pieces"),
    [
        (MASK * np.uint8(255), "2 id(s) of single slices lie in 18"),
        (np.where(MASK, 1 + (IDS % 2), 0), "4 id(s) of single slices lie in 19"),
        (np.where(MASK, 0, 1), "2 id(s) of single slices lie in 2"),
    ],
    ids=["a mask", "classes", "an inverted mask"],
)
def test_a_mask_and_classes_as_instances_are_named(stack, pieces):
    first, *others = doubts(stack)
    assert first.startswith(pieces)
    assert "--label-kind binary" in first
    assert others == []


def test_ids_of_many_pieces_are_told_without_a_false_advice():
    (said,) = doubts(np.where(MASK, 1 + IDS % 5, 0))
    assert "separate piece(s); each id is learnt as one cell" in said
    assert "--label-kind" not in said


def test_a_compressed_mask_as_instances_is_named():
    noise = np.random.default_rng(0).integers(-3, 4, IDS.shape)
    blurred = np.clip(MASK * 255 + noise, 0, 255).astype(np.uint8)
    blurred[0, 0, :2] = 7
    said = doubts(blurred)
    assert any(
        re.search(r"have fewer than 5 pixels \(slice 0: id 7 has 2\)", text) for text in said
    )
    assert any("separate piece(s); they look like a compressed or resized" in t for t in said)


def test_classes_without_0_are_told_what_background_is():
    (said,) = doubts(np.where(MASK, 2, 1))
    assert said.endswith(
        "--label-kind binary, for which every cell has the same number, and "
        "background 0, which no pixel is"
    )


def test_empty_slices_are_named_until_they_are_left_out():
    stack = IDS.copy()
    stack[1] = 0
    for kind, labels in (("instances", stack), ("binary", np.minimum(stack, 1))):
        (said,) = doubts(labels, kind)
        assert said.startswith("no cell in slice(s) 1: learnt as background; ")
        assert "--skip-empty" in said
        assert doubts(labels, kind, skip_empty=True) == []


def test_cells_that_separation_removes_are_counted():
    """Lines of one pixel, side by side: the ridges take all but one of them."""
    stack = np.zeros((1, 20, 20), np.int32)
    stack[0, 5:12, 3:15] = np.arange(5, 12)[:, None]
    (said,) = doubts(stack)
    assert said.startswith("6 of 7 cells are lost in the ridges")
    given = LabelReading("instances").of(stack, "labels")
    assert list(label_doubts(given, "instances", separate=False)) == []


def test_what_was_read_is_told_in_a_line():
    stack = np.array([[[3, 9]], [[7, 200]]], np.uint16)
    line = "x.tif: 2 slices of 1 × 2 px (height × width), uint16, gray values 3 to 200"
    assert images_in_words("x.tif", stack) == line
    assert "1 slice of" in images_in_words("x.tif", stack[:1])
    given = LabelReading("instances", ignore_label=-1, skip_empty=True).of(
        np.concatenate([np.where(IDS == 20, -1, IDS), IDS[:1] * 0]), "labels"
    )
    cells = np.isin(IDS, [*range(1, 10)]).mean()
    assert labels_in_words("y.tif", given, "instances", 3) == (
        f"y.tif: instances, cell on {100 * cells:.1f} % of the pixels, 18 cells, "
        f"{100 * (IDS == 20).mean():.1f} % ignored, without the empty slice(s) 2"
    )
    binary = Annotation(MASK.astype(np.uint8), None, np.arange(2))
    count = sum(ndimage.label(plane)[1] for plane in MASK)
    assert f", {count} cells" in labels_in_words("y.tif", binary, "binary", 2)


def test_slices_are_named_as_they_stand_in_the_file():
    stack = np.concatenate([IDS[:1] * 0, IDS])
    stack[2, 0, 0] = 77
    (said,) = doubts(stack, skip_empty=True)
    assert "slice 2: id 77 has 1" in said
    partial = np.concatenate([IDS[:1] * 0, IDS, IDS[:1] * 0])
    partial[0] = -1
    (said,) = doubts(partial, ignore_label=-1)
    assert said.startswith("no cell in slice(s) 3: learnt")


def test_a_fibre_that_steps_over_corners_is_one_piece_and_few_cells_may_leave_the_plane():
    fibres = np.zeros((1, 40, 40), np.int32)
    for k in range(10):
        places = np.arange(25)
        fibres[0, places, places + k] = k % 2 * 0 + (k + 1 if k % 2 else 0)
    assert doubts(fibres) == []
    some = IDS.copy()
    some[0, 90:95, 2:8] = 1  # one cell of nineteen comes again
    assert doubts(some) == []


def test_pixels_that_are_no_numbers_are_counted_apart():
    stack = np.array([[[0.25, np.nan], [np.inf, 3]]], np.float32)
    told = "values 0.25 to 3, 2 pixel(s) NaN or infinite"
    assert told in images_in_words("x.tif", stack, "values")
    assert "none, 1 pixel(s) NaN" in images_in_words("x.tif", stack[:, :1, 1:])


def test_one_cell_in_one_piece_is_no_mask():
    one = np.zeros((1, 40, 40), np.uint8)
    one[0, 10:30, 10:30] = 1
    assert doubts(one) == []
