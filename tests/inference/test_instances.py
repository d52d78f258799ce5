"""Components, sizes and borders against scikit-image; merged, split and missed cells by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label, regionprops

from unet2015.inference.instances import CellCounts, InstanceConfig, count_cells, instances_of

ALL = InstanceConfig(min_size_px=0)


def noise(seed: int, *shape: int) -> np.ndarray:
    """A smooth probability with many components of all sizes."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (1 / (1 + np.exp(-20 * values))).astype(np.float32)


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two labellings name the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    background = (pairs == 0).any(axis=0)
    assert (pairs[:, background] == 0).all()
    return all(len(np.unique(row)) == pairs.shape[1] for row in pairs)


@pytest.mark.parametrize("seed", range(3))
def test_cores_divide_a_component_and_a_component_without_core_stays(seed):
    probability = noise(seed, 40, 60)
    config = InstanceConfig(min_size_px=4, core_probability=0.8)
    whole = np.asarray(label(probability > 0.5, connectivity=1))
    cores = np.asarray(label(probability > 0.8, connectivity=1))
    sizes = np.bincount(cores.ravel())
    expected = 0
    found = instances_of(probability, replace(config, min_size_px=0))
    for component in range(1, whole.max() + 1):
        inside = whole == component
        own = {n for n in np.unique(cores[inside]) if n}
        pieces = {n for n in np.unique(found[inside]) if n}
        assert len(pieces) == max(1, len(own))
        expected += len(pieces)
        for piece in pieces:  # each piece is connected, and holds one core at most
            assert np.asarray(label(found == piece, connectivity=1)).max() == 1
            assert len({n for n in np.unique(cores[found == piece]) if n}) <= 1
    assert found.max() == expected
    np.testing.assert_array_equal(found > 0, probability > 0.5)
    large = instances_of(probability, config)
    assert np.bincount(large.ravel())[1:].min(initial=4) >= 4
    for n in np.flatnonzero(sizes >= 4)[1:]:
        assert len(np.unique(large[cores == n])) == 1


@pytest.mark.parametrize("smallest", [0, 1, 2, 12, 60])
def test_cells_are_the_argmaxs_components_of_a_minimum_size(smallest):
    probability = noise(smallest, 70, 90)
    found = instances_of(probability, InstanceConfig(min_size_px=smallest))
    everything = np.asarray(label(probability > 0.5, connectivity=1))
    large = [region.label for region in regionprops(everything) if region.area >= smallest]
    expected = np.where(np.isin(everything, large), everything, 0)
    assert found.dtype == np.int32
    assert same_partition(found, expected)
    assert list(np.unique(found)) == list(range(found.max() + 1))
    assert found.max() > 1
    assert not instances_of(probability, InstanceConfig(min_size_px=10_000)).any()
    assert instances_of(np.array([[0.5, np.nextafter(0.5, 1)]]), ALL).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        *(
            (field, v, "an integer ≥ 0")
            for field in ("min_size_px", "border_px")
            for v in (-1, 2.5)
        ),
        *(("core_probability", value, "") for value in (0.4, 1.0, 2, "0.9", True)),
    ],
)
def test_settings_out_of_range_are_refused(field, value, rule):
    with pytest.raises(ValueError, match=rf"{field} = {value!r}: must be {rule}"):
        InstanceConfig(**{field: value})


@pytest.mark.parametrize("border", [1, 20])
def test_components_within_the_border_are_removed(border):
    probability = noise(4, 60, 80)
    found = instances_of(probability, InstanceConfig(min_size_px=0, border_px=border))
    everything = np.asarray(label(probability > 0.5, connectivity=1))
    inside = np.zeros(everything.shape, bool)
    inside[border : 60 - border, border : 80 - border] = True
    kept = [r.label for r in regionprops(everything) if inside[tuple(r.coords.T)].any()]
    assert 1 < len(kept) < everything.max()
    assert same_partition(found, np.where(np.isin(everything, kept), everything, 0))


def test_a_border_that_leaves_nothing_is_refused():
    instances_of(noise(0, 41, 90), InstanceConfig(border_px=20))
    with pytest.raises(ValueError, match=r"border_px = 21: leaves nothing .* 41 px; must be ≤ 20"):
        instances_of(noise(0, 41, 90), InstanceConfig(border_px=21))


def test_holes_are_filled_each_with_its_own_cell():
    mask = np.zeros((20, 30))
    mask[1:9, 1:9] = mask[10:19, 10:25] = 1
    mask[3:6, 3:6] = mask[12:17, 12:20] = 0
    mask[14, 15] = 1  # a cell of its own in the hole of another
    assert same_partition(instances_of(mask, ALL), np.asarray(label(mask, connectivity=1)))
    filled = instances_of(mask, InstanceConfig(min_size_px=0, fill_holes=True))
    expected = np.zeros((20, 30), int)
    expected[1:9, 1:9], expected[10:19, 10:25], expected[14, 15] = 1, 2, 3
    assert same_partition(filled, expected)


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        (np.zeros((2, 3, 4)), r"\(2, 3, 4\): must be \(H, W\)"),
        (np.zeros((0, 4)), "not empty"),
        (np.array([[-0.1, 0.5]]), r"from -0.1 to 0.5: must lie in \[0, 1\]; apply the softmax"),
        (np.array([[np.nan, 0.5]]), r"must lie in \[0, 1\]"),
    ],
)
def test_what_is_no_probability_is_refused(probability, message):
    with pytest.raises(ValueError, match=message):
        instances_of(probability)


def row(*numbers: int) -> np.ndarray:
    return np.array([numbers])


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        # as it is
        (row(1, 1, 0, 2, 2), row(8, 8, 0, 9, 9), CellCounts(2, 0, 0, 0, 2, 0)),
        # one predicted cell for two
        (row(1, 1, 0, 2, 2), row(8, 8, 8, 8, 8), CellCounts(2, 2, 0, 0, 1, 0)),
        # it covers only half of the second: that one is missed, not merged
        (row(1, 1, 0, 2, 2), row(8, 8, 8, 8, 0), CellCounts(2, 0, 0, 1, 1, 0)),
        # two predicted cells in one: equal halves match nothing, yet the cell is not missed
        (row(1, 1, 1, 1, 0), row(8, 8, 9, 9, 0), CellCounts(1, 0, 1, 0, 2, 0)),
        # split, with a match as well
        (row(1, 1, 1, 1, 0), row(8, 8, 8, 9, 0), CellCounts(1, 0, 1, 0, 2, 0)),
        # one piece only, too small to match
        (row(1, 1, 1, 1, 0), row(8, 8, 0, 0, 0), CellCounts(1, 0, 0, 1, 1, 0)),
        # on the background
        (row(1, 1, 0, 0, 0), row(8, 8, 0, 9, 9), CellCounts(1, 0, 0, 0, 2, 1)),
        # half of it on the background is not the greater part
        (row(1, 1, 0, 0, 0), row(0, 8, 8, 0, 0), CellCounts(1, 0, 0, 1, 1, 0)),
        (row(1, 1, 0, 0, 0), row(0, 0, 0, 0, 0), CellCounts(1, 0, 0, 1, 0, 0)),
        (row(0, 0, 0, 0, 0), row(8, 8, 0, 0, 0), CellCounts(0, 0, 0, 0, 1, 1)),
        (row(0, 0, 0, 0, 0), row(0, 0, 0, 0, 0), CellCounts(0, 0, 0, 0, 0, 0)),
    ],
)
def test_merged_split_missed_and_spurious_cells_are_counted_as_by_hand(truth, predicted, expected):
    assert count_cells(truth, predicted) == expected


def test_a_prediction_where_nobody_annotated_is_not_spurious():
    truth, predicted = row(1, 1, 0, 0, 0, 0), row(8, 8, 0, 9, 9, 9)
    ignore = np.array([[0, 0, 0, 1, 1, 0]], bool)
    assert count_cells(truth, predicted).spurious == 1
    assert count_cells(truth, predicted, ignore=ignore).spurious == 0
    with pytest.raises(ValueError, match=r"ignore of shape \(1, 5\): must be that of the truth"):
        count_cells(truth, predicted, ignore=ignore[:, 1:])


def by_brute_force(truth: np.ndarray, predicted: np.ndarray, ignore: np.ndarray) -> CellCounts:
    """The definitions, one object after the other."""
    counts = {"cells": 0, "merged": 0, "split": 0, "missed": 0, "predicted": 0, "spurious": 0}
    for t, p, i in zip(truth, predicted, ignore, strict=True):
        references = [t == n for n in np.unique(t) if n]
        found = [p == n for n in np.unique(p) if n]
        match = [
            next((k for k, s in enumerate(found) if 2 * (r & s).sum() > r.sum()), None)
            for r in references
        ]
        pieces = [sum(2 * (r & s).sum() > s.sum() for s in found) for r in references]
        counts["cells"] += len(references)
        counts["merged"] += sum(m is not None and match.count(m) > 1 for m in match)
        counts["split"] += sum(n > 1 for n in pieces)
        counts["missed"] += sum(m is None and n < 2 for m, n in zip(match, pieces, strict=True))
        counts["predicted"] += len(found)
        counts["spurious"] += sum(2 * (s & (t == 0) & ~i).sum() > s.sum() for s in found)
    return CellCounts(**counts)


def test_counts_of_a_stack_by_brute_force():
    truth, predicted = (
        np.stack([instances_of(noise(seed, 40, 50), ALL) for seed in seeds])
        for seeds in (range(4), (0, 11, 12, 3))
    )
    # of the first and the last frame, some cells joined and some cut
    predicted[0][predicted[0] == 2] = 1
    predicted[3][:, 25:][predicted[3][:, 25:] > 0] += 100
    ignore = np.zeros(truth.shape, bool)
    ignore[:, :20] = True
    expected = by_brute_force(truth, predicted, ignore)
    assert count_cells(truth, predicted, ignore=ignore) == expected
    assert min(expected.merged, expected.split, expected.missed, expected.spurious) > 0
