"""The benchmark on a small crop, and the plain implementation against the organisers' outputs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.real_data import real_data
from unet2015 import metrics
from unet2015.benchmarks import metrics as metric_benchmark
from unet2015.benchmarks import plain_metrics as plain
from unet2015.benchmarks.metrics import GOOD, NOISY, a_prediction, benchmark
from unet2015.data.tiff import read_stack

CASES = ("c06_blur_noise", "c12_all_background", "c15_crop64")
SMALL: dict[str, Any] = {"slices": 2, "size_px": 64, "plain_slices": 1, "repeats": 1}


@pytest.fixture
def without_data(monkeypatch, tmp_path):
    """Neither $UNET2015_DATA nor a cache of this user."""
    monkeypatch.delenv("UNET2015_DATA", raising=False)
    for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))


def test_the_rows_on_a_small_phantom(without_data):
    found = benchmark(**SMALL)
    notes = " ".join(found.notes)
    for words in ("phantom", "2 × 64 × 64", "First call", "Peak memory above the inputs"):
        assert words in notes
    parts = ["pixel error", "Rand error", "warping error", "V^Rand, thinned", "V^Info, thinned"]
    parts.append("whole protocol")
    expected = [f"{part}, {name} prediction" for name in ("noisy", "good") for part in parts]
    assert [row.work for row in found.rows] == expected
    for row in found.rows:
        assert row.slices == (2, 1)
        assert row.ratio == pytest.approx(row.plain_s / (row.ours_s / 2))


def test_the_real_labels_are_used_where_they_are():
    real_data("isbi2012")
    assert "ISBI 2012 training labels" in benchmark(**SMALL).notes[0]


def test_a_disagreement_ends_the_benchmark(without_data, monkeypatch):
    right = metrics.rand_error

    def wrong(labels, probability):
        score = right(labels, probability)
        return dataclasses.replace(score, curve=(score.curve[0] + 1e-9, *score.curve[1:]))

    monkeypatch.setattr(metrics, "rand_error", wrong)
    with pytest.raises(RuntimeError, match="Rand error: differs from the plain implementation"):
        benchmark(**SMALL)


def test_memory_that_a_call_takes_and_gives_back_is_seen():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of the resident memory can be set back on Linux only")
    seen = metric_benchmark._memory_above_inputs(lambda: np.ones(8 * 2**20).sum())
    if seen is None:
        pytest.skip("/proc/self/clear_refs cannot be written to here")
    assert 60 * 2**20 < seen < 80 * 2**20
    assert (metric_benchmark._memory_above_inputs(lambda: None) or 0) < 8 * 2**20


def test_the_predictions_are_noisy_and_good():
    labels = np.zeros((2, 64, 64), bool)
    labels[:, 4:30, 4:60] = labels[:, 34:60, 4:60] = True
    noisy, good = a_prediction(labels, *NOISY), a_prediction(labels, *GOOD)
    for prediction in (noisy, good):
        assert prediction.dtype == np.float32
        np.testing.assert_array_equal(prediction * 1024, np.round(prediction * 1024))
        np.testing.assert_array_equal(prediction >= 0, prediction <= 1)
    assert ((good > 0.5) != labels).mean() < 0.03 < ((noisy > 0.5) != labels).mean()
    assert not np.array_equal(noisy[0], noisy[1])
    np.testing.assert_array_equal(noisy, a_prediction(labels, *NOISY))
    # the noise is white noise blurred by 2.5 px: next pixels correlate by exp(-1 / (4 * 2.5**2))
    flat = np.zeros((4, 256, 256), bool)
    logit = a_prediction(flat, 0.0, 0.5).astype(float)
    logit = np.log(logit / (1 - logit))
    assert logit.std() == pytest.approx(0.5, rel=0.01)
    next_to = np.corrcoef(logit[:, :, 1:].ravel(), logit[:, :, :-1].ravel())[0, 1]
    assert next_to == pytest.approx(np.exp(-1 / 25), abs=0.01)


def test_counts_that_make_no_sense_are_refused():
    for options, words in (
        ({"slices": 31}, "slices = 31: must be an integer from 1 to 30"),
        ({"size_px": 16}, "size_px = 16"),
        ({"slices": 2, "plain_slices": 3}, "plain_slices = 3: must be an integer from 1 to 2"),
        ({"repeats": 0}, "repeats = 0"),
    ):
        with pytest.raises(ValueError, match=words):
            benchmark(**options)


@pytest.mark.parametrize("case", CASES)
def test_the_plain_implementation_equals_the_organisers(case):
    """What ours is timed against is right itself: at every threshold."""
    folder = real_data("..", "metrics_reference", case)
    expected = json.loads((folder / "expected.json").read_text())["per_threshold"]
    labels, probability = read_stack(folder / "labels.tif") > 0, read_stack(folder / "proposal.tif")
    found = plain.all_curves(labels, probability, metrics.challenge_thresholds())
    for metric, values in {
        "pixel_error": [1 - number(e["pixel"]["fscore"]) for e in expected],
        "rand_error": [1 - number(e["rand_fr"]["fscore"]) for e in expected],
        "warping_error": [e["warping_error_splits_mergers_r20"] for e in expected[:10]],
        "v_rand_thinned": [number(e["rand_fr_thin_macro"]["fscore"]) for e in expected],
        "v_info_thinned": [number(e["vinfo_fr_thin"]) for e in expected],
    }.items():
        np.testing.assert_allclose(found[metric], values, rtol=0, atol=1e-12, err_msg=metric)


def number(value: float | str) -> float:
    """'NaN' counts as an F-score of 0."""
    return 0.0 if isinstance(value, str) else value
