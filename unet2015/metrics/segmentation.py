"""How well cells are segmented: SEG of the Cell Tracking Challenge, IoU, Dice, pixel accuracy.

The "IOU" of the paper's Table 2 is SEG (Cell Tracking Challenge, evaluation methodology). IoU, Dice
and accuracy of two masks are what later re-implementations report.
"""

from dataclasses import dataclass

import numpy as np
from skimage.metrics import contingency_table

_SMOOTHING = 1e-6  # of `dice_of_classes`, UNet_Medical's


@dataclass(frozen=True, eq=False)
class ObjectOverlaps:
    """What SEG is the mean of: one entry per reference object, ordered by image, then by id."""

    image: np.ndarray
    """(objects,) int64: the index of the image in the stack."""
    reference: np.ndarray
    """(objects,) int64: the object's id there."""
    match: np.ndarray
    """(objects,) int64: the id of the predicted object that matches it; 0 = none."""
    jaccard: np.ndarray
    """(objects,) float64 in [0, 1]: |R ∩ S| / |R ∪ S| of the match, 0 without one."""


def segmentation_accuracy(truth_instances: np.ndarray, predicted_instances: np.ndarray) -> float:
    """SEG of the Cell Tracking Challenge (paper §4, Table 2, "IOU"): the mean Jaccard index.

    The mean is over all reference objects of all images together, not first over each image.
    Predicted objects that match none cost nothing. Arguments as `object_overlaps`. Returns a
    number in [0, 1]; raises ValueError as `object_overlaps`, and where there is no reference
    object, because a mean over none has no value.

    >>> truth = np.array([[1, 1, 1, 0, 2, 2]])
    >>> segmentation_accuracy(truth, np.array([[7, 7, 0, 0, 9, 0]]))  # 2/3 matches, a half not
    0.3333333333333333
    """
    jaccard = object_overlaps(truth_instances, predicted_instances).jaccard
    if not len(jaccard):
        raise ValueError(
            "truth_instances has no object, only 0 (background): SEG is a mean over reference "
            "objects; give images in which cells are annotated"
        )
    return float(jaccard.mean())


def object_overlaps(truth_instances: np.ndarray, predicted_instances: np.ndarray) -> ObjectOverlaps:
    """The Jaccard index of every reference object R with its match S: |R ∩ S| / |R ∪ S|, or 0.

    S matches R if |R ∩ S| > |R| / 2, so that there is at most one (Cell Tracking Challenge,
    evaluation methodology). Both arguments: (H, W) or (N, H, W), integers, 0 = background, each
    other number one object, whether connected or not; the same number in two images is two
    objects. All pixels count: no border is left out, as in SEG.

    Raises ValueError for shapes that differ, empty arrays, negative ids, and floats or booleans.
    """
    truth = _instances(truth_instances, "truth_instances")
    predicted = _instances(predicted_instances, "predicted_instances")
    _check_equal_shape(truth, predicted, "truth_instances", "predicted_instances")
    found = []
    for index, planes in enumerate(zip(truth, predicted, strict=True)):
        ids, match, jaccard = _overlaps_of_image(*planes)
        found.append((np.full(len(ids), index), ids, match, jaccard))
    return ObjectOverlaps(*(np.concatenate(column) for column in zip(*found, strict=True)))


def iou(
    truth: np.ndarray,
    prediction: np.ndarray,
    threshold: float | None = 0.5,
    *,
    ignore: np.ndarray | None = None,
) -> float:
    """Intersection over union of two masks, |T ∩ P| / |T ∪ P| = TP / (TP + FP + FN).

    truth: any shape; bool, {0, 1} or {0, 255}. prediction: as large; such a mask too, or floats in
    [0, 1], of which those > threshold (strictly, as the EM challenge does) are P. threshold: 0.5,
    the argmax of two classes; None for the soft variant, Σtp / (Σt + Σp - Σtp). ignore: as large;
    bool, {0, 1} or {0, 255}, non-zero pixels are not looked at.

    All pixels given count as one set, so that a stack is pooled; for a mean over images call it
    per image. Two empty sets give 1, because they are equal (as scipy.spatial.distance.jaccard,
    which is 0 then); re-implementations differ there: those that add a small number to the
    denominator only have 0. One empty set gives 0.

    Raises ValueError for other values, dtypes, shapes or thresholds, and if no pixel is left.

    >>> iou(np.array([1, 1, 0, 0]), np.array([0.9, 0.2, 0.6, 0.5]))
    0.3333333333333333
    """
    both, in_truth, in_prediction, _ = _sums(truth, prediction, threshold, ignore)
    union = in_truth + in_prediction - both
    return both / union if union > 0 else 1.0


def dice(
    truth: np.ndarray,
    prediction: np.ndarray,
    threshold: float | None = 0.5,
    *,
    ignore: np.ndarray | None = None,
) -> float:
    """Dice coefficient of two masks, 2|T ∩ P| / (|T| + |P|); the F-score of the pixels.

    Arguments, empty sets and errors as `iou`; the soft variant (threshold None) is
    2Σtp / (Σt + Σp), the usual soft Dice.

    >>> dice(np.array([1, 1, 0, 0]), np.array([0.9, 0.2, 0.6, 0.5]))
    0.5
    """
    both, in_truth, in_prediction, _ = _sums(truth, prediction, threshold, ignore)
    total = in_truth + in_prediction
    return 2 * both / total if total > 0 else 1.0


def dice_of_classes(truth: np.ndarray, probability: np.ndarray) -> float:
    """The soft Dice coefficient of cell and background, with squares: NVIDIA's "DICE".

    (2Σtp + ε) / (Σt + Σp² + ε) with ε = 1e-6, of each image and each of the two classes, and the
    mean of these (DeepLearningExamples, UNet_Medical). truth: (N, H, W); bool, {0, 1} or
    {0, 255}. probability: as large, floats in [0, 1], of a cell. Errors as `iou`.

    >>> truth = np.array([[[1, 1, 0, 0]]])
    >>> round(dice_of_classes(truth, np.array([[[0.5, 1.0, 0.0, 0.0]]])), 4)  # 3/3.25, 4/4.25
    0.9321
    """
    cell = _mask(truth, "truth")
    share = _membership(probability, None).astype(np.float64)
    _check_equal_shape(cell, share, "truth", "probability")
    found = []
    for members, predicted in ((cell, share), (~cell, 1 - share)):
        both, squares = (predicted * members).sum((1, 2)), np.square(predicted).sum((1, 2))
        found.append((2 * both + _SMOOTHING) / (members.sum((1, 2)) + squares + _SMOOTHING))
    return float(np.mean(found))


def accuracy(
    truth: np.ndarray,
    prediction: np.ndarray,
    threshold: float | None = 0.5,
    *,
    ignore: np.ndarray | None = None,
) -> float:
    """Share of the pixels that are right; 1 - accuracy is not the EM challenge's pixel error.

    Arguments and errors as `iou`; the soft variant (threshold None) is the mean of 1 - |t - p|.

    >>> accuracy(np.array([1, 1, 0, 0]), np.array([0.9, 0.2, 0.6, 0.5]))
    0.5
    """
    both, in_truth, in_prediction, pixels = _sums(truth, prediction, threshold, ignore)
    # for t of 0 and 1, |t - p| = t + p - 2tp
    return 1 - (in_truth + in_prediction - 2 * both) / pixels


def _overlaps_of_image(
    truth: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, matches and Jaccard indices of one image's reference objects."""
    # the ids' ranks, because a table over the ids themselves would be as large as the largest
    ids, rank = np.unique(truth.ravel(), return_inverse=True)
    other_ids, other_rank = np.unique(predicted.ravel(), return_inverse=True)
    table = contingency_table(rank, other_rank).tocoo()
    sizes, other_sizes = np.bincount(rank), np.bincount(other_rank)
    row, column, common = table.row, table.col, table.data
    matches = (2 * common > sizes[row]) & (ids[row] != 0) & (other_ids[column] != 0)
    row, column, common = row[matches], column[matches], common[matches]
    match, jaccard = np.zeros(len(ids), np.int64), np.zeros(len(ids))
    match[row] = other_ids[column]
    jaccard[row] = common / (sizes[row] + other_sizes[column] - common)
    objects = ids != 0
    return ids[objects].astype(np.int64), match[objects], jaccard[objects]


def _instances(labels: np.ndarray, name: str) -> np.ndarray:
    """The labels as (N, H, W), checked."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has dtype {array.dtype}: must be integers, one number per object; label a "
            "mask's components first (skimage.measure.label with connectivity=1)"
        )
    if array.ndim not in (2, 3) or not array.size:
        raise ValueError(
            f"{name} has shape {array.shape}: must be (H, W) or (N, H, W), none of them 0"
        )
    if array.min() < 0:
        raise ValueError(f"{name} has the id {array.min()}: must be ≥ 0, 0 = background")
    return array.reshape(-1, *array.shape[-2:])


def _sums(
    truth: np.ndarray,
    prediction: np.ndarray,
    threshold: float | None,
    ignore: np.ndarray | None,
) -> tuple[float, float, float, int]:
    """Σtp, Σt, Σp and the number of pixels, over the pixels that are not ignored."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"threshold = {threshold}: must be in [0, 1], or None for the soft sums")
    in_truth = _mask(truth, "truth")
    in_prediction = _membership(prediction, threshold)
    _check_equal_shape(in_truth, in_prediction, "truth", "prediction")
    if ignore is not None:
        counted = ~_mask(ignore, "ignore")
        _check_equal_shape(in_truth, counted, "truth", "ignore")
        in_truth, in_prediction = in_truth[counted], in_prediction[counted]
    if not in_truth.size:
        raise ValueError("truth: no pixel is left to compare; give some that ignore leaves out")
    both = in_prediction[in_truth].sum(dtype=np.float64)
    total = in_prediction.sum(dtype=np.float64)
    return float(both), float(np.count_nonzero(in_truth)), float(total), in_truth.size


def _membership(prediction: np.ndarray, threshold: float | None) -> np.ndarray:
    """How much each pixel belongs to the predicted set: bool, or float for the soft variant."""
    array = np.asarray(prediction)
    if array.dtype.kind != "f":
        return _mask(array, "prediction")
    # written so that NaN fails too
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"prediction has values from {array.min()} to {array.max()}: must be probabilities in "
            "[0, 1]; apply the sigmoid or softmax to a network's scores first"
        )
    # a NumPy scalar, so that float32 is compared in double, as the challenge does
    return array if threshold is None else array > np.float64(threshold)


def _mask(values: np.ndarray, name: str) -> np.ndarray:
    """A mask as bool; ValueError unless it is bool, {0, 1} or {0, 255}."""
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    largest = array.max(initial=0)
    high = largest if largest == 255 else 1
    if array.dtype.kind not in "iuf" or not ((array == 0) | (array == high)).all():
        range_seen = f"{array.min()} to {array.max()}" if array.size else "none"
        raise ValueError(
            f"{name} of dtype {array.dtype}, values {range_seen}: must be a mask, bool, {{0, 1}} "
            "or {0, 255}; 8-bit probabilities: divide by 255"
        )
    return array != 0


def _check_equal_shape(first: np.ndarray, second: np.ndarray, name: str, other: str) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"{other} has shape {second.shape}, {name} {first.shape}: both must be the same"
        )
