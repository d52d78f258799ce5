"""Ignore regions of partially annotated frames, against scikit-image's dilation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
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


@given(arrays(np.uint8, (2, 12, 13), elements=st.sampled_from([0, 0, 0, 1, 2])), st.integers(0, 7))
@settings(deadline=None, max_examples=50)
def test_a_marker_without_outline_is_dilated_and_no_gold_mask_ignored(planes, reach_px):
    gold, markers = planes.astype(np.int32)
    covered = [m for m, mask in marker_masks(markers, gold).items() if mask]
    expected = dilation((markers > 0) & ~np.isin(markers, covered), disk(reach_px)) & (gold == 0)
    np.testing.assert_array_equal(ignore_region(gold, markers, None, reach_px), expected)
    # a silver truth that has none of these cells changes nothing
    np.testing.assert_array_equal(
        ignore_region(gold, markers, np.zeros_like(gold), reach_px), expected
    )


def test_the_silver_truth_outlines_unannotated_cells_only():
    gold, markers = block((1, 2, 2, 6)), block((7, 4, 4, 2), (8, 14, 4, 2))
    # larger than the gold mask, and 8 reaches under it
    silver = block((7, 1, 1, 9), (5, 6, 3, 11))
    region = ignore_region(gold, markers, silver, REACH_PX)
    np.testing.assert_array_equal(region, ((silver == 5) | (markers == 8)) & (gold == 0))
    assert (silver == 5)[gold > 0].any()
    assert region[15, 4]


def test_nothing_is_ignored_where_every_marker_has_a_mask():
    markers = block((7, 4, 4, 2), (8, 14, 4, 2))
    assert not ignore_region(GOLD, markers, SILVER, REACH_PX).any()
    assert not ignore_region(GOLD, np.zeros_like(markers), SILVER, REACH_PX).any()


def test_a_marker_lies_in_the_mask_that_covers_more_than_half():
    for covered, expected in ((5, 0), (6, 3), (10, 3)):
        masks = np.zeros((1, 10), dtype=int)
        masks[0, :covered] = 3
        assert marker_masks(np.full((1, 10), 4), masks) == {4: expected}
    # and two may lie in one
    assert marker_masks(np.array([[4, 0, 6, 0]]), np.full((1, 4), 2)) == {4: 2, 6: 2}
