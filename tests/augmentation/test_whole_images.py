"""Whole images as samples: each once an epoch, turned together with its labels, split by group."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from scipy import ndimage

from tests.studies.reimplementation_sets import make_carvana
from unet2015.augmentation.whole_images import (
    Example,
    ExampleSequence,
    examples_of,
    rotate_and_flip,
    split_off,
)
from unet2015.data.carvana import load_carvana


def numbered(count: int) -> list[Example]:
    """Examples that show their number."""
    return [
        Example(str(k), None, np.full((1, 4, 6), k, np.float32), np.full((4, 6), k, np.uint8))
        for k in range(count)
    ]


def noise(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator):
    return image + rng.random(image.shape, np.float32), labels


def scene(height: int = 61, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Three smooth planes and a label map of four classes with smooth borders."""
    rng = np.random.default_rng(5)
    planes = ndimage.gaussian_filter(rng.random((3, height, width)), (0, 4, 4))
    blobs = ndimage.gaussian_filter(rng.normal(size=(height, width)), 5)
    return planes.astype(np.float32), np.digitize(blobs, [-0.03, 0, 0.03]).astype(np.uint8)


def test_each_example_is_used_once_an_epoch_in_an_order_drawn_anew():
    tiles = ExampleSequence(numbered(7), seed=3)
    epochs = [[int(tiles[7 * epoch + k].labels[0, 0]) for k in range(7)] for epoch in range(5)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1
    other = ExampleSequence(numbered(7), seed=4)
    assert [int(other[k].labels[0, 0]) for k in range(7)] != epochs[0]


def test_a_sample_depends_on_seed_and_number_alone():
    first, second = (ExampleSequence(numbered(5), seed=1, augment=noise) for _ in range(2))
    forwards = [first[k].image for k in range(12)]
    for k in (11, 3, 3, 0, 7):
        np.testing.assert_array_equal(second[k].image, forwards[k])
    # the same example in two epochs, and the same number under two seeds, are augmented anew
    assert len({float(np.modf(image)[0].max()) for image in forwards}) == 12
    other = ExampleSequence(numbered(5), seed=2, augment=noise)
    assert not np.array_equal(np.modf(other[0].image)[0], np.modf(forwards[0])[0])


def test_samples_come_as_the_training_takes_them():
    tile = ExampleSequence(numbered(2), seed=0)[0]
    assert (tile.image.shape, tile.image.dtype) == ((1, 4, 6), np.float32)
    assert (tile.labels.shape, tile.labels.dtype) == ((4, 6), np.uint8)
    np.testing.assert_array_equal(tile.weights, np.ones((4, 6), np.float32))
    with pytest.raises(ValueError, match="examples: there is none"):
        ExampleSequence([], seed=0)


@pytest.mark.parametrize("seed", range(2))
def test_image_and_labels_turn_together_as_scipy_turns_them(seed):
    image, labels = scene()
    rng = np.random.default_rng(seed)
    turned, turned_labels = rotate_and_flip(
        image, labels, rng, degrees=35.0, horizontal=0.0, vertical=0.0
    )
    angle = np.random.default_rng(seed).uniform(-35, 35)
    options = {"reshape": False, "mode": "mirror"}
    for plane, before in zip(turned, image, strict=True):
        expected = ndimage.rotate(before, angle, order=1, **options)
        np.testing.assert_allclose(plane, expected, atol=1e-4)
    expected = ndimage.rotate(labels, angle, order=0, **options)
    assert (turned_labels == expected).mean() > 0.999  # ties of the nearest pixel may differ
    assert not np.array_equal(turned_labels, labels)
    assert turned.dtype == np.float32
    assert turned_labels.dtype == np.uint8


def test_flips_keep_image_and_labels_together():
    image, labels = scene()
    image[0] = labels  # so that the one shows where the other is
    options = {"degrees": 0.0, "horizontal": 0.5, "vertical": 0.5}
    found = set()
    for seed in range(20):
        turned, turned_labels = rotate_and_flip(
            image, labels, np.random.default_rng(seed), **options
        )
        np.testing.assert_array_equal(turned[0], turned_labels)
        for name, axes in (("none", ()), ("lr", (1,)), ("ud", (0,)), ("both", (0, 1))):
            if np.array_equal(turned_labels, np.flip(labels, axes)):
                found.add(name)
                np.testing.assert_array_equal(turned, np.flip(image, tuple(a + 1 for a in axes)))
    assert found == {"none", "lr", "ud", "both"}


def test_flips_have_the_probabilities_asked_for():
    image = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    labels = np.arange(4, dtype=np.uint8).reshape(2, 2)
    rng = np.random.default_rng(0)
    augment = partial(rotate_and_flip, degrees=0.0, horizontal=0.5, vertical=0.1)
    first = np.array([augment(image, labels, rng)[1][0, 0] for _ in range(2000)])
    # the corner shows 1 or 3 after a horizontal flip, 2 or 3 after a vertical one
    assert abs(np.isin(first, (1, 3)).mean() - 0.5) < 0.05
    assert abs(np.isin(first, (2, 3)).mean() - 0.1) < 0.03
    still = rotate_and_flip(image, labels, rng, degrees=0.0, horizontal=0.0, vertical=0.0)
    np.testing.assert_array_equal(still[0], image)


def test_a_split_is_drawn_by_its_seed_never_cuts_a_group_and_leaves_no_side_empty():
    groups = [f"patient {k % 9}" for k in range(100)]
    for seed in range(5):
        train, scored = split_off(groups, 0.3, seed=seed)
        assert sorted(train + scored) == list(range(100))
        assert not {groups[k] for k in train} & {groups[k] for k in scored}
        assert len({groups[k] for k in scored}) == 3  # of 9 groups, 2.7 rounded
        assert split_off(groups, 0.3, seed=seed) == (train, scored)
    assert len({split_off(range(20), 0.5, seed=seed) for seed in range(5)}) == 5
    assert len(split_off(range(170), 0.2, seed=0)[1]) == 34
    for share in (0.01, 0.99):
        assert [len(part) for part in split_off("ab", share, seed=0)] == [1, 1]


@pytest.mark.parametrize(
    ("groups", "share", "words"),
    [
        ([], 0.5, r"groups \(none\): .* two different"),
        (["a", "a"], 0.5, r"groups \(a\): .* two different"),
        (["a", "b"], 0.0, r"share = 0.0: must be between 0 and 1"),
        (["a", "b"], 1.0, r"share = 1.0: must be between"),
    ],
)
def test_a_split_names_what_is_wrong(groups, share, words):
    with pytest.raises(ValueError, match=words):
        split_off(groups, share, seed=0)


def test_pairs_become_examples_of_one_size(tmp_path):
    pairs = load_carvana(make_carvana(tmp_path, views=2))
    found = examples_of(pairs, 16, 24)
    assert [example.name for example in found] == [pair.name for pair in pairs.pairs]
    assert [example.group for example in found] == [pair.group for pair in pairs.pairs]
    for k, example in enumerate(found):
        gray = 40 * (k // 2 + 1) + k % 2 + 1
        np.testing.assert_allclose(example.image, np.full((3, 16, 24), gray / 255), atol=2.1 / 255)
        np.testing.assert_array_equal(example.labels, np.repeat([0, 1], 8)[:, None].repeat(24, 1))
    darker = examples_of(replace(pairs, pairs=pairs.pairs[:1]), 16, 24, divide_by=510.0)
    np.testing.assert_allclose(2 * darker[0].image, found[0].image, rtol=1e-6)


def test_examples_are_read_by_what_is_given(tmp_path):
    pairs = load_carvana(make_carvana(tmp_path, views=1))

    def read(pair):
        assert cast(Path, pair.image).is_file()
        return np.full((8, 8, 3), 255, np.uint8), np.eye(8, dtype=bool)

    for example in examples_of(pairs, 8, 8, read):
        assert (example.image == 1).all()
        np.testing.assert_array_equal(example.labels, np.eye(8))
