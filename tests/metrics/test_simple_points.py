"""Simple points against their definition, by SciPy's component labelling."""

import itertools

import numpy as np
import pytest

from tests.metrics.warping_oracle import EIGHT, FOUR, ids_of, simple
from unet2015.metrics.simple_points import RING_YX, is_simple, simple_point_table

PATCHES = [np.array(bits).reshape(3, 3) for bits in itertools.product((False, True), repeat=9)]


def ring_of(patch: np.ndarray) -> tuple[bool, ...]:
    return tuple(bool(patch[1 + y, 1 + x]) for y, x in RING_YX)


def topology(image: np.ndarray) -> tuple[int, int]:
    padded = np.pad(image, 2)
    return int(ids_of(padded, FOUR).max()), int(ids_of(~padded, EIGHT).max())


def test_all_512_patches_are_judged_as_defined_and_232_are_simple() -> None:
    table, found = simple_point_table(), []
    for patch in PATCHES:
        ring = ring_of(patch)
        found.append(is_simple(ring))
        assert found[-1] == simple(patch.tobytes())
        assert table[sum(2**k for k, cell in enumerate(ring) if cell)] == found[-1]
    assert sum(found) == 232
    with pytest.raises(ValueError, match="read-only"):
        table[0] = True
    with pytest.raises(ValueError, match="ring has 4 values: must have 8"):
        is_simple((True, False, True, False))


def test_flipping_a_simple_point_keeps_the_number_of_cells_and_membranes() -> None:
    rng = np.random.default_rng(3)
    flips = 0
    for _ in range(40):
        image = rng.random((7, 7)) < 0.6
        flipped = image.copy()
        flipped[3, 3] ^= True
        if is_simple(ring_of(image[2:5, 2:5])):
            flips += 1
            assert topology(image) == topology(flipped)
    assert flips > 5
