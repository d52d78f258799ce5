"""Eq. 2 against brute force over pixels and cells; the ridge against loops."""

import numpy as np
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import cdist
from skimage.measure import label as skimage_label

from tests.real_data import real_data
from unet2015.config import WeightMapConfig
from unet2015.weight_map import (
    border_weight_map,
    cells_from_binary,
    class_balance,
    separate_touching,
    two_nearest_cells,
)

instance_images = arrays(
    np.int32,
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    elements=st.sampled_from([0, 0, 0, 1, 2, 3, 70]),
)


def distances_to_cells(instances: np.ndarray) -> np.ndarray:
    """Sorted distances of every pixel to every cell, (n, H, W), from all pairs of pixels."""
    pixels = np.argwhere(np.ones_like(instances))
    ids = np.unique(instances[instances > 0])
    each = [cdist(pixels, np.argwhere(instances == i)).min(1) for i in ids]
    return np.sort(np.array(each).reshape(len(ids), *instances.shape), axis=0)


def brute_force(
    instances: np.ndarray, config: WeightMapConfig, class_weights: tuple[float, float]
) -> np.ndarray:
    if config.separate_touching:
        instances = ridge_by_loops(instances)
    distances = distances_to_cells(instances)
    weights = np.ones(instances.shape)
    if config.class_weights == "balanced":
        weights = np.where(instances > 0, class_weights[1], class_weights[0])
    elif config.class_weights == "later_plugin":
        weights = np.full(instances.shape, 0.1)
        if len(distances):
            weights = 0.1 + 0.9 * np.exp(-(distances[0] ** 2) / 200)
        weights[instances > 0] = 1
    if len(distances) >= 2:
        term = config.w0 * np.exp(-((distances[0] + distances[1]) ** 2) / 2 / config.sigma_px**2)
        inside = config.border_term == "everywhere"
        weights = weights + np.where((instances == 0) | inside, term, 0)
    return weights


def ridge_by_loops(instances: np.ndarray) -> np.ndarray:
    result = instances.copy()
    height, width = instances.shape
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, -1), (-1, -1), (-1, 0), (-1, 1)):
                if y + dy >= 0 and 0 <= x + dx < width:
                    other = instances[y + dy, x + dx]
                    if other and instances[y, x] and other != instances[y, x]:
                        result[y, x] = 0
    return result


def two_cells_far_apart() -> np.ndarray:
    """Further apart than the reach of σ = 1, so that no window holds both."""
    instances = np.zeros((1, 14), np.int32)
    instances[0, 0], instances[0, 13] = 1, 2
    return instances


@given(
    instances=instance_images,
    class_weights=st.sampled_from(["balanced", "none", "later_plugin"]),
    border_term=st.sampled_from(["everywhere", "background"]),
    separate=st.booleans(),
    w0=st.sampled_from([0.0, 1e-9, 10.0, 50.0]),
    sigma_px=st.sampled_from([0.3, 1.0, 5.0]),
)
@example(two_cells_far_apart(), "none", "everywhere", True, 10.0, 1.0)
@example(np.zeros((5, 6), np.int32), "later_plugin", "everywhere", True, 10.0, 1.0)
@example(np.zeros((5, 6), np.int32), "balanced", "background", False, 10.0, 1.0)
@example(np.array([[1, 1, 4_000_000]] * 2), "none", "everywhere", False, 10.0, 5.0)
@example(np.pad(np.full((9, 9), 9), 12), "balanced", "everywhere", True, 10.0, 5.0)
@example(np.array([[1, 2]]), "balanced", "everywhere", True, 10.0, 5.0)
@settings(deadline=None, max_examples=150)
def test_weight_map_is_that_of_brute_force(
    instances: np.ndarray,
    class_weights: str,
    border_term: str,
    separate: bool,
    w0: float,
    sigma_px: float,
) -> None:
    config = WeightMapConfig(w0, sigma_px, class_weights, border_term, separate)
    ours = border_weight_map(instances, config, class_weights=(3.5, 1.0))
    assert ours.dtype == np.float32
    # float32 itself is 2e-6 apart at the later plugin's 50
    atol = 1e-6 if w0 < 50 else 4e-6
    assert_allclose(ours, brute_force(instances, config, (3.5, 1.0)), rtol=0, atol=atol)


@given(instances=instance_images, reach_px=st.sampled_from([0.0, 1.5, 4.0, 40.0]))
@settings(deadline=None, max_examples=80)
def test_distances_are_exact_within_the_reach(instances: np.ndarray, reach_px: float) -> None:
    found = two_nearest_cells(instances, reach_px)
    check_within_reach(found, instances, reach_px)


def check_within_reach(
    found: tuple[np.ndarray, np.ndarray], instances: np.ndarray, reach_px: float
) -> None:
    expected = np.full((2, *instances.shape), np.inf)
    distances = distances_to_cells(instances)[:2]
    expected[: len(distances)] = distances
    for ours, exact in zip(found, expected, strict=True):
        near = exact <= reach_px
        assert_allclose(ours[near], exact[near], atol=1e-12)
        assert (ours[~near] > reach_px).all()


def fibres(side: int, count: int) -> np.ndarray:
    """Diagonal cells as long as the image, so that everything lies within each one's bounds."""
    rows, columns = np.indices((side, side))
    stripe, place = np.divmod(columns - rows + side, 2 * side // count)
    return np.where(place == 0, stripe + 1, 0)


@pytest.mark.parametrize("instances", [fibres(36, 12), fibres(40, 17), fibres(20, 20)])
def test_long_cells_cost_a_distance_transform_a_digit_not_one_each(instances, monkeypatch) -> None:
    asked = []
    transform = ndimage.distance_transform_edt
    count = len(np.unique(instances)) - 1
    with monkeypatch.context() as patch:
        patch.setattr(
            ndimage, "distance_transform_edt", lambda *a, **k: asked.append(1) or transform(*a, **k)
        )
        found = two_nearest_cells(instances, 40.0)
    assert len(asked) <= 2 * count.bit_length() + 1 < count
    check_within_reach(found, instances, 40.0)


def em_labels() -> np.ndarray:
    return tifffile.imread(real_data("isbi2012", "train-labels.tif")) > 0


def test_real_em_slice_is_that_of_full_distance_transforms() -> None:
    instances = cells_from_binary(em_labels()[3, 100:356, 200:500])
    config = WeightMapConfig(separate_touching=False)
    ids = range(1, instances.max() + 1)
    distances = np.sort([distance_transform_edt(instances != i) for i in ids], axis=0)
    class_weights = np.where(instances > 0, 1.0, 3.5)
    expected = class_weights + 10 * np.exp(-((distances[0] + distances[1]) ** 2) / 50)
    ours = border_weight_map(instances, config, class_weights=(3.5, 1.0))
    assert len(ids) > 20
    assert_allclose(ours, expected, rtol=0, atol=1e-6)


def test_a_gap_of_one_pixel() -> None:
    instances = np.zeros((3, 7), int)
    instances[:, :3], instances[:, 4:] = 1, 2
    weights = border_weight_map(instances, WeightMapConfig(class_weights="none"))
    assert weights[1, 3] == pytest.approx(1 + 10 * np.exp(-4 / 50))  # d1 = d2 = 1
    assert weights[1, 0] == pytest.approx(1 + 10 * np.exp(-16 / 50))  # d1 = 0, d2 = 4


def test_ignored_pixels_have_weight_zero_and_change_no_other() -> None:
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 4, (20, 20))
    ignore = rng.random((20, 20)) < 0.3
    plain = border_weight_map(instances)
    masked = border_weight_map(instances, ignore=ignore)
    assert (masked[ignore] == 0).all()
    assert_array_equal(masked[~ignore], plain[~ignore])
    assert plain.min() >= 1


def test_arguments_stay_as_they_are() -> None:
    instances = np.array([[1, 2], [2, 0]])
    before = instances.copy()
    border_weight_map(instances)
    separate_touching(instances)
    assert_array_equal(instances, before)


@given(instances=instance_images)
@settings(deadline=None)
def test_ridge_is_that_of_loops(instances: np.ndarray) -> None:
    separated = separate_touching(instances)
    assert separated.dtype == instances.dtype
    assert_array_equal(separated, ridge_by_loops(instances))
    # afterwards 8-connected components hold one instance each
    touching = skimage_label(separated > 0, connectivity=2)
    for component in range(1, touching.max() + 1):
        assert len(np.unique(separated[touching == component])) == 1


def test_ridge_of_known_instances() -> None:
    above_each_other = np.array([[1, 1], [1, 1], [2, 2], [2, 2]])
    assert separate_touching(above_each_other).tolist() == [[1, 1], [1, 1], [0, 0], [2, 2]]
    side_by_side = np.array([[1, 1, 2, 2]] * 3)  # NE cuts the left one, W the right one
    expected = [[1, 1, 0, 2], [1, 0, 0, 2], [1, 0, 0, 2]]
    assert separate_touching(side_by_side).tolist() == expected
    corner = np.array([[0, 1], [2, 0]])
    assert separate_touching(corner).tolist() == [[0, 1], [0, 0]]
    apart = np.array([[1, 0, 2]])
    assert_array_equal(separate_touching(apart), apart)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(deadline=None)
def test_cells_are_four_connected_components(labels: np.ndarray) -> None:
    ours = cells_from_binary(labels)
    assert ours.dtype == np.int32
    assert_array_equal(ours, skimage_label(labels, connectivity=1))


def test_class_balance_counts_the_whole_training_set() -> None:
    first, second = np.array([[0, 1, 1, 1]]), np.array([[255, 255], [255, 0]])
    assert class_balance([first, second]) == (3.0, 1.0)
    assert class_balance(np.stack([1 - first, 1 - first])) == (1.0, 3.0)
    masks = [np.array([[True, False, False, True]]), np.array([[True, False], [False, False]])]
    assert class_balance([first, second], masks) == (4.0, 1.0)
    weights = np.array(class_balance([first]))
    assert (weights * [1, 3]).tolist() == [3, 3]  # weighted, both classes count alike
    for value in (0, 1):
        with pytest.raises(ValueError, match="both classes must occur"):
            class_balance(np.full((2, 3, 3), value))


def test_bad_input_is_named() -> None:
    good = np.zeros((4, 5), int)
    with pytest.raises(ValueError, match=r"instances of shape \(4,\)"):
        border_weight_map(good[:, 0])
    with pytest.raises(ValueError, match="instances of type float64"):
        border_weight_map(good.astype(float))
    with pytest.raises(ValueError, match="must be integers ≥ 0"):
        separate_touching(good - 1)
    with pytest.raises(ValueError, match="ignore of shape"):
        border_weight_map(good, ignore=np.zeros((5, 4), bool))
    with pytest.raises(ValueError, match="class_weights = "):
        border_weight_map(good, class_weights=(float("nan"), 1.0))
    with pytest.raises(ValueError, match="labels of shape"):
        cells_from_binary(good[None])
    with pytest.raises(ValueError, match="ignore of 1 images"):
        class_balance([good, good], [good > 0])
