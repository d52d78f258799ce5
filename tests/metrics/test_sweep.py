"""Thresholds, the checks of the stacks, and scores."""

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.metrics.reference import load, on_every_case
from unet2015.metrics.sweep import (
    CHALLENGE_THRESHOLDS,
    Score,
    best_score,
    challenge_thresholds,
    check_stacks,
    check_thresholds,
    f_score,
    for_each_slice,
)

LABELS = np.array([[[0, 1], [1, 0]]], np.uint8)
PROBABILITY = np.array([[[0.0, 1.0], [0.5, 0.25]]], np.float32)


@on_every_case
def test_pixels_and_thresholds_are_those_of_the_organisers_program(case: Path) -> None:
    labels, probability, expected = load(case)
    assert labels.dtype == np.uint8
    assert labels.shape == (expected["slices"], expected["height"], expected["width"])
    raw = np.ascontiguousarray(probability, dtype="<f4").tobytes()
    assert hashlib.sha1(labels.tobytes()).hexdigest() == expected["sha1_labels_u8"]
    assert hashlib.sha1(raw).hexdigest() == expected["sha1_proposal_f32le"]
    assert list(challenge_thresholds()) == expected["thresholds_0_1"]
    assert list(challenge_thresholds(0.0, 0.9)) == expected["thresholds_0_0.9"]


def test_thresholds_are_repeated_sums_in_double() -> None:
    assert CHALLENGE_THRESHOLDS[3] == 0.1 + 0.1 + 0.1 != 0.3
    assert len(CHALLENGE_THRESHOLDS) == 11
    assert CHALLENGE_THRESHOLDS[-1] < 1.0
    assert challenge_thresholds(0.1, 0.9) == CHALLENGE_THRESHOLDS[1:10]
    assert challenge_thresholds(0.5, 0.5) == (0.5,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.5, 0.4), "first = 0.5, last = 0.4"),
        ((-0.1, 0.4), "first = -0.1"),
        ((0.0, 1.1), "last = 1.1"),
        ((float("nan"), 1.0), "first = nan"),
        ((0.0, 1.0, 0.0), "step = 0.0"),
        ((0.0, 1.0, float("inf")), "step = inf"),
        ((0.5, 1.0, 1e-30), "too small"),
    ],
)
def test_impossible_sweeps_are_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        challenge_thresholds(*arguments)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ((), "at least one"),
        ((0.1, 1.5), "1.5 is not within"),
        ((float("nan"),), "nan is not within"),
        ((0.5, 0.5), "0.5 follows 0.5"),
        ((0.5, 0.25), "0.25 follows 0.5"),
    ],
)
def test_bad_thresholds_are_refused(thresholds: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_thresholds(thresholds)


def test_every_way_of_writing_labels_is_the_same() -> None:
    for labels in (LABELS, LABELS * 255, LABELS > 0, LABELS.astype(np.int64)):
        cells, probability = check_stacks(labels, PROBABILITY)
        np.testing.assert_array_equal(cells, LABELS > 0)
        assert cells.dtype == np.bool_
        assert probability is PROBABILITY or np.shares_memory(probability, PROBABILITY)
    for value in (0, 1, 255):
        cells, _ = check_stacks(np.full((2, 3), value), np.zeros((2, 3), np.float32))
        assert cells.all() == (value > 0)


def test_one_slice_becomes_a_stack_of_one_and_views_become_contiguous() -> None:
    labels, probability = LABELS[0].T, PROBABILITY[0].T.astype(np.float64)
    cells, proposal = check_stacks(labels, probability)
    assert cells.shape == proposal.shape == (1, 2, 2)
    assert cells.flags.c_contiguous
    assert proposal.flags.c_contiguous
    np.testing.assert_array_equal(proposal[0], probability.astype(np.float32))


@pytest.mark.parametrize(
    ("labels", "probability", "message"),
    [
        (LABELS[0, 0], PROBABILITY[0, 0], r"labels: shape \(2,\)"),
        (LABELS[None], PROBABILITY[None], r"labels: shape \(1, 1, 2, 2\)"),
        (LABELS, PROBABILITY[0], r"probability: shape \(2, 2\) must be that of labels"),
        (LABELS[:0], PROBABILITY[:0], "has no pixel"),
        (LABELS.astype(float), PROBABILITY, "type float64 must be bool or integer"),
        (LABELS * 3, PROBABILITY, "values 0 … 3"),
        (LABELS.astype(int) * -1, PROBABILITY, "values -1 … 0"),
        (np.array([[0, 1], [255, 0]]), PROBABILITY[0], "labels: 1 beside 0 and 255"),
        (np.array([[7, 255], [255, 0]]), PROBABILITY[0], "labels: 7 beside 0 and 255"),
        (LABELS, (PROBABILITY * 255).astype(np.uint8), "divide 0 … 255 by 255"),
        (LABELS, PROBABILITY > 0.5, "type bool must be float32 or float64"),
        (LABELS, PROBABILITY.astype(np.float16), "type float16"),
        (LABELS, PROBABILITY.astype(complex), "type complex128"),
        (LABELS, PROBABILITY * np.float32(np.nan), "NaN"),
        (LABELS, PROBABILITY - np.float32(0.5), r"values -0.5 … 0.5 must lie in \[0, 1\]"),
        (LABELS, PROBABILITY.astype(float) + 1e-12, "must lie in"),
        (LABELS, PROBABILITY * np.float32(255), "0.0 … 255.0 must lie in"),
    ],
)
def test_bad_stacks_are_refused(labels: np.ndarray, probability: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_stacks(labels, probability)


def test_of_equal_values_the_lowest_threshold_counts() -> None:
    curve, thresholds = np.array([0.5, 0.25, 0.25, 0.5]), (0.1, 0.2, 0.3, 0.4)
    split = np.array([0.0, 0.1, 0.2, 0.3])
    least = best_score(curve, thresholds, is_error=True, split=split, merge=split + 0.5)
    assert (least.value, least.threshold, least.split, least.merge) == (0.25, 0.2, 0.1, 0.6)
    greatest = best_score(curve, thresholds, is_error=False)
    assert (greatest.value, greatest.threshold, greatest.split) == (0.5, 0.1, None)


def test_a_score_is_ready_for_json() -> None:
    score = best_score(np.array([0.5, 0.25]), (0.1, 0.2), is_error=True)
    assert json.loads(json.dumps(score.as_dict())) == {
        "value": 0.25,
        "threshold": 0.2,
        "thresholds": [0.1, 0.2],
        "curve": [0.5, 0.25],
    }
    rand = Score(0.25, 0.2, (0.2,), (0.25,), split=0.0, merge=1.0).as_dict()
    assert list(rand) == ["value", "threshold", "thresholds", "curve", "split", "merge"]


def test_f_score_is_the_harmonic_mean_or_undefined() -> None:
    result = f_score(np.array([0.5, 0.0, 0.0, np.nan]), np.array([0.25, 1.0, 0.0, 1.0]))
    np.testing.assert_allclose(result, [1 / 3, 0, np.nan, np.nan])


def test_every_slice_is_worked_on_once_and_an_error_in_one_reaches_the_caller() -> None:
    lock = threading.Lock()
    for threads in (None, 1, 3):
        done: list[int] = []

        def work(z: int, done: list[int] = done) -> None:
            with lock:
                done.append(z)

        for_each_slice(work, 20, threads)
        assert sorted(done) == list(range(20))

    def broken(z: int) -> None:
        if z == 3:
            raise RuntimeError("slice 3")

    with pytest.raises(RuntimeError, match="slice 3"):
        for_each_slice(broken, 5, threads=2)
    with pytest.raises(ValueError, match="threads = 0"):
        for_each_slice(work, 1, 0)
