"""Training tiles against deform-everything-then-pad-then-crop, and the laws they must keep."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.augmentation.augmented_tiles import (
    NOTHING,
    PAPER,
    assert_same,
    sample,
    sequence,
    tile_of,
)
from unet2015.augmentation.deformation import deform
from unet2015.augmentation.tile import (
    TileSequence,
    augment_tile,
)


def padded_crop(array: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """A square of the mirrored array, by NumPy's reflect padding of all of it."""
    pad = 200
    padded = np.pad(array, [(0, 0)] * (array.ndim - 2) + [(pad, pad)] * 2, mode="reflect")
    return padded[..., top + pad : top + pad + side, left + pad : left + pad + side]


def test_without_augmentation_a_tile_is_a_mirrored_crop() -> None:
    sizes = [(40, 50), (33, 21), (5, 41), (1, 1)]
    tiles = [(20, 20), (36, 20), (70, 20), (90, 60), (25, 1)]
    for hw, sides in itertools.product(sizes, tiles):
        image, labels, weights = sample(*hw, channels=2)
        tile = tile_of((image, labels, weights), NOTHING, sides)
        top, left = ((size - sides[1]) // 2 for size in hw)  # centred
        margin = (sides[0] - sides[1]) // 2
        assert_array_equal(tile.image, padded_crop(image, top - margin, left - margin, sides[0]))
        assert_array_equal(tile.labels, padded_crop(labels, top, left, sides[1]))
        assert_array_equal(tile.weights, padded_crop(weights, top, left, sides[1]))


def test_shifted_tiles_come_from_every_position_alike() -> None:
    image, labels, weights = sample(8, 6)
    labels = np.arange(48, dtype=np.uint8).reshape(8, 6)
    config = replace(NOTHING, shift=True)
    corners = [
        int(tile_of((image, labels, weights), config, (6, 4), seed).labels[0, 0])
        for seed in range(3000)
    ]
    found, counts = np.unique(corners, return_counts=True)
    expected = [6 * row + column for row in range(5) for column in range(3)]
    assert found.tolist() == expected
    assert_allclose(counts, 200, atol=60)  # more than 4 standard deviations


@pytest.mark.parametrize(("sides", "seed"), [((36, 20), 0), ((90, 60), 1), ((20, 20), 2)])
def test_tile_is_a_crop_of_the_whole_deformed_image(sides: tuple[int, int], seed: int) -> None:
    """The documented draws, in their order, applied to whole images."""
    image, labels, weights = sample(40, 50)
    config = replace(PAPER, elastic_sigma_px=4.0)
    tile = tile_of((image, labels, weights), config, sides, seed)

    rng = np.random.default_rng(seed)
    angle, _, _, row, column, black, white, gamma = rng.random(8)
    field = 4.0 * rng.standard_normal((2, 3, 3))
    whole_image, whole_labels, whole_weights = deform(
        [image[0], labels, weights], field, angle_deg=360 * angle, orders=[3, 0, 1]
    )
    low, high = 0.05 * (2 * black - 1), 1 + 0.05 * (2 * white - 1)
    power = 1.2 ** (2 * gamma - 1)
    whole_image = np.clip(low + (high - low) * np.clip(whole_image, 0, 1) ** power, 0, 1)
    top, left = (
        int(place * (size - sides[1] + 1)) if size > sides[1] else (size - sides[1]) // 2
        for place, size in ((row, 40), (column, 50))
    )
    margin = (sides[0] - sides[1]) // 2
    expected = padded_crop(whole_image, top - margin, left - margin, sides[0])
    assert_allclose(tile.image[0], expected, atol=1e-5)
    assert_array_equal(tile.labels, padded_crop(whole_labels, top, left, sides[1]))
    assert_allclose(tile.weights, padded_crop(whole_weights, top, left, sides[1]), atol=1e-5)
    assert [part.dtype for part in tile] == [np.float32, np.uint8, np.float32]
    assert all(part.flags.c_contiguous for part in tile)


def test_right_angles_and_flips_are_exact_and_all_occur() -> None:
    image, labels, weights = sample(7, 7, channels=2)
    turns = [partial(np.rot90, k=k, axes=(-2, -1)) for k in range(4)]
    flips = [partial(np.flip, axis=axes) for axes in ((), (-2,), (-1,), (-2, -1))]
    for config, ways in (
        (replace(NOTHING, rotation="right_angles"), turns),
        (replace(NOTHING, flips=True), flips),
    ):
        seen = set()
        for seed in range(40):
            tile = tile_of((image, labels, weights), config, (7, 7), seed)
            (k,) = (k for k, way in enumerate(ways) if np.array_equal(way(labels), tile.labels))
            assert_array_equal(tile.image, ways[k](image))
            assert_array_equal(tile.weights, ways[k](weights))
            seen.add(k)
        assert seen == {0, 1, 2, 3}
    _, oblong, _ = arrays = sample(5, 9)
    allowed = [padded_crop(np.rot90(oblong, k), *((0, 2), (2, 0))[k % 2], 5) for k in range(4)]
    for seed in range(10):
        tile = tile_of(arrays, replace(NOTHING, rotation="right_angles"), (5, 5), seed)
        assert any(np.array_equal(tile.labels, turned) for turned in allowed)


def test_switching_an_option_leaves_the_others_draws() -> None:
    arrays = sample(40, 50)
    plain = tile_of(arrays, PAPER, (36, 20))
    gray = tile_of(arrays, replace(PAPER, black_level=0, white_level=0, gamma=1), (36, 20))
    assert_array_equal(plain.labels, gray.labels)
    assert_array_equal(plain.weights, gray.weights)
    assert (plain.image != gray.image).any()
    shifted = replace(NOTHING, shift=True)
    position = tile_of(arrays, shifted, (36, 20))
    finer = tile_of(arrays, replace(shifted, elastic_points=5, gamma=1.1), (36, 20))
    assert_array_equal(position.labels, finer.labels)


def test_every_tile_draws_as_many_numbers() -> None:
    turned, flipped = replace(NOTHING, rotation="right_angles"), replace(PAPER, flips=True)
    for config in (PAPER, NOTHING, turned, flipped):
        rng, expected = np.random.default_rng(0), np.random.default_rng(0)
        augment_tile(*sample(20, 20), config, input_tile_px=10, output_tile_px=10, rng=rng)
        expected.random(8)
        expected.standard_normal((2, 3, 3))
        assert rng.random() == expected.random()


def test_gray_values_move_within_their_bounds_and_keep_their_order() -> None:
    ramp = np.linspace(0, 1, 101, dtype=np.float32)[None, None]
    labels, weights = np.zeros((1, 101), np.uint8), np.ones((1, 101), np.float32)
    config = replace(NOTHING, black_level=0.05, white_level=0.05, gamma=1.2)
    curves = []
    for seed in range(50):
        curve = tile_of((ramp, labels, weights), config, (101, 101), seed).image[0, 0]
        assert (np.diff(curve) >= 0).all()
        curves.append(curve)
    black, middle, white = np.array(curves)[:, [0, 50, 100]].T
    assert 0 <= black.min() < 0.01
    assert 0.03 < black.max() <= 0.05
    assert 0.95 <= white.min() < 0.97
    assert 0.99 < white.max() <= 1
    assert 0.5**1.2 * 0.95 - 0.05 <= middle.min() < 0.47
    assert 0.53 < middle.max() <= 0.5 ** (1 / 1.2) * 1.05 + 0.05


def test_ignored_pixels_stay_ignored() -> None:
    image, labels, weights = sample(60, 60)
    weights[:, 25:40] = 0
    labels[:, 25:40], labels[:, :25], labels[:, 40:] = 7, 0, 1
    for seed in range(5):
        tile = tile_of((image, labels, weights), PAPER, (50, 40), seed)
        ignored = tile.labels == 7
        assert ignored.any()
        assert (tile.weights[ignored] == 0).all()
        assert (tile.weights[~ignored] > 0).all()
    assert not tile_of((image, labels, 0 * weights), PAPER, (12, 10)).weights.any()


def test_arguments_stay_as_they_are() -> None:
    arrays = sample(20, 20)
    arrays[2][:5] = 0
    before = [array.copy() for array in arrays]
    for config in (PAPER, NOTHING):
        tile = tile_of(arrays, config, (20, 20))
        tile.weights[:] = -1
        tile.labels[:] = 9
    for array, original in zip(arrays, before, strict=True):
        assert_array_equal(array, original)


def test_tile_k_does_not_depend_on_order_or_workers() -> None:
    straight = [sequence(5)[k] for k in range(12)]
    tiles = sequence(5)
    backwards = [tiles[k] for k in reversed(range(12))][::-1]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(tiles.__getitem__, range(12)))
    for k in range(12):
        assert_same(straight[k], backwards[k])
        assert_same(straight[k], threaded[k])


def test_tiles_and_seeds_differ() -> None:
    tiles = [sequence(0)[0], sequence(0)[1], sequence(0)[3], sequence(1)[0]]
    for i, first in enumerate(tiles):
        for second in tiles[:i]:
            assert (first.image != second.image).any()
    one_image = sequence(0, count=1)  # the same image in every epoch, never the same tile
    assert (one_image[0].image != one_image[1].image).any()


def test_every_image_occurs_once_per_epoch_in_changing_order() -> None:
    count = 6
    images = [np.full((1, 8, 8), i / 10, np.float32) for i in range(count)]
    labels, weights = np.zeros((count, 8, 8), np.uint8), np.ones((count, 8, 8), np.float32)
    tiles = TileSequence(
        images, labels, weights, NOTHING, input_tile_px=8, output_tile_px=8, seed=3
    )
    order = [round(float(tiles[k].image.mean()) * 10) for k in range(4 * count)]
    epochs = [order[start : start + count] for start in range(0, 4 * count, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_tiles_are_numbered_from_zero() -> None:
    for k in (-1, 2**31):
        with pytest.raises(IndexError, match="must be 0 … "):
            sequence(0)[k]


@pytest.mark.parametrize(
    ("change", "sides", "message"),
    [
        ({}, (9, 8), "input tile of 9 px, output tile of 8 px"),
        ({}, (6, 8), "must be larger by an even number"),
        ({}, (8, 0), "at least 1 px"),
        ({"image": np.zeros((20, 20))}, (8, 8), r"image of shape \(20, 20\)"),
        ({"image": np.full((1, 20, 20), 1.5)}, (8, 8), r"must lie in \[0, 1\]"),
        ({"image": np.full((1, 20, 20), np.nan)}, (8, 8), "image from nan"),
        ({"labels": np.zeros((20, 21), int)}, (8, 8), "labels of shape"),
        ({"labels": np.zeros((20, 20))}, (8, 8), "labels of type float64"),
        ({"labels": np.full((20, 20), 256)}, (8, 8), "integers 0 … 255"),
        ({"weights": np.ones((1, 20, 20))}, (8, 8), "weights of shape"),
        ({"weights": -np.ones((20, 20))}, (8, 8), "finite and ≥ 0"),
        ({"weights": np.full((20, 20), np.inf)}, (8, 8), "finite and ≥ 0"),
    ],
)
def test_bad_input_is_named(
    change: dict[str, np.ndarray], sides: tuple[int, int], message: str
) -> None:
    arrays = dict(zip(("image", "labels", "weights"), sample(20, 20), strict=True)) | change
    image, labels, weights = arrays.values()
    sizes = dict(zip(("input_tile_px", "output_tile_px"), sides, strict=True))
    with pytest.raises(ValueError, match=message):
        tile_of((image, labels, weights), NOTHING, sides)
    with pytest.raises(ValueError, match=message):
        TileSequence([image], [labels], [weights], NOTHING, **sizes, seed=0)


def test_bad_sequences_are_named() -> None:
    image, labels, weights = sample(20, 20)
    sides = {"input_tile_px": 8, "output_tile_px": 8}
    with pytest.raises(ValueError, match="2 images, 1 labels, 1 weight maps"):
        TileSequence([image, image], [labels], [weights], NOTHING, **sides, seed=0)
    with pytest.raises(ValueError, match="at least one"):
        TileSequence([], [], [], NOTHING, **sides, seed=0)
    with pytest.raises(ValueError, match="seed = -1"):
        TileSequence([image], [labels], [weights], NOTHING, **sides, seed=-1)
    with pytest.raises(ValueError, match="sample 1: image from 2"):
        TileSequence([image, 0 * image + 2], [labels] * 2, [weights] * 2, NOTHING, **sides, seed=0)
