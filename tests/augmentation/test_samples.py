"""Images and labels become the tiles that Eq. 2 and the class frequencies say."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import find_boundaries

from tests.augmentation.augmented_tiles import NOTHING
from tests.tiny import settings
from unet2015.augmentation.samples import (
    cells_of,
    in_half_precision,
    training_tiles,
    weight_maps,
)
from unet2015.config import ExperimentConfig, WeightMapConfig
from unet2015.data.gray_scale import GrayScale


def unaugmented(weight_map: WeightMapConfig | None = None) -> ExperimentConfig:
    """28 px in, 12 px out, always the centre of the image as it is."""
    return replace(
        settings(input_tile_px=28),
        augmentation=NOTHING,
        weight_map=weight_map or WeightMapConfig(),
    )


HALF = 2**-11
"""Largest relative rounding of a weight in float16."""


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """Binary labels, 1 = cell, with some cells apart and some that touch at corners."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    return (ndimage.gaussian_filter(noise, 1.5) > 0).astype(np.uint8)


def components(labels: np.ndarray) -> np.ndarray:
    return np.asarray(label(labels, connectivity=1))


def picture(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([seed, 1]).random(shape, dtype=np.float32)


def centre(plane: np.ndarray, size: int) -> np.ndarray:
    top, left = ((side - size) // 2 for side in plane.shape[-2:])
    return plane[..., top : top + size, left : left + size]


def eq2_by_brute_force(cells: np.ndarray, class_weights: tuple[float, float]) -> np.ndarray:
    """Eq. 2 with every distance computed pixel by pixel."""
    places = np.indices(cells.shape).reshape(2, -1).T
    result = np.empty(cells.shape)
    numbers = [n for n in np.unique(cells) if n]
    for row, column in places:
        nearest = sorted(
            min(np.hypot(*(np.argwhere(cells == n) - (row, column)).T)) for n in numbers
        )
        border = 10 * np.exp(-((nearest[0] + nearest[1]) ** 2) / (2 * 5**2))
        result[row, column] = class_weights[int(cells[row, column] > 0)] + border
    return result


def test_the_unaugmented_tile_is_the_centre_of_image_labels_and_eq_2():
    labels = blobs(0, 40, 36)
    image = picture(0, 40, 36)
    tile = training_tiles([image], [labels], unaugmented(), seed=0)[0]
    np.testing.assert_array_equal(tile.image, centre(image, 28)[None])
    np.testing.assert_array_equal(tile.labels, centre(labels, 12))
    share = labels.mean()
    commoner = max(share, 1 - share)
    cells = components(labels)
    expected = eq2_by_brute_force(cells, (commoner / (1 - share), commoner / share))
    np.testing.assert_allclose(tile.weights, centre(expected, 12), rtol=HALF)
    assert np.ptp(tile.weights) > 1


def test_class_weights_come_from_all_labels_together_not_from_each():
    sparse, full = np.zeros((40, 40), np.uint8), np.ones((40, 40), np.uint8)
    sparse[:10], full[-10:, :20] = 1, 0  # 400 + 1400 of 3200 pixels are cell
    config = unaugmented(WeightMapConfig(w0=0))
    maps = weight_maps(
        [cells_of(p, "binary", config.weight_map) for p in (sparse, full)], config.weight_map
    )
    for labels, weights in zip((sparse, full), maps, strict=True):
        expected = np.where(labels == 1, 1, 1800 / 1400)
        np.testing.assert_allclose(weights, expected, rtol=1e-6)
    tiles = training_tiles([picture(0, 40, 40)] * 2, [sparse, full], config, seed=0)
    assert {float(w) for k in range(2) for w in np.unique(tiles[k].weights)} <= {
        1.0,
        float(np.float16(1800 / 1400)),
    }


def test_a_stack_and_a_list_of_its_planes_give_the_same_tiles():
    labels = np.stack([blobs(n, 40, 40) for n in range(2)])
    images = picture(0, 2, 40, 40)
    config = settings(input_tile_px=28)
    stack = training_tiles(images, labels, config, seed=3)
    planes = training_tiles(list(images), list(labels), config, seed=3)
    for k in range(4):
        for ours, theirs in zip(stack[k], planes[k], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_binary_labels_keep_every_pixel_and_any_foreground_value():
    labels = blobs(1, 40, 40)
    config = unaugmented()  # separate_touching is on by default
    tile = training_tiles([picture(0, 40, 40)], [labels * 255], config, seed=0)[0]
    np.testing.assert_array_equal(tile.labels, centre(labels, 12))
    cells = cells_of(labels * 255, "binary", config.weight_map)
    np.testing.assert_array_equal(cells, components(labels))


def test_touching_instances_are_separated_and_the_ridge_is_background():
    rows, columns = np.indices((40, 40))
    instances = (1 + rows // 10 * 4 + columns // 10).astype(np.uint16)  # no background at all
    tile = training_tiles(
        [picture(0, 40, 40)], [instances], unaugmented(), label_kind="instances", seed=0
    )[0]
    ridge = tile.labels == 0
    assert ridge.any()
    # only where different cells meet
    border = find_boundaries(instances, connectivity=2, mode="thick")
    assert not (ridge & ~centre(border, 12)).any()
    # w0 at both cells of the ridge: d1 and d2 are 1 or 2 pixels there
    assert tile.weights[ridge].min() > 7
    separated = cells_of(instances, "instances", WeightMapConfig())
    share = (separated != 0).mean()
    expected = eq2_by_brute_force(separated, (share / (1 - share), 1.0))
    np.testing.assert_allclose(tile.weights, centre(expected, 12), rtol=HALF)


def test_instances_stay_as_they_are_where_separation_is_off():
    instances = np.repeat([[1, 2]], 20, axis=1).repeat(40, axis=0)
    config = WeightMapConfig(separate_touching=False, class_weights="none")
    np.testing.assert_array_equal(cells_of(instances, "instances", config), instances)
    tile = training_tiles(
        [picture(0, 40, 40)], [instances], unaugmented(config), label_kind="instances", seed=0
    )[0]
    assert (tile.labels == 1).all()


def test_several_channels_are_kept():
    image = picture(0, 3, 40, 40)
    config = unaugmented()
    config = replace(config, model=replace(config.model, in_channels=3))
    tile = training_tiles([image], [blobs(0, 40, 40)], config, seed=0)[0]
    np.testing.assert_array_equal(tile.image, centre(image, 28))


def test_ignored_pixels_have_weight_0_and_do_not_count_in_the_class_frequencies():
    labels = np.zeros((2, 40, 40), np.uint16)
    labels[0, 10:30, 10:30], labels[1, 15:25, 15:25] = 1, 1
    ignore = np.zeros(labels.shape, bool)
    ignore[0, 20:], ignore[1, :, 20:] = True, True
    config = unaugmented(WeightMapConfig(w0=0))
    tiles = training_tiles(
        picture(0, 2, 40, 40), labels, config, label_kind="instances", ignore=ignore, seed=0
    )
    cell = int((labels[~ignore] > 0).sum())
    assert cell == 10 * 20 + 10 * 5
    heaviest = (1600 - cell) / cell
    seen = []
    for k in range(2):
        tile = tiles[k]
        which = next(n for n in range(2) if np.array_equal(centre(labels[n], 12), tile.labels))
        seen.append(which)
        expected = np.where(labels[which] > 0, heaviest, 1)
        expected[ignore[which]] = 0
        np.testing.assert_allclose(tile.weights, centre(expected, 12), rtol=HALF)
    assert sorted(seen) == [0, 1]


def test_ignored_cells_stay_in_the_border_term_of_the_others():
    cells = np.zeros((30, 30), np.int32)
    cells[5:12, 5:25], cells[14:20, 5:25] = 1, 2
    ignore = cells == 2
    (weights,) = weight_maps([cells], WeightMapConfig(class_weights="none"), ignore=[ignore])
    assert (weights[ignore] == 0).all()
    assert weights[12, 15] > 8


IMAGE, LABELS = picture(0, 40, 40), blobs(0, 40, 40)
TWO_IMAGES, TWO_LABELS = picture(0, 2, 40, 40), np.stack([LABELS, LABELS])


@pytest.mark.parametrize(
    ("images", "labels", "ignore", "message"),
    [
        (TWO_IMAGES, [LABELS], None, "2 images, 1 labels"),
        ([IMAGE], [LABELS[:, :38]], None, r"sample 0: labels of shape \(40, 38\)"),
        (TWO_IMAGES, TWO_LABELS, TWO_LABELS[:1] > 0, "ignore has 1 masks for 2 images"),
        (
            *(TWO_IMAGES, TWO_LABELS, TWO_LABELS[..., :38] > 0),
            r"ignore mask 0 of shape \(40, 38\): must be as large as its labels, \(40, 40",
        ),
        (
            *([picture(0, 3, 40, 40)], [LABELS], None),
            r"model\.in_channels = 1: the images have 3 channel",
        ),
        ([IMAGE], [0 * LABELS], None, "1600 background and 0 cell pixels"),
    ],
)
def test_what_does_not_belong_together_is_refused(images, labels, ignore, message):
    with pytest.raises(ValueError, match=message):
        training_tiles(images, labels, unaugmented(), ignore=ignore, seed=0)


def test_a_tile_size_that_does_not_fit_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"tile size 29 px .* valid sizes are 28 and 30 px"):
        training_tiles([IMAGE], [LABELS], settings(input_tile_px=29), seed=0)


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        ([0.0, 1.0, 11.3, 65504.0], np.float16),
        ([1.0, 65536.0], np.float32),
        ([1.0, 1e-9], np.float32),  # it is not to be ignored
    ],
)
def test_weights_are_kept_in_half_precision_where_that_loses_nothing_else(weights, kept):
    found = in_half_precision(np.float32(weights))
    assert found.dtype == kept
    np.testing.assert_allclose(found, np.float32(weights), rtol=HALF if kept == np.float16 else 0)


def test_gray_images_are_scaled_when_they_are_asked_for():
    stack = np.random.default_rng(0).integers(20, 200, (2, 40, 40), np.uint8)
    labels, gray = [blobs(0, 40, 40), blobs(1, 40, 40)], GrayScale(20, 200, "uint8")
    config = settings(input_tile_px=28)
    late = training_tiles(stack, labels, config, gray=gray, seed=3)
    early = training_tiles(gray.apply(stack), labels, config, seed=3)
    for k in range(4):
        for ours, theirs in zip(late[k], early[k], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_pixel_takes_at_most_four_bytes_beside_the_images():
    stack = np.random.default_rng(0).integers(0, 256, (300, 80, 80), np.uint8)
    labels = (stack.reshape(300, 8, 10, 8, 10).mean((2, 4)) > 127).repeat(10, 1).repeat(10, 2)
    labels = labels.astype(np.uint8)
    tracemalloc.start()
    try:
        tiles = training_tiles(
            stack, labels, settings(input_tile_px=28), gray=GrayScale(0, 255, "uint8"), seed=0
        )
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(tiles.shapes) == 300
    assert kept < 3.2 * stack.size  # a class and a weight; some bytes for each array
    assert most < 4 * stack.size
