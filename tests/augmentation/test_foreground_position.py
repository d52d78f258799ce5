"""Tiles where the cells are: against a brute-force density, and nothing changes without it."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.augmentation.augmented_tiles import (
    NOTHING,
    PAPER,
    assert_same,
    sample,
    sequence,
    tile_of,
)
from unet2015.augmentation import tile as augmentation
from unet2015.augmentation.tile import (
    CENTRE_JITTER_PX,
    TileSequence,
    augment_tile,
    draw_augmentation,
    tile_corner,
)

DIGESTS: dict[str, tuple[dict[str, Any], str]] = {
    "paper": ({}, "bc72a6641e2704ac"),
    "right angles, flips": ({"rotation": "right_angles", "flips": True}, "8703e03f108c54f4"),
    "keys": ({"displacement_interpolation": "keys"}, "62a9bea6176c0723"),
}

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


@pytest.mark.parametrize(
    ("hw", "side", "jitter_px"), [((14, 12), 5, 0), ((9, 14), 4, 2), ((14, 6), 8, 2)]
)
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
