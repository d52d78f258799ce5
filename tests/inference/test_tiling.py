"""The overlap-tile geometry against NumPy's reflect padding and by counting pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unet2015.config import ModelConfig
from unet2015.inference.tiling import choose_tiling, mirror_indices, mirror_tile, mirror_window
from unet2015.model import valid_output_size


@given(st.integers(2, 9), st.integers(0, 30), st.integers(0, 30))
def test_mirroring_is_numpys_reflect(size: int, before: int, after: int) -> None:
    line = np.arange(size)
    expected = np.pad(line, (before, after), mode="reflect")
    assert line[mirror_indices(-before, size + after, size)].tolist() == expected.tolist()
    assert mirror_indices(-3, 4, 1).tolist() == [0] * 7  # of a single pixel


def test_windows_of_arrays_and_tensors_are_mirrored_without_the_edge_pixel_twice() -> None:
    window = mirror_window(np.array([[1, 2], [3, 4]]), -1, -1, 4, 4)
    assert window.tolist() == [[4, 3, 4, 3], [2, 1, 2, 1], [4, 3, 4, 3], [2, 1, 2, 1]]
    for hw in ((7, 5), (1, 4), (1, 1), (2, 9)):
        image = np.random.default_rng(0).random((2, *hw), np.float32)
        tile = mirror_tile(torch.from_numpy(image), -9, 3, 30, 12)
        assert np.array_equal(tile.numpy(), mirror_window(image, -9, 3, 30, 12))


@given(
    height=st.integers(1, 1500),
    width=st.integers(1, 1500),
    depth=st.integers(2, 4),
    largest=st.sampled_from([300, 572, 892]),
    padding=st.sampled_from(["valid", "same"]),
)
@settings(deadline=None, max_examples=60)
def test_tiles_cover_every_pixel(
    height: int, width: int, depth: int, largest: int, padding: str
) -> None:
    model = ModelConfig(depth=depth, padding=padding)
    tiling = choose_tiling((height, width), model, largest)
    count = np.zeros((height, width), int)
    for tile in tiling:
        (y, x), (h, w) = tile.output_yx, tile.output_hw
        count[y : y + h, x : x + w] += 1
        for axis in (0, 1):
            assert tile.output_yx[axis] % 2**depth == 0  # else the poolings see another grid
            margin = tile.input_hw[axis] - tile.output_hw[axis]
            assert tile.input_yx[axis] == tile.output_yx[axis] - margin // 2
            assert tile.input_hw[axis] <= largest
            if padding == "valid":
                assert valid_output_size(tile.input_hw[axis], depth) == tile.output_hw[axis]
    assert count.min() == 1
    assert count.max() <= 4  # at the overlapping corner of four tiles
    assert len(tiling) == len(list(tiling))


def test_tiles_of_known_images() -> None:
    paper = ModelConfig()
    em_slice = choose_tiling((512, 512), paper, 892)
    assert (em_slice.input_hw, em_slice.output_hw, len(em_slice)) == ((700, 700), (516, 516), 1)
    assert em_slice.redundancy() == pytest.approx((516 / 512) ** 2 - 1)
    small = choose_tiling((512, 512), paper, 572)
    assert (small.input_hw, small.stride_hw, len(small)) == ((444, 444), (256, 256), 4)


def test_too_small_a_bound_names_the_smallest_tile() -> None:
    with pytest.raises(ValueError, match="must be at least 204"):
        choose_tiling((10, 10), ModelConfig(), 203)
    with pytest.raises(ValueError, match="0×5"):
        choose_tiling((0, 5), ModelConfig(), 892)
