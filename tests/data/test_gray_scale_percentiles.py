"""Black and white from the percentiles of the training images."""

import json

import numpy as np
import pytest

from unet2015.data.gray_scale import GrayScale


def faint(dtype: str = "uint8") -> np.ndarray:
    values = np.random.default_rng(0).normal(118, 10, (3, 40, 50))
    return np.clip(np.round(values), 0, 255).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_black_and_white_are_the_percentiles(dtype):
    stack = faint(dtype)
    scale = GrayScale.of(stack, gray_values="percentiles")
    ordered = np.sort(stack.ravel())
    for value, share in ((scale.low, 0.001), (scale.high, 0.999)):
        below = np.searchsorted(ordered, value) / ordered.size
        upto = np.searchsorted(ordered, value, side="right") / ordered.size
        assert below - 1e-3 <= share <= upto + 1e-3
    scaled = scale.apply(stack)
    assert (scaled.dtype, scaled.min(), scaled.max()) == (np.float32, 0, 1)
    inside = (stack > scale.low) & (stack < scale.high)
    expected = (stack[inside].astype(float) - scale.low) / (scale.high - scale.low)
    np.testing.assert_allclose(scaled[inside], expected, atol=1e-6)
    assert scaled.std() > 2 * stack.std() / 255


def test_other_images_are_clipped_with_the_same_scale():
    scale = GrayScale.of(faint(), gray_values="percentiles")
    assert scale.apply(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    back = GrayScale.from_dict(json.loads(json.dumps(scale.as_dict())))
    assert back == scale
    assert "clip" not in GrayScale.of(faint()).as_dict()


def test_a_given_range_goes_first():
    assert GrayScale.of(faint(), (0, 511), "percentiles") == GrayScale.of(faint(), (0, 511))


def test_an_image_of_one_value_has_no_contrast():
    with pytest.raises(ValueError, match=r"gray_values = .percentiles.*no contrast"):
        GrayScale.of(np.full((1, 5, 5), 7, np.uint8), gray_values="percentiles")
