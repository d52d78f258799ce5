"""Ignore regions of partially annotated frames, against scikit-image's dilation."""

import numpy as np
import pytest
from skimage.morphology import dilation, disk

from unet2015.data.cell_tracking import ignore_region, marker_masks

SHAPE = (24, 30)
REACH_PX = 3


def block(*cells: tuple[int, int, int, int]) -> np.ndarray:
    """Squares, each (id, top, left, side)."""
    mask = np.zeros(SHAPE, dtype=np.uint16)
    for cell, top, left, side in cells:
        mask[top : top + side, left : left + side] = cell
    return mask


GOLD = block((1, 2, 2, 6), (2, 12, 2, 6))
SILVER = block((7, 2, 2, 6), (8, 12, 2, 6), (9, 8, 18, 7))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reach_px", [0, 1, 4, 7])
def test_a_marker_without_outline_is_dilated(seed, reach_px):
    rng = np.random.default_rng(seed)
    markers = np.zeros((40, 40), dtype=np.int32)
    markers[tuple(rng.integers(0, 40, (2, 6)))] = np.arange(1, 7)
    gold = np.zeros_like(markers)
    gold[10:25, 10:30] = 5
    unannotated = (markers > 0) & (gold == 0)
    expected = dilation(unannotated, disk(reach_px)).astype(bool) & (gold == 0)
    np.testing.assert_array_equal(ignore_region(gold, markers, None, reach_px), expected)
    # a silver truth that has none of these cells changes nothing
    np.testing.assert_array_equal(ignore_region(gold, markers, gold, reach_px), expected)


def test_the_silver_truth_outlines_unannotated_cells_only():
    gold, markers = block((1, 2, 2, 6)), block((7, 4, 4, 2), (8, 14, 4, 2))
    # larger than the gold mask, and 8 reaches under it
    silver = block((7, 1, 1, 9), (5, 6, 3, 11))
    region = ignore_region(gold, markers, silver, REACH_PX)
    np.testing.assert_array_equal(region, ((silver == 5) | (markers == 8)) & (gold == 0))
    assert (silver == 5)[gold > 0].any()
    assert region[15, 4]


def test_gold_masks_are_never_ignored():
    rng = np.random.default_rng(3)
    gold, markers, silver = (rng.integers(0, 4, (20, 20)) for _ in range(3))
    region = ignore_region(gold, markers, silver, 5)
    assert region.any()
    assert not region[gold > 0].any()


def test_nothing_is_ignored_where_every_marker_has_a_mask():
    markers = block((7, 4, 4, 2), (8, 14, 4, 2))
    assert not ignore_region(GOLD, markers, SILVER, REACH_PX).any()
    assert not ignore_region(GOLD, np.zeros_like(markers), SILVER, REACH_PX).any()


@pytest.mark.parametrize(("covered", "expected"), [(5, 0), (6, 3), (10, 3)])
def test_a_marker_lies_in_the_mask_that_covers_more_than_half(covered, expected):
    markers = np.full((1, 10), 4)
    masks = np.zeros((1, 10), dtype=int)
    masks[0, :covered] = 3
    assert marker_masks(markers, masks) == {4: expected}


def test_two_markers_may_lie_in_one_mask():
    markers = np.array([[4, 0, 6, 0]])
    assert marker_masks(markers, np.full((1, 4), 2)) == {4: 2, 6: 2}
