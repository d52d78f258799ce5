import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial import distance
from skimage.measure import label

from unet2015.metrics.segmentation import (
    accuracy,
    dice,
    dice_of_classes,
    iou,
    object_overlaps,
    segmentation_accuracy,
)

STACKS = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
IDS = st.sampled_from([0, 0, 1, 2, 3, 2**31 - 1])


def pairs(elements, dtype, shapes=STACKS):
    """Two arrays of one shape."""
    return shapes.flatmap(lambda shape: st.tuples(*[arrays(dtype, shape, elements=elements)] * 2))


def brute_force_seg(truth, predicted):
    """The definition, object by object, with sets of pixels."""
    values = []
    for plane, other in zip(truth, predicted, strict=True):
        for reference in np.unique(plane[plane > 0]):
            r = set(zip(*np.nonzero(plane == reference), strict=True))
            value = 0.0
            for candidate in np.unique(other[other > 0]):
                s = set(zip(*np.nonzero(other == candidate), strict=True))
                if len(r & s) > 0.5 * len(r):
                    value = len(r & s) / len(r | s)
            values.append(value)
    return values


@settings(deadline=None)
@given(pairs(IDS, np.int32))
def test_seg_equals_the_definition_by_sets(stacks):
    truth, predicted = stacks
    expected = brute_force_seg(truth, predicted)
    overlaps = object_overlaps(truth, predicted)
    np.testing.assert_allclose(overlaps.jaccard, expected, rtol=0, atol=1e-15)
    assert ((overlaps.match > 0) == (overlaps.jaccard > 0)).all()
    if expected:
        assert segmentation_accuracy(truth, predicted) == pytest.approx(np.mean(expected))


def test_seg_of_a_known_case():
    truth = np.zeros((2, 6, 6), np.uint16)
    predicted = np.zeros((2, 6, 6), np.uint16)
    truth[0, :2, :5] = 4  # 10 px: 6 of them and 2 others are predicted -> 6 / 12
    predicted[0, 0, :3] = predicted[0, 1, :3] = predicted[0, 2, :2] = 1
    truth[0, 4, :4] = 5  # 4 px: exactly half of them is no match
    predicted[0, 4, :2] = 2
    truth[1, 0, 0] = 4  # the same id in the next image is another object
    predicted[1, 0, 0] = 9
    predicted[1, 3:, 3:] = 3  # false positives cost nothing
    overlaps = object_overlaps(truth, predicted)
    assert overlaps.image.tolist() == [0, 0, 1]
    assert overlaps.reference.tolist() == [4, 5, 4]
    assert overlaps.match.tolist() == [1, 0, 9]
    assert overlaps.jaccard.tolist() == [0.5, 0.0, 1.0]
    # pooled over objects: the mean over images would be (0.25 + 1) / 2
    assert segmentation_accuracy(truth, predicted) == 0.5


def test_of_a_merged_pair_only_the_larger_cell_scores():
    truth = np.zeros((10, 10), int)
    truth[:6], truth[7:] = 1, 2
    merged = np.ones((10, 10), int)
    assert object_overlaps(truth, merged).jaccard.tolist() == [0.6, 0.3]
    # each lies wholly in the merged object; split in the middle, both match their own half
    assert segmentation_accuracy(truth, np.asarray(label(truth > 0, connectivity=1))) == 1


@pytest.mark.parametrize(
    ("truth", "predicted", "words"),
    [
        (np.zeros((2, 2), int), np.ones((2, 2), int), "no object"),
        (np.ones((2, 2), int), np.ones((2, 3), int), "both must be the same"),
        (np.ones((2, 2)), np.ones((2, 2), int), "must be integers"),
        (np.ones((2, 2), int), np.ones((2, 2), bool), "label a mask's components"),
        (np.ones((2, 2), int), -np.ones((2, 2), int), "id -1"),
        (np.ones(4, int), np.ones(4, int), r"must be \(H, W\)"),
        (np.ones((0, 2), int), np.ones((0, 2), int), "none of them 0"),
    ],
)
def test_seg_refuses_what_it_cannot_score(truth, predicted, words):
    with pytest.raises(ValueError, match=words):
        segmentation_accuracy(truth, predicted)


MASKS = pairs(st.booleans(), bool, array_shapes(min_dims=1, max_dims=3, max_side=8))


@settings(deadline=None)
@given(MASKS)
def test_masks_equal_scipys_distances(masks):
    truth, prediction = masks
    flat = truth.ravel(), prediction.ravel()
    assert iou(truth, prediction) == pytest.approx(1 - distance.jaccard(*flat))
    if truth.any() or prediction.any():  # SciPy divides 0 by 0 otherwise
        assert dice(truth, prediction) == pytest.approx(1 - distance.dice(*flat))
    assert accuracy(truth, prediction) == pytest.approx(1 - distance.hamming(*flat))


PROBABILITIES = array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(
        arrays(bool, shape),
        arrays(np.float32, shape, elements=st.floats(0, 1, width=32)),
        arrays(bool, shape),
    )
)


@settings(deadline=None)
@given(PROBABILITIES, st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0]))
def test_iou_dice_and_accuracy_are_those_of_pixels_counted_one_by_one(case, threshold):
    truth, probability, ignore = case
    if ignore.all():
        with pytest.raises(ValueError, match="no pixel is left"):
            iou(truth, probability, threshold, ignore=ignore)
        return
    tp = fp = fn = tn = 0
    for t, p, out in zip(truth.flat, probability.flat, ignore.flat, strict=True):
        cell = float(p) > threshold  # in double
        tp, fp = tp + (t and cell and not out), fp + (not t and cell and not out)
        fn, tn = fn + (t and not cell and not out), tn + (not t and not cell and not out)
    positives = tp + fp + fn
    assert iou(truth, probability, threshold, ignore=ignore) == (tp / positives if positives else 1)
    expected = 2 * tp / (2 * tp + fp + fn) if positives else 1
    assert dice(truth, probability, threshold, ignore=ignore) == expected
    expected = (tp + tn) / (positives + tn)
    assert accuracy(truth, probability, threshold, ignore=ignore) == pytest.approx(expected)


@settings(deadline=None)
@given(PROBABILITIES)
def test_without_a_threshold_the_sums_are_soft(case):
    truth, probability, _ = case
    t, p = truth.astype(float), probability.astype(float)
    total = t.sum() + p.sum()
    if total == 0:
        assert iou(truth, probability, None) == dice(truth, probability, None) == 1
        return
    union = (t + p - t * p).sum()
    assert iou(truth, probability, None) == pytest.approx((t * p).sum() / union)
    assert dice(truth, probability, None) == pytest.approx(2 * (t * p).sum() / total)
    assert accuracy(truth, probability, None) == pytest.approx(np.mean(1 - np.abs(t - p)))


def test_dice_of_classes_is_the_mean_over_images_and_both_classes():
    rng = np.random.default_rng(0)
    truth, probability = rng.integers(0, 2, (3, 5, 7)), rng.random((3, 5, 7), np.float32)
    truth[1] = 0
    found = []
    for image in range(3):
        for cell in (True, False):
            both = squares = 0.0
            for t, p in zip(truth[image].flat, probability[image].flat, strict=True):
                member, share = bool(t) == cell, float(p) if cell else 1 - float(p)
                both += member * share
                squares += member + share**2
            found.append((2 * both + 1e-6) / (squares + 1e-6))
    assert dice_of_classes(truth, probability) == pytest.approx(np.mean(found), abs=1e-12)
    assert dice_of_classes(255 * truth, probability) == dice_of_classes(truth, probability)
    assert dice_of_classes(truth, truth.astype(float)) == 1
    with pytest.raises(ValueError, match="probability"):
        dice_of_classes(truth, probability[:, 1:])


def test_the_threshold_is_compared_in_double():
    """float32 0.3 is above 0.3 and float32 0.6 too (0.6000000238), 0.7 is below 0.7."""
    probability = np.array([0.3, 0.7], np.float32)
    truth = np.array([True, True])
    assert accuracy(truth[:1], probability[:1], 0.3) == 1
    assert accuracy(truth[1:], probability[1:], 0.7) == 0


def test_masks_may_be_stored_in_several_ways():
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((2, 3, 8, 8)) > 0.4
    for metric in (iou, dice, accuracy):
        expected = metric(truth, prediction)
        assert 0 < expected < 1
        for factor, dtype in ((1, np.uint8), (255, np.uint8), (1, np.int64), (255, np.uint16)):
            stored = truth.astype(dtype) * factor, prediction.astype(dtype) * factor
            assert metric(*stored) == expected
        assert metric(truth, prediction.astype(np.float32)) == expected
        assert metric(truth, prediction, ignore=np.zeros(truth.shape, np.uint8)) == expected


@pytest.mark.parametrize(
    ("truth", "prediction", "more", "words"),
    [
        ([0, 2], [0.0, 1.0], {}, "must be a mask"),
        ([0, 1], np.array([0, 128], np.uint8), {}, "divide by 255"),
        ([0, 1], [0.0, 1.5], {}, "sigmoid"),
        ([0, 1], [0.0, np.nan], {}, r"must be probabilities in \[0, 1\]"),
        ([0, 1], [0.0, 1.0, 1.0], {}, "both must be the same"),
        ([0, 1], [0.0, 1.0], {"threshold": 128}, "threshold = 128"),
        ([0, 1], [0.0, 1.0], {"threshold": float("nan")}, "threshold = nan"),
        ([0, 1], [0.0, 1.0], {"ignore": [True]}, "both must be the same"),
        ([0, 1], [0.0, 1.0], {"ignore": [1, 1]}, "no pixel is left"),
        ([], np.array([], float), {}, "no pixel is left"),
    ],
)
def test_masks_refuse_what_they_cannot_score(truth, prediction, more, words):
    for metric in (iou, dice, accuracy):
        with pytest.raises(ValueError, match=words):
            metric(np.asarray(truth), np.asarray(prediction), **more)
