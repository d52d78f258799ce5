"""Simple points against their definition, by SciPy's component labelling."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from unet2015.metrics.simple_points import RING_YX, is_simple, simple_point_table

FOUR = ndimage.generate_binary_structure(2, 1)
EIGHT = ndimage.generate_binary_structure(2, 2)
PATCHES = [np.array(bits).reshape(3, 3) for bits in itertools.product((False, True), repeat=9)]


def ids_of(mask: np.ndarray, structure: np.ndarray) -> np.ndarray:
    return ndimage.label(mask, structure)[0]  # pyright: ignore[reportIndexIssue]


def ring_of(patch: np.ndarray) -> tuple[bool, ...]:
    return tuple(bool(patch[1 + y, 1 + x]) for y, x in RING_YX)


def simple_by_definition(patch: np.ndarray) -> bool:
    cells, membrane = patch.copy(), ~patch
    cells[1, 1] = membrane[1, 1] = False
    touching = set(ids_of(cells, FOUR)[FOUR]) - {0}
    return len(touching) == 1 and ids_of(membrane, EIGHT).max() == 1


def topology(image: np.ndarray) -> tuple[int, int]:
    padded = np.pad(image, 2)
    return int(ids_of(padded, FOUR).max()), int(ids_of(~padded, EIGHT).max())


def test_all_512_patches_are_judged_as_defined_and_232_are_simple() -> None:
    found = [is_simple(ring_of(patch)) for patch in PATCHES]
    assert found == [simple_by_definition(patch) for patch in PATCHES]
    assert sum(found) == 232


def test_table_is_indexed_by_the_ring() -> None:
    table = simple_point_table()
    for patch in PATCHES:
        code = sum(2**k for k, cell in enumerate(ring_of(patch)) if cell)
        assert table[code] == simple_by_definition(patch)
    with pytest.raises(ValueError, match="read-only"):
        table[0] = True


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


def test_another_number_of_neighbours_is_refused() -> None:
    with pytest.raises(ValueError, match="ring has 4 values: must have 8"):
        is_simple((True, False, True, False))
