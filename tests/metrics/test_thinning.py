"""Border thinning against the organisers' outputs and a slow queue written from its definition."""

import hashlib
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tests.metrics.reference import load, on_every_case
from unet2015.metrics.thinning import watershed_segments


@on_every_case
def test_dams_are_the_organisers(case: Path) -> None:
    _, probability, expected = load(case)
    for figures in expected["per_threshold"]:
        mask = probability.astype(np.float64) > figures["threshold"]
        for z, of_slice in enumerate(figures["slices"]):
            segments = watershed_segments(mask[z])
            dams = (segments == 0).astype(np.uint8)
            assert segments.max() == of_slice["n_watershed"]
            assert hashlib.sha1(dams.tobytes()).hexdigest() == of_slice["sha1_dam_mask"]


def smooth(seed: int, share: float, sigma_px: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((40, 53)), sigma_px)
    return noise < np.quantile(noise, share)


@settings(deadline=None, max_examples=150)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9)))
@example(smooth(0, 0.1, 0.8))
@example(smooth(1, 0.5, 0.8))
@example(smooth(2, 0.05, 0.0))
@example(smooth(3, 0.5, 0.0))
def test_segments_are_those_of_the_slow_queue(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(watershed_segments(mask), slow_watershed(mask))


def test_dams_can_be_more_than_one_pixel_thick() -> None:
    mask = np.eye(4, dtype=bool)
    # beside the diagonal each pixel sees two cells; behind it each sees only dams
    np.testing.assert_array_equal(watershed_segments(mask), np.diag([1, 2, 3, 4]))


def test_a_float_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="type float32 must be bool"):
        watershed_segments(np.zeros((3, 3), np.float32))


def slow_watershed(mask: np.ndarray) -> np.ndarray:
    """The flooding, pixel by pixel as it is defined; 0 = dam, numbered by columns."""
    if not mask.any():
        return np.ones(mask.shape, np.int32)
    height, width = mask.shape
    basin_of = ndimage.label(mask.T)[0].T
    state = {(x, y): int(basin_of[y, x]) for x in range(width) for y in range(height) if mask[y, x]}

    def neighbours(x: int, y: int) -> list[tuple[int, int]]:
        around = [(x - 1, y), (x, y - 1), (x + 1, y), (x, y + 1)]
        return [(u, v) for u, v in around if 0 <= u < width and 0 <= v < height]

    queue: deque[tuple[int, int]] = deque()
    for x in range(width):
        for y in range(height):
            if not mask[y, x] and any((u, v) in state for u, v in neighbours(x, y)):
                queue.append((x, y))
    queued = set(queue)
    while queue:
        pixel = queue.popleft()
        found = {state[other] for other in neighbours(*pixel) if other in state}
        basins = found - {0}
        assert found, "a queued pixel has a settled neighbour"
        state[pixel] = basins.pop() if len(basins) == 1 else 0
        for other in neighbours(*pixel):
            if not mask[other[1], other[0]] and other not in queued:
                queued.add(other)
                queue.append(other)
    return np.array([[state[x, y] for x in range(width)] for y in range(height)], np.int32)
