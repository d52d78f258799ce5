"""The region metrics against the organisers' outputs, counting by hand, and scikit-image."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information

from tests.metrics.reference import load, on_every_case
from unet2015.metrics import rand
from unet2015.metrics.labelling import components
from unet2015.metrics.rand import RegionOverlaps, overlap_sweep, rand_error, v_info, v_rand
from unet2015.metrics.sweep import CHALLENGE_THRESHOLDS, check_stacks
from unet2015.metrics.thinning import watershed_segments

IDS = arrays(np.int32, (3, 4), elements=st.integers(0, 3))
SLICES = arrays(bool, (5, 6))
RAND_FIELDS = ("joined_in_both", "joined_in_proposal", "joined_in_truth")
CLOSE: dict[str, Any] = {"rel": 0, "abs": 1e-12}


@on_every_case
def test_pairs_and_entropies_of_every_slice_are_the_organisers(case: Path) -> None:
    labels, probability, expected = load(case)
    plain, thinned = overlap_sweep(*check_stacks(labels, probability), CHALLENGE_THRESHOLDS)
    for t, figures in enumerate(expected["per_threshold"]):
        for z, of_slice in enumerate(figures["slices"]):
            assert plain.cells[t, z] == thinned.cells[t, z] == of_slice["n_truth"]
            assert plain.segments[t, z] == of_slice["n_prop"]
            assert thinned.segments[t, z] == of_slice["n_watershed"]
            assert_pairs(plain, (t, z), of_slice["rand_fr"])
            assert_pairs(thinned, (t, z), of_slice["rand_fr_thin"])
            assert_entropies(plain, (t, z), of_slice["info_fr"])
            assert_entropies(thinned, (t, z), of_slice["info_fr_thin"])


def assert_pairs(overlaps: RegionOverlaps, at: tuple[int, int], theirs: dict) -> None:
    both, proposal, truth = (int(getattr(overlaps, f)[at]) for f in RAND_FIELDS)
    if truth == 0:
        assert math.isnan(theirs["tp"])
        return
    # theirs are sums of fractions times n², rounded: 104247393.00000001
    assert both == round(theirs["tp"])
    assert proposal - both == round(theirs["fp"])
    assert truth - both == round(theirs["fn"])
    assert both / proposal == pytest.approx(theirs["precision"], **CLOSE)
    assert both / truth == pytest.approx(theirs["recall"], **CLOSE)


def assert_entropies(overlaps: RegionOverlaps, at: tuple[int, int], theirs: dict) -> None:
    if overlaps.joined_in_truth[at] == 0:
        assert math.isnan(theirs["H_prop"])
        return
    h_truth, h_proposal, h_joint = (f[at] for f in _entropies(overlaps))
    merge, split = (scores[at] for scores in rand.information_scores(overlaps))
    assert h_truth == pytest.approx(theirs["H_truth"], **CLOSE)
    assert h_proposal == pytest.approx(theirs["H_prop"], **CLOSE)
    assert h_joint - h_proposal == pytest.approx(theirs["H_truth_given_prop"], **CLOSE)
    assert h_joint - h_truth == pytest.approx(theirs["H_prop_given_truth"], **CLOSE)
    assert merge == pytest.approx(theirs["merge"], **CLOSE)
    if not math.isnan(theirs["split"]):  # 0/0 for one segment, where ours is 1
        assert split == pytest.approx(theirs["split"], **CLOSE)


@on_every_case
def test_curves_figures_split_and_merge_are_the_organisers(case: Path) -> None:
    labels, probability, expected = load(case)
    for metric, name, figure in (
        (rand_error, "rand_fr", "rand_error_foreground_restricted"),
        (v_rand, "rand_fr_thin_macro", "vrand_thinned"),
        (v_info, None, "vinfo_thinned"),
    ):
        score = metric(labels, probability)
        per_threshold = expected["per_threshold"]
        curve = [at[name]["fscore"] if name else at["vinfo_fr_thin"] for at in per_threshold]
        curve = [1 - value for value in curve] if metric is rand_error else curve
        np.testing.assert_allclose(score.curve, curve, rtol=0, atol=1e-12)
        assert score.value == pytest.approx(expected["challenge"][figure], **CLOSE)
        if name is None:
            continue
        theirs = per_threshold[score.thresholds.index(score.threshold)][name]
        if not math.isnan(theirs["recall"]):  # a slice without a true cell
            assert score.split == pytest.approx(theirs["recall"], **CLOSE)
            assert score.merge == pytest.approx(theirs["precision"], **CLOSE)


@settings(deadline=None, max_examples=100)
@given(IDS, IDS)
def test_pairs_are_those_counted_one_by_one(truth: np.ndarray, segments: np.ndarray) -> None:
    overlaps = overlap_of(truth, segments)
    pixels = [(i, j) for i, j in zip(truth.flat, segments.flat, strict=True) if i > 0]
    # every background pixel is a segment of its own
    alone = {k: -k - 1 for k, (_, j) in enumerate(pixels) if j == 0}
    named = [(i, alone.get(k, j)) for k, (i, j) in enumerate(pixels)]
    both = proposal = in_truth = 0
    for (i, j), (u, v) in itertools.product(named, repeat=2):  # a pixel with itself included
        both += i == u and j == v
        proposal += j == v
        in_truth += i == u
    if any(j == 0 for _, j in pixels):
        # in the truth's sum the background is no different from a segment
        assert in_truth == sum((truth == i).sum() ** 2 for i in (1, 2, 3))
    found = [int(getattr(overlaps, field)[0, 0]) for field in RAND_FIELDS]
    assert found == [both, proposal, in_truth]


@settings(deadline=None, max_examples=100)
@given(IDS, IDS)
def test_entropies_follow_from_the_probabilities(truth: np.ndarray, segments: np.ndarray) -> None:
    n = np.count_nonzero(truth)
    if n == 0:
        return
    named = np.where(segments == 0, -1 - np.arange(truth.size).reshape(truth.shape), segments)
    i, j = truth[truth > 0].tolist(), named[truth > 0].tolist()

    def entropy(names: list) -> float:
        shares = [names.count(name) / n for name in set(names)]
        return -math.fsum(p * math.log(p) for p in shares)

    expected = [entropy(i), entropy(j), entropy(list(zip(i, j, strict=True)))]
    found = [float(f[0, 0]) for f in _entropies(overlap_of(truth, segments))]
    assert found == pytest.approx(expected, rel=0, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(SLICES)
def test_labels_as_their_own_proposal_are_perfect(labels: np.ndarray) -> None:
    if not labels.any():
        return
    proposal = labels.astype(np.float32)
    assert rand_error(labels, proposal).value == 0
    assert v_rand(labels, proposal).value == 1
    # with one cell there is no information to recover, and the challenge's V^Info is 0
    several = components(labels).max() > 1
    assert v_info(labels, proposal).value == pytest.approx(float(several), abs=1e-12)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_rand_and_information_follow_from_scikit_images_figures(share: float) -> None:
    truth, segments = noisy_pair(share)
    overlaps, alone = overlap_of(truth, segments), background_alone(segments)
    both, proposal, in_truth = (int(getattr(overlaps, f)[0, 0]) for f in RAND_FIELDS)
    error, named_precision, named_recall = adapted_rand_error(truth, alone, ignore_labels=(0,))
    n = np.count_nonzero(truth)  # scikit-image leaves out the pairs of a pixel with itself
    assert 1 - error == pytest.approx(2 * (both - n) / (proposal + in_truth - 2 * n), abs=1e-12)
    # and calls precision what is divided by the pairs of the truth
    assert named_precision == pytest.approx((both - n) / (in_truth - n), abs=1e-12)
    assert named_recall == pytest.approx((both - n) / (proposal - n), abs=1e-12)
    h_truth, h_proposal, h_joint = (f[0, 0] for f in _entropies(overlaps))
    splits, merges = variation_of_information(truth, alone, ignore_labels=(0,)) * math.log(2)
    assert h_joint - h_truth == pytest.approx(splits, abs=1e-11)
    assert h_joint - h_proposal == pytest.approx(merges, abs=1e-11)


def test_a_slice_without_a_true_cell_costs_rand_all_and_v_rand_its_share() -> None:
    labels = np.zeros((2, 3, 5), bool)
    labels[0, :, [0, 1, 3, 4]] = True
    probability = labels.astype(np.float32)
    score = rand_error(labels, probability)
    assert set(score.curve) == {1.0}
    assert score.threshold == 0.0
    assert v_rand(labels, probability).value == 0.5
    assert v_info(labels, probability).value == pytest.approx(0.5)
    empty = v_rand(labels[1], probability[1])
    assert (empty.value, empty.split, empty.merge) == (0.0, 0.0, 0.0)


def test_a_split_lowers_split_and_a_merger_lowers_merge() -> None:
    labels = np.array([[1, 1, 0, 1, 1]] * 3, bool)
    merged, broken = np.ones((3, 5), np.float32), labels.astype(np.float32)
    broken[1] = 0
    for metric in (rand_error, v_rand, v_info):
        merger, split = (metric(labels, p, thresholds=(0.5,)) for p in (merged, broken))
        assert merger.merge < 1 == merger.split
        assert split.split < 1 == split.merge


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_a_sweep_is_made_of_the_components_and_segments_of_its_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random((2, 9, 11)) < 0.6
    probability = rng.random(labels.shape, np.float32)
    sweeps = overlap_sweep(labels, probability, (0.25, 0.5), threads=2)
    for t, threshold in enumerate((0.25, 0.5)):
        for z in range(2):
            mask = probability[z] > threshold
            for overlaps, name in zip(sweeps, (components, watershed_segments), strict=True):
                alone = overlap_of(ndimage.label(labels[z])[0], name(mask))
                for field in RAND_FIELDS:
                    assert getattr(overlaps, field)[t, z] == getattr(alone, field)[0, 0]


def test_bad_input_is_refused() -> None:
    labels, probability = np.ones((2, 2), bool), np.ones((2, 2), np.float32)
    for metric in (rand_error, v_rand, v_info):
        with pytest.raises(ValueError, match="divide 0 … 255 by 255"):
            metric(labels, (probability * 255).astype(np.uint8))
        with pytest.raises(ValueError, match="they must increase"):
            metric(labels, probability, thresholds=(0.5, 0.4))
        with pytest.raises(ValueError, match="threads = 0"):
            metric(labels, probability, threads=0)


def overlap_of(truth: np.ndarray, segments: np.ndarray) -> RegionOverlaps:
    """The overlaps of two images of ids, whether their regions are connected or not; (1, 1)."""
    counts, entropies = np.zeros(5, np.int64), np.zeros(3)
    order, starts = rand._pixels_by_cell(np.asarray(truth, np.int32), int(truth.max()))
    work = (np.zeros(segments.max() + 1, np.int64), np.zeros(segments.max() + 1, np.int64))
    ids = np.asarray(segments, np.int32)
    rand._overlap(order, starts, ids, int(segments.max()), *work, counts, entropies)
    assert not any(w.any() for w in work)
    return RegionOverlaps(*counts.reshape(5, 1, 1), *entropies.reshape(3, 1, 1))


def _entropies(overlaps: RegionOverlaps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return overlaps.entropy_truth, overlaps.entropy_proposal, overlaps.entropy_joint


def noisy_pair(share: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells of smooth noise, and a proposal that differs from them."""
    rng = np.random.default_rng(4)
    noise = ndimage.gaussian_filter(rng.standard_normal((60, 70)), 2)
    other = noise + ndimage.gaussian_filter(rng.standard_normal(noise.shape), 1) * share
    truth = ndimage.label(noise > np.quantile(noise, 0.4))[0]
    return truth, ndimage.label(other > np.quantile(other, 0.5))[0]


def background_alone(segments: np.ndarray) -> np.ndarray:
    """The segments with every background pixel a segment of its own."""
    named = segments.copy()
    background = segments == 0
    named[background] = segments.max() + 1 + np.arange(np.count_nonzero(background))
    return named
