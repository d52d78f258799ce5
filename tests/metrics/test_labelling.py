"""4-connected components against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from unet2015.metrics.labelling import components


@settings(deadline=None, max_examples=100)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_components_are_scipys(mask: np.ndarray) -> None:
    expected, count = ndimage.label(mask.T)  # transposed: numbered column by column
    np.testing.assert_array_equal(components(mask), expected.T)
    assert components(mask).max(initial=0) == count


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 0.8))
def test_components_of_larger_noise_are_scipys(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((61, 83)) < share
    np.testing.assert_array_equal(components(mask), ndimage.label(mask.T)[0].T)


def test_a_chessboard_has_the_most_components() -> None:
    mask = np.indices((5, 7)).sum(0) % 2 == 0
    assert components(mask).max() == 18


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((2, 2)), r"type float64 must be bool; pass \(cell_mask > 0\)"),
        (np.zeros((1, 2, 2), bool), r"shape \(1, 2, 2\) must be one slice"),
        (np.zeros((0, 2), bool), r"shape \(0, 2\)"),
    ],
)
def test_other_masks_are_refused(mask: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        components(mask)
