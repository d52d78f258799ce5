"""The pixel error against the organisers' outputs and against counting by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.metrics.reference import load, on_every_case
from unet2015.metrics.pixel import pixel_counts, pixel_error
from unet2015.metrics.sweep import CHALLENGE_THRESHOLDS, check_stacks

MASKS = arrays(bool, (2, 4, 5))
PROPOSALS = arrays(np.float32, (2, 4, 5), elements=st.sampled_from([0, 0.1, 0.3, 0.5, 0.7, 1]))


@on_every_case
def test_counts_and_error_are_the_organisers(case: Path) -> None:
    labels, probability, expected = load(case)
    counts = pixel_counts(*check_stacks(labels, probability), CHALLENGE_THRESHOLDS)
    score = pixel_error(labels, probability)
    for t, figures in enumerate(expected["per_threshold"]):
        pixel = figures["pixel"]
        assert counts[t].tolist() == [pixel["tp"], pixel["fp"], pixel["fn"]]
        assert score.curve[t] == pytest.approx(1 - pixel["fscore"], rel=0, abs=1e-12)
    assert score.value == pytest.approx(expected["challenge"]["pixel_error"], rel=0, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(MASKS, PROPOSALS)
@example(np.zeros((2, 4, 5), bool), np.zeros((2, 4, 5), np.float32))  # nothing there, or found
@example(np.zeros((2, 4, 5), bool), np.ones((2, 4, 5), np.float32))
@example(np.ones((2, 4, 5), bool), np.zeros((2, 4, 5), np.float32))
def test_curve_is_that_of_pixels_counted_one_by_one(
    labels: np.ndarray, probability: np.ndarray
) -> None:
    score = pixel_error(labels, probability)
    for threshold, error in zip(score.thresholds, score.curve, strict=True):
        tp = fp = fn = 0
        for cell, p in zip(labels.flat, probability.flat, strict=True):
            tp += cell and float(p) > threshold
            fp += not cell and float(p) > threshold
            fn += cell and not float(p) > threshold
        # 2TP / (2TP + FP + FN) is the F-score where there is a true positive
        f = 2 * tp / (2 * tp + fp + fn) if tp else float(fp + fn == 0)
        assert error == pytest.approx(1 - f, abs=1e-12)
    assert score.value == min(score.curve)
