"""Images of one kind do not warn of each other: the real sets, each part beside the other."""

import numpy as np
import pytest

from tests.real_data import real_data
from unet2015.data.cell_tracking import RELEASES, load_cell_tracking
from unet2015.data.gray_scale import GrayScale
from unet2015.data.gray_use import gray_quantiles, scale_for
from unet2015.data.isbi2012 import load_isbi2012


def remarks(trained: np.ndarray, other: np.ndarray) -> list[str]:
    scale, seen = GrayScale.of(trained), gray_quantiles(trained)
    said = [scale_for(image[None], None, scale, seen)[1] for image in other]
    return [text for each in said for _, text in each]


@pytest.mark.parametrize("name", RELEASES)
def test_a_sequence_is_like_the_other(name):
    sequences = load_cell_tracking(name, real_data(name)).sequences
    first, second = (sequences[key].images for key in ("01", "02"))
    assert remarks(first, second) == remarks(second, first) == []


def test_the_em_stacks_test_volume_is_like_its_training_volume():
    stack = load_isbi2012(real_data("isbi2012"))
    if stack.test_images is None:
        pytest.skip("no test volume")
    assert remarks(stack.train_images, stack.test_images) == []
