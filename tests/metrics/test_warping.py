"""The warping error: the organisers' outputs, a plain oracle, examples made by hand."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from tests.metrics.reference import load, on_every_case
from tests.metrics.warping_oracle import HOLE_DELETION, MERGE, SPLIT, oracle
from unet2015.metrics.sweep import Score, challenge_thresholds, check_stacks
from unet2015.metrics.warping import (
    MISMATCH_CLASSES,
    WARPING_THRESHOLDS,
    guarded_warping_error,
    guarded_warping_error_of,
    mismatches,
    warping_error,
    warping_error_of,
    warping_sweep,
)


def assert_as_oracle(labels: np.ndarray, p: np.ndarray, threshold: float, radius: int) -> None:
    found = mismatches(labels, p, threshold, radius)
    pixels = []
    for z in range(len(labels)):
        warped, classes, clusters = oracle(labels[z], p[z], threshold, radius)
        np.testing.assert_array_equal(found.warped[z], warped)
        np.testing.assert_array_equal(found.classes[z], classes)
        assert found.clusters[z].tolist() == clusters
        pixels.append(np.bincount(classes.ravel(), minlength=7)[1:])
    np.testing.assert_array_equal(found.pixels, pixels)
    counts = warping_sweep(labels, p, (threshold,), radius)
    np.testing.assert_array_equal(counts.pixels[0], pixels)
    np.testing.assert_array_equal(counts.mismatches[0], np.sum(pixels, axis=1))


# multiples of 1/8 make ties; the rest lie beside the thresholds in float32, or next to 0
GREYS = np.array([*np.arange(9) / 8, 0.1, 0.3, 0.6, 0.8, 0.9, 1e-9, 3e-9], np.float32)


@st.composite
def tiny_stacks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    whole = st.sampled_from([np.zeros(shape, bool), np.ones(shape, bool)])
    labels = draw(st.one_of(arrays.arrays(bool, shape), whole))
    seed, greys = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, len(GREYS)))
    rng = np.random.default_rng(seed)
    probability = rng.choice(rng.permutation(GREYS)[:greys], shape)
    if draw(st.booleans()):
        labels = labels ^ (rng.random(shape) < 0.3)
    return labels, probability


@given(
    tiny_stacks(), st.sampled_from(challenge_thresholds()), st.sampled_from([-1, 0, 1, 2, 4, 20])
)
@settings(max_examples=300, deadline=None)
def test_warped_labels_classes_and_clusters_are_the_oracles(
    stacks: tuple[np.ndarray, np.ndarray], threshold: float, radius: int
) -> None:
    assert_as_oracle(*stacks, threshold, radius)


def smooth_stacks(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Blobs with membranes and holes, and a proposal that resembles them."""
    rng = np.random.default_rng(seed)
    field, noise = rng.standard_normal((2, *shape))
    field = ndimage.gaussian_filter(field, (0, 1.2, 1.2))
    noise = ndimage.gaussian_filter(noise, (0, 1, 1))
    labels = field > -0.1
    probability = 1 / (1 + np.exp(-8 * field - 6 * noise))
    return labels, probability.astype(np.float32)


def test_larger_slices_agree_with_the_oracle_whatever_the_window() -> None:
    for radius in (1, 3, 20, -1):
        labels, probability = smooth_stacks(radius + 1, (3, 30, 24))
        assert_as_oracle(labels, probability, 0.5, radius)


# --- the organisers' own outputs


def splits_and_mergers(counts: np.ndarray) -> int:
    return int(counts[..., [MERGE, SPLIT]].sum())


@on_every_case
def test_every_slice_and_threshold_is_warped_and_judged_as_by_the_organisers(case: Path) -> None:
    labels, probability, expected = load(case)
    for at in expected["per_threshold"]:
        found = mismatches(labels, probability, at["threshold"])
        for z, of_slice in enumerate(at["slices"]):
            digest = hashlib.sha1(found.warped[z].astype(np.uint8).tobytes()).hexdigest()
            assert digest == of_slice["sha1_warped"]
            assert found.pixels[z].sum() == of_slice["n_mismatches"]
            assert found.pixels[z].tolist() == of_slice["mismatch_pixels_r20"]
            assert found.clusters[z].tolist() == of_slice["mismatch_clusters_r20"]
        assert found.total == sum(of_slice["n_mismatches"] for of_slice in at["slices"])
        if "mismatch_pixels_global" in at:  # the whole slice as the window
            found = mismatches(labels, probability, at["threshold"], -1)
            assert found.pixels.sum(axis=0).tolist() == at["mismatch_pixels_global"]
            assert found.clusters.sum(axis=0).tolist() == at["mismatch_clusters_global"]


@on_every_case
def test_figures_of_the_sweep_are_the_organisers(case: Path) -> None:
    labels, probability, expected = load(case)
    cells, proposal = check_stacks(labels, probability)
    thresholds = tuple(expected["thresholds_0_1"])
    counts = warping_sweep(cells, proposal, thresholds)

    curve = warping_error_of(counts, thresholds, cells.size).curve
    assert curve == pytest.approx(
        [at["warping_error_splits_mergers_r20"] for at in expected["per_threshold"]],
        rel=0,
        abs=1e-12,
    )
    all_mismatches = (counts.mismatches / cells[0].size).mean(axis=1)
    assert all_mismatches == pytest.approx(
        [at["warping_error_all_mismatches"] for at in expected["per_threshold"]], rel=0, abs=1e-12
    )

    score = warping_error(labels, probability)
    assert list(score.thresholds) == expected["thresholds_0_0.9"]
    figure = expected["challenge"]["warping_error_min_splits_mergers_r20"]
    assert score.value == pytest.approx(figure, rel=0, abs=1e-12)
    assert score.threshold == score.thresholds[score.curve.index(min(score.curve))]
    clustered = min(
        splits_and_mergers(mismatches(labels, probability, threshold).clusters)
        for threshold in score.thresholds
    )
    figure = expected["extra"]["warping_error_min_splits_mergers_r20_clustered"]
    assert clustered / cells.size == pytest.approx(figure, rel=0, abs=1e-12)
    figure = expected["extra"].get("warping_error_min_splits_mergers_global")
    if figure is not None:
        score = warping_error(labels, probability, radius_px=-1)
        assert score.value == pytest.approx(figure, rel=0, abs=1e-12)


@on_every_case
def test_guard_refuses_only_proposals_far_from_the_labels_size(case: Path) -> None:
    labels, probability, _ = load(case)
    plain, guarded = warping_error(labels, probability), guarded_warping_error(labels, probability)
    share = np.mean(labels > 0)
    kept = tuple(
        threshold
        for threshold in WARPING_THRESHOLDS
        if share / 1.5 <= np.mean(probability.astype(np.float64) > threshold) <= 1.5 * share
    )
    curve = dict(zip(plain.thresholds, plain.curve, strict=True))
    assert guarded.thresholds == kept
    assert guarded.curve == tuple(curve[threshold] for threshold in kept)
    assert guarded.value == min(guarded.curve, default=None)
    if case.name.startswith("c12"):
        assert (plain.value, guarded.value, guarded.threshold) == (0, None, None)


# --- examples made by hand


def test_exchange_of_roles_turns_mergers_into_splits() -> None:
    apart = np.ones((1, 7, 11), np.uint8)
    apart[:, :, 5] = 0
    joined = apart.copy()
    joined[0, 3, 5] = 1
    merged = mismatches(apart, joined.astype(np.float32), 0.5)
    split = mismatches(joined, apart.astype(np.float32), 0.5)
    assert merged.pixels[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert split.pixels[0].tolist() == [0, 1, 0, 0, 0, 0]
    assert (merged.classes[0, 3, 5], split.classes[0, 3, 5]) == (1 + MERGE, 1 + SPLIT)
    assert merged.classes.sum() == 1 + MERGE


def test_holes_and_objects_are_named_for_what_the_proposal_does() -> None:
    for name, at, in_labels, in_proposal in (
        ("HOLE_ADDITION", (2, 2), 1, 0),
        ("HOLE_DELETION", (2, 2), 0, 1),
        ("OBJECT_ADDITION", (2, 8), 0, 1),
        ("OBJECT_DELETION", (2, 8), 1, 0),
    ):
        labels = np.zeros((5, 10), np.uint8)
        labels[:, :5] = 1
        probability = labels.astype(np.float32)
        labels[at], probability[at] = in_labels, in_proposal
        found = mismatches(labels, probability, 0.5)
        expected = np.zeros(6, int)
        expected[MISMATCH_CLASSES.index(name)] = 1
        assert found.pixels[0].tolist() == found.clusters[0].tolist() == expected.tolist()


def test_membrane_moved_by_one_pixel_is_no_error() -> None:
    labels = np.ones((6, 12), np.uint8)
    labels[:, 5] = 0
    moved = np.roll(labels, 1, axis=1)
    found = mismatches(labels, moved.astype(np.float32), 0.5)
    assert found.total == 0
    np.testing.assert_array_equal(found.warped[0], moved)


def test_almost_empty_proposal_scores_a_perfect_zero_unless_guarded() -> None:
    labels = np.ones((2, 40, 40), np.uint8)
    labels[:, 7::9] = labels[:, :, 5::11] = 0
    probability = np.zeros(labels.shape, np.float32)
    probability[0, 3, 3] = 0.05
    assert warping_error(labels, probability).value == 0
    assert warping_error(labels, probability).threshold == 0
    assert guarded_warping_error(labels, probability) == Score(None, None, (), ())


def test_cell_with_a_hole_stays_a_ring_that_a_narrow_window_takes_for_splits() -> None:
    labels = np.ones((9, 9), np.uint8)
    labels[4, 4] = 0
    empty = np.zeros(labels.shape, np.float32)
    narrow, wide = mismatches(labels, empty, 0.5, 1), mismatches(labels, empty, 0.5, 9)
    np.testing.assert_array_equal(narrow.warped, wide.warped)
    assert ndimage.binary_fill_holes(wide.warped[0])[4, 4]  # pyright: ignore[reportOptionalSubscript]
    assert not wide.warped[0, 4, 4]
    assert set(narrow.classes[narrow.classes > 0]) == {1 + SPLIT}
    assert set(wide.classes[wide.classes > 0]) == {1 + HOLE_DELETION}


def test_guard_includes_its_bounds_and_compares_in_double() -> None:
    labels = np.zeros((1, 4, 6), np.uint8)
    labels[0, :, :3] = 1
    probability = np.zeros((1, 4, 6), np.float32)
    probability[0, :2, :4] = 0.6  # as float32 just above 0.6; 8 pixels = 12 / 1.5
    assert guarded_warping_error(labels, probability).thresholds == WARPING_THRESHOLDS[:7]
    probability[0, :3] = 0.6  # 18 pixels = 12 · 1.5
    assert guarded_warping_error(labels, probability).thresholds == WARPING_THRESHOLDS[:7]
    probability[0, 3, 0] = 0.6
    assert guarded_warping_error(labels, probability).thresholds == ()


# --- threads, layouts, refusals


def test_result_is_the_same_for_any_number_of_threads() -> None:
    labels, probability = smooth_stacks(9, (7, 60, 50))
    one = warping_sweep(labels, probability, WARPING_THRESHOLDS, threads=1)
    assert one.pixels.shape == (10, 7, 6)
    assert splits_and_mergers(one.pixels) > 0
    for threads in (2, None):
        other = warping_sweep(labels, probability, WARPING_THRESHOLDS, threads=threads)
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.mismatches, other.mismatches)


def test_arguments_that_are_none_are_refused() -> None:
    labels, probability = smooth_stacks(1, (1, 5, 5))
    with pytest.raises(ValueError, match=r"radius_px = 20\.0: must be an integer"):
        warping_error(labels, probability, radius_px=20.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="threads = 0"):
        warping_error(labels, probability, threads=0)
    with pytest.raises(ValueError, match="thresholds"):
        warping_error(labels, probability, thresholds=())
    with pytest.raises(ValueError, match="shape"):
        mismatches(labels, probability[:, 1:], 0.5)
    with pytest.raises(ValueError, match="bool and float64: must be bool and float32"):
        warping_sweep(labels, probability.astype(np.float64), (0.5,))
    with pytest.raises(ValueError, match=r"shapes \(1, 5, 5\) and \(1, 4, 5\)"):
        warping_sweep(labels, probability[:, 1:], (0.5,))


def test_counts_of_another_sweep_are_refused() -> None:
    labels, probability = smooth_stacks(1, (1, 5, 5))
    counts = warping_sweep(labels, probability, (0.25, 0.5))
    with pytest.raises(ValueError, match="3 of them, but counts of 2"):
        warping_error_of(counts, (0.2, 0.3, 0.4), labels.size)
    with pytest.raises(ValueError, match="1 of them, but counts of 2"):
        guarded_warping_error_of(counts, (0.5,), labels, probability)
