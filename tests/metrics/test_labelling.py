"""4-connected components against SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from unet2015.metrics.labelling import components

LARGER = st.builds(
    lambda seed, share: np.random.default_rng(seed).random((61, 83)) < share,
    st.integers(0, 2**32 - 1),
    st.floats(0.3, 0.8),
)


@settings(deadline=None, max_examples=100)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)) | LARGER)
def test_components_are_scipys_numbered_column_by_column(mask: np.ndarray) -> None:
    expected, count = ndimage.label(mask.T)
    np.testing.assert_array_equal(components(mask), expected.T)
    assert components(mask).max(initial=0) == count


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
