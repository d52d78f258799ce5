"""Training tiles against deform-everything-then-pad-then-crop, and the laws they must keep."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from unet2015 import augmentation
from unet2015.augmentation import (
    CENTRE_JITTER_PX,
    TileSequence,
    TrainingTile,
    augment_tile,
    draw_augmentation,
    tile_corner,
)
from unet2015.config import AugmentationConfig
from unet2015.deformation import deform

NOTHING = AugmentationConfig(
    elastic_sigma_px=0, rotation="none", shift=False, black_level=0, white_level=0, gamma=1
)
PAPER = AugmentationConfig()
DIGESTS: dict[str, tuple[dict[str, Any], str]] = {
    "paper": ({}, "b6b21ee1ee3256ab"),
    "right angles, flips": ({"rotation": "right_angles", "flips": True}, "0f1a5543ba26ed08"),
    "keys": ({"displacement_interpolation": "keys"}, "14b4abe353794cd7"),
}
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def sample(height: int, width: int, *, channels: int = 1, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    image = rng.random((channels, height, width), np.float32)
    labels = rng.integers(0, 2, (height, width), np.uint8)
    return image, labels, (1 + 9 * rng.random((height, width))).astype(np.float32)


def tile_of(arrays: Sample, config: AugmentationConfig, sides: tuple[int, int], seed: int = 0):
    rng = np.random.default_rng(seed)
    return augment_tile(*arrays, config, input_tile_px=sides[0], output_tile_px=sides[1], rng=rng)


def padded_crop(array: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """A square of the mirrored array, by NumPy's reflect padding of all of it."""
    pad = 200
    padded = np.pad(array, [(0, 0)] * (array.ndim - 2) + [(pad, pad)] * 2, mode="reflect")
    return padded[..., top + pad : top + pad + side, left + pad : left + pad + side]


def test_tile_has_the_promised_types_and_sizes() -> None:
    tile = tile_of(sample(40, 50, channels=3), PAPER, (36, 20))
    assert (tile.image.shape, tile.image.dtype) == ((3, 36, 36), np.float32)
    assert (tile.labels.shape, tile.labels.dtype) == ((20, 20), np.uint8)
    assert (tile.weights.shape, tile.weights.dtype) == ((20, 20), np.float32)
    assert all(array.flags.c_contiguous for array in tile)


@pytest.mark.parametrize("sides", [(20, 20), (36, 20), (70, 20), (90, 60), (25, 1)])
@pytest.mark.parametrize("hw", [(40, 50), (33, 21), (5, 41), (1, 1)])
def test_without_augmentation_a_tile_is_a_mirrored_crop(
    hw: tuple[int, int], sides: tuple[int, int]
) -> None:
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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sides", [(36, 20), (90, 60), (20, 20)])
def test_tile_is_a_crop_of_the_whole_deformed_image(seed: int, sides: tuple[int, int]) -> None:
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


@pytest.mark.parametrize("seed", range(3))
def test_image_labels_and_weights_share_one_field(seed: int) -> None:
    _, labels, _ = sample(40, 50)
    values = labels.astype(np.float32)
    config = replace(
        PAPER, image_order=0, black_level=0, white_level=0, gamma=1, flips=True, elastic_sigma_px=5
    )
    tile = tile_of((values[None], labels, 1 + values), config, (20, 20), seed)
    assert_array_equal(tile.image[0], tile.labels)
    # linear weights agree with the nearest label to half a step
    assert np.abs(tile.weights - 1 - tile.labels).max() <= 0.75 + 1e-6
    assert 0 < tile.labels.mean() < 1


def test_right_angles_are_exact_and_all_occur() -> None:
    image, labels, weights = sample(7, 7, channels=2)
    turns = [np.rot90(labels, k) for k in range(4)]
    seen = set()
    for seed in range(40):
        config = replace(NOTHING, rotation="right_angles")
        tile = tile_of((image, labels, weights), config, (7, 7), seed)
        (k,) = (k for k in range(4) if np.array_equal(turns[k], tile.labels))
        assert_array_equal(tile.image, np.rot90(image, k, axes=(1, 2)))
        assert_array_equal(tile.weights, np.rot90(weights, k))
        seen.add(k)
    assert seen == {0, 1, 2, 3}


def test_right_angles_of_an_image_that_is_not_square() -> None:
    image, labels, weights = sample(5, 9)
    config = replace(NOTHING, rotation="right_angles")
    allowed = [padded_crop(np.rot90(labels, k), *((0, 2), (2, 0))[k % 2], 5) for k in range(4)]
    for seed in range(10):
        tile = tile_of((image, labels, weights), config, (5, 5), seed)
        assert any(np.array_equal(tile.labels, turned) for turned in allowed)


def test_flips_are_exact_and_all_occur() -> None:
    arrays = sample(7, 7)
    _, labels, weights = arrays
    seen = set()
    for seed in range(40):
        tile = tile_of(arrays, replace(NOTHING, flips=True), (7, 7), seed)
        (axes,) = (
            axes
            for axes in ((), (0,), (1,), (0, 1))
            if (np.flip(labels, axes) == tile.labels).all()
        )
        assert_array_equal(tile.weights, np.flip(weights, axes))
        seen.add(axes)
    assert len(seen) == 4


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


@pytest.mark.parametrize(
    "config",
    [PAPER, NOTHING, replace(NOTHING, rotation="right_angles"), replace(PAPER, flips=True)],
)
def test_every_tile_draws_as_many_numbers(config: AugmentationConfig) -> None:
    rng, expected = np.random.default_rng(0), np.random.default_rng(0)
    augment_tile(*sample(20, 20), config, input_tile_px=10, output_tile_px=10, rng=rng)
    expected.random(8)
    expected.standard_normal((2, 3, 3))
    assert rng.random() == expected.random()


def test_values_stay_in_their_range() -> None:
    image, labels, weights = sample(40, 40)
    image = (image > 0.5).astype(np.float32)  # cubic splines overshoot most at jumps
    for seed in range(5):
        tile = tile_of((image, labels, weights), PAPER, (30, 20), seed)
        assert tile.image.min() >= 0
        assert tile.image.max() <= 1
        assert set(np.unique(tile.labels)) <= {0, 1}
        assert tile.weights.min() >= weights.min() - 1e-5
        assert tile.weights.max() <= weights.max() + 1e-5


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


def test_a_sample_that_is_all_ignored() -> None:
    image, labels, weights = sample(20, 20)
    tile = tile_of((image, labels, 0 * weights), PAPER, (12, 10))
    assert not tile.weights.any()


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


def sequence(seed: int, count: int = 3, config: AugmentationConfig = PAPER) -> TileSequence:
    arrays = [sample(20 + 3 * i, 26 - i, seed=i) for i in range(count)]
    images, labels, weights = (list(part) for part in zip(*arrays, strict=True))
    return TileSequence(
        images, labels, weights, config, input_tile_px=16, output_tile_px=8, seed=seed
    )


def assert_same(first: TrainingTile, second: TrainingTile) -> None:
    for ours, theirs in zip(first, second, strict=True):
        assert_array_equal(ours, theirs)


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


@pytest.mark.parametrize("k", [-1, 2**31])
def test_tiles_are_numbered_from_zero(k: int) -> None:
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
    with pytest.raises(ValueError, match=message):
        tile_of((image, labels, weights), NOTHING, sides)
    with pytest.raises(ValueError, match=message):
        TileSequence(
            [image],
            [labels],
            [weights],
            NOTHING,
            input_tile_px=sides[0],
            output_tile_px=sides[1],
            seed=0,
        )


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


FOREGROUND = replace(NOTHING, shift=True, position="foreground")


def foreground_corners(labels: np.ndarray, weights: np.ndarray, side: int, count: int) -> list:
    draws = (draw_augmentation(FOREGROUND, np.random.default_rng([9, k])) for k in range(count))
    return [tile_corner(labels, weights, side, FOREGROUND, draw) for draw in draws]


def centre_probability(labels: np.ndarray, weights: np.ndarray, side: int) -> np.ndarray:
    """Of every corner, by going through all pixels and all jitters."""
    tall, wide = (max(size - side, 0) + 1 for size in labels.shape)
    half = [side // 2 + min(size - side, 0) // 2 for size in labels.shape]
    density = np.zeros((tall, wide))
    for row, column in np.ndindex(tall, wide):
        at = row + half[0], column + half[1]
        density[row, column] = 0 if weights[at] == 0 else 1 if labels[at] else 0.1
    found = np.zeros_like(density)
    jitters = range(-CENTRE_JITTER_PX, CENTRE_JITTER_PX + 1)
    for row, column in np.argwhere(density):
        for down in jitters:
            for right in jitters:
                moved = (min(max(row + down, 0), tall - 1), min(max(column + right, 0), wide - 1))
                end = moved if density[moved] else (row, column)
                found[end] += density[row, column] / len(jitters) ** 2
    return found / found.sum()


@pytest.mark.parametrize("jitter_px", [0, 2])
@pytest.mark.parametrize(("hw", "side"), [((14, 12), 5), ((9, 14), 4), ((14, 6), 8)])
def test_foreground_centres_follow_the_density(
    hw: tuple[int, int], side: int, jitter_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "CENTRE_JITTER_PX", jitter_px)
    monkeypatch.setitem(globals(), "CENTRE_JITTER_PX", jitter_px)
    labels = np.zeros(hw, np.uint8)
    labels[4:8, 3:6] = 3
    weights = np.ones(hw, np.float32)
    weights[6, :4] = 0
    expected = 5_000 * centre_probability(labels, weights, side)
    corners = np.array(foreground_corners(labels, weights, side, 5_000))
    corners -= [min(size - side, 0) // 2 for size in hw]
    counts = np.zeros(expected.shape)
    np.add.at(counts, tuple(corners.T), 1)
    assert not counts[expected == 0].any()
    possible = expected > 0
    chi2 = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = possible.sum() - 1
    assert expected[possible].min() > 5
    # 5 standard deviations; a uniform position is hundreds away
    assert chi2 < freedom + 5 * np.sqrt(2 * freedom)
    uniform = np.full(possible.sum(), 5_000 / possible.sum())
    assert ((counts[possible] - uniform) ** 2 / uniform).sum() > freedom + 50 * np.sqrt(2 * freedom)


def test_the_jitter_is_that_of_the_later_plugin() -> None:
    labels = np.zeros((41, 41), np.uint8)
    weights = np.zeros((41, 41), np.float32)
    weights[20, 20] = 1
    assert set(foreground_corners(labels, weights, 1, 200)) == {(20, 20)}  # the rest is ignored
    weights[:], labels[20, 20] = 1e-3, 1
    sides = np.array(foreground_corners(labels, weights, 1, 400))
    assert sides.min() >= 0
    assert sides.max() <= 40
    alone = np.array(
        [
            tile_corner(labels, weights, 1, FOREGROUND, draw._replace(centre=(0.5, *jitter)))
            for draw in [draw_augmentation(FOREGROUND, np.random.default_rng(0))]
            for jitter in [(0.0, 1 - 1e-9), (0.5, 0.5), (1 - 1e-9, 0.0)]
        ]
    )
    assert (alone - alone[1]).tolist() == [[-8, 8], [0, 0], [8, -8]]


@pytest.mark.parametrize("interpolation", ["bspline", "keys"])
def test_the_density_is_that_of_the_pixel_at_the_tile_s_centre(interpolation: str) -> None:
    """Also where the image is turned and deformed: the centre is never ignored, mostly a cell."""
    _, labels, weights = sample(60, 70)
    labels[:] = 0
    labels[20:30, 15:30] = 1
    weights[30:, :] = 0
    arrays = np.full((1, 60, 70), 0.5, np.float32), labels, weights
    uniform = replace(
        PAPER, displacement_interpolation=interpolation, flips=True, elastic_sigma_px=3
    )
    shown = {}
    for config in (uniform, replace(uniform, position="foreground")):
        tiles = [tile_of(arrays, config, (9, 9), seed) for seed in range(150)]
        cells = np.mean([tile.labels[4, 4] for tile in tiles])
        ignored = np.mean([tile.weights[4, 4] == 0 for tile in tiles])
        shown[config.position] = cells, ignored
    assert shown["uniform"][1] > 0.3
    assert shown["foreground"][1] == 0
    assert shown["foreground"][0] > 3 * shown["uniform"][0] > 0


def test_foreground_changes_nothing_but_the_position() -> None:
    uniform, foreground = (replace(PAPER, position=p) for p in ("uniform", "foreground"))
    first, second = (draw_augmentation(c, np.random.default_rng(3)) for c in (uniform, foreground))
    assert first.centre is None
    assert second.centre is not None
    for ours, theirs in zip(first[:-1], second[:-1], strict=True):
        assert_array_equal(ours, theirs)
    arrays = sample(20, 26)
    # a tile that is larger than the image, or centred, has one position
    for config, sides in ((foreground, (40, 30)), (replace(foreground, shift=False), (16, 8))):
        as_uniform = tile_of(arrays, replace(config, position="uniform"), sides)
        assert_same(tile_of(arrays, config, sides), as_uniform)


def test_where_nothing_may_be_drawn_the_position_is_uniform() -> None:
    image, labels, weights = sample(20, 26)
    for config in (PAPER, replace(NOTHING, shift=True)):
        foreground = replace(config, position="foreground")
        for seed in range(4):
            arrays = image, labels, 0 * weights
            assert_same(
                tile_of(arrays, foreground, (10, 8), seed), tile_of(arrays, config, (10, 8), seed)
            )


def digest(tiles: TileSequence, count: int) -> str:
    """Of the bits that no processor's rounding decides: labels, and where weights are 0."""
    found = hashlib.sha256()
    for k in range(count):
        tile = tiles[k]
        found.update(tile.labels.tobytes() + (tile.weights == 0).tobytes())
        found.update(np.round(tile.image * 500).astype(np.int16)[:, ::7, ::7].tobytes())
    return found.hexdigest()[:16]


@pytest.mark.parametrize("name", DIGESTS)
def test_uniform_tiles_are_those_of_the_first_records(name: str) -> None:
    """Digests computed before the option 'foreground' and the kept coefficients came."""
    change, expected = DIGESTS[name]
    tiles = sequence(5, config=replace(PAPER, **change))
    assert digest(tiles, 6) == expected


@pytest.mark.parametrize("channels", [1, 2])
def test_kept_coefficients_are_those_of_every_tile(
    channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = [sample(20 + i, 26, channels=channels, seed=i) for i in range(3)]
    images, labels, weights = (list(part) for part in zip(*arrays, strict=True))
    monkeypatch.setattr(augmentation, "COEFFICIENT_BYTES", images[0].nbytes + 1)
    config = replace(PAPER, position="foreground")
    tiles = TileSequence(
        images, labels, weights, config, input_tile_px=16, output_tile_px=8, seed=1
    )
    for k in range(9):
        index, rng = tiles.source(k)
        assert_same(
            tiles[k],
            augment_tile(*arrays[index], config, input_tile_px=16, output_tile_px=8, rng=rng),
        )
    assert list(tiles._coefficients) == [0]
