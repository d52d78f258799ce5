"""All figures of the challenge for one proposal: both protocols, slices, threads."""

import json

import numpy as np
import pytest

from unet2015.metrics.challenge import ChallengeScores, challenge_scores
from unet2015.metrics.pixel import pixel_error
from unet2015.metrics.rand import rand_error, v_info, v_rand
from unet2015.metrics.sweep import CHALLENGE_THRESHOLDS, challenge_thresholds
from unet2015.metrics.warping import guarded_warping_error, warping_error

NAMES = [
    "pixel_error",
    "rand_error",
    "warping_error",
    "warping_error_guarded",
    "v_rand_thinned",
    "v_info_thinned",
]


def stack(slices: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Square cells with one-pixel membranes, and a proposal with bridges, holes and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((24, 30))
    labels = np.broadcast_to((y % 6 > 0) & (x % 6 > 0), (slices, 24, 30))
    flipped = rng.random(labels.shape) < 0.05
    probability = (labels ^ flipped) * 0.6 + rng.random(labels.shape) * 0.4
    return labels, probability.astype(np.float32)


def test_protocol_2015_is_each_figure_by_itself_over_all_slices() -> None:
    labels, probability = stack()
    assert challenge_scores(labels, probability) == ChallengeScores(
        pixel_error=pixel_error(labels, probability),
        rand_error=rand_error(labels, probability),
        warping_error=warping_error(labels, probability, radius_px=20),
        warping_error_guarded=guarded_warping_error(labels, probability, radius_px=20),
        v_rand_thinned=v_rand(labels, probability),
        v_info_thinned=v_info(labels, probability),
    )


def test_protocol_2016_scores_every_third_slice_with_radius_10() -> None:
    labels, probability = stack(slices=7)
    third = labels[[2, 5]], probability[[2, 5]]
    warping = {"thresholds": challenge_thresholds(0.1, 0.9), "radius_px": 10}
    scores = challenge_scores(labels, probability, protocol="2016")
    assert scores == ChallengeScores(
        pixel_error=pixel_error(*third),
        rand_error=rand_error(*third),
        warping_error=warping_error(*third, **warping),
        warping_error_guarded=guarded_warping_error(*third, **warping),
        v_rand_thinned=v_rand(*third),
        v_info_thinned=v_info(*third),
    )
    assert scores != challenge_scores(labels, probability)


def test_the_radius_tells_the_protocols_apart() -> None:
    # a ring that the proposal cuts: within 10 pixels the cut leaves two ends apart (a split),
    # within 20 pixels the ring still holds them together (a hole)
    labels = np.zeros((1, 44, 44), bool)
    labels[0, 2:18, 2:30] = True
    labels[0, 3:17, 3:29] = False
    probability = labels.astype(np.float32)
    probability[0, 2, 16] = 0
    wide, narrow = (
        challenge_scores(labels, probability, p, slices=[0]).warping_error.curve[-1]
        for p in ("2015", "2016")
    )
    assert (wide, narrow) == (0, 1 / labels.size)


def test_named_slices_are_scored_whatever_the_protocol() -> None:
    labels, probability = stack()
    for protocol in ("2015", "2016"):
        scores = challenge_scores(labels, probability, protocol, slices=[4, 1])
        alone = challenge_scores(labels[[1, 4]], probability[[1, 4]], protocol, slices=range(2))
        assert scores.as_dict()["warping_error"] == alone.as_dict()["warping_error"]
        for name in NAMES:
            ours, theirs = getattr(scores, name).curve, getattr(alone, name).curve
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-14)


def test_figures_do_not_depend_on_the_number_of_threads() -> None:
    labels, probability = stack(slices=5)
    expected = challenge_scores(labels, probability)
    for threads in (1, 2, 5):
        assert challenge_scores(labels, probability, threads=threads) == expected


def test_inputs_are_left_as_they_are_and_double_is_scored_as_float32() -> None:
    labels, probability = stack(slices=3)
    double = probability.astype(np.float64) * 0.999
    before = labels.copy(), double.copy()
    scores = challenge_scores(labels.astype(np.uint8) * 255, double)
    assert scores == challenge_scores(labels, double.astype(np.float32))
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(double, before[1])


def test_scores_are_ready_for_json_in_a_fixed_order() -> None:
    labels, probability = stack(slices=2)
    values = challenge_scores(labels, probability).as_dict()
    assert list(values) == NAMES
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["pixel_error"]["thresholds"] == list(CHALLENGE_THRESHOLDS)
    assert values["warping_error"]["thresholds"] == list(CHALLENGE_THRESHOLDS[:10])
    assert "split" in values["v_rand_thinned"]
    assert "split" not in values["warping_error"]


def test_an_empty_proposal_has_no_warping_error_but_no_guarded_one() -> None:
    labels, _ = stack(slices=2)
    values = challenge_scores(labels, np.zeros(labels.shape, np.float32)).as_dict()
    assert values["warping_error"]["value"] == 0
    assert values["warping_error_guarded"]["value"] is None
    assert values["warping_error_guarded"]["threshold"] is None
    json.dumps(values, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "2012"}, "protocol = '2012': must be one of 2015, 2016"),
        ({"slices": []}, "slices = \\[\\]"),
        ({"slices": [0, 2]}, "2 is not a slice of the stack; indices go from 0 to 1"),
        ({"slices": [-1]}, "-1 is not a slice"),
        ({"slices": [0.5]}, "0.5 is not a slice"),
        ({"slices": [1, 1]}, "a slice is named twice"),
        ({"protocol": "2016"}, "2 slices, of which protocol 2016 scores none"),
        ({"threads": 0}, "threads = 0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        challenge_scores(*stack(slices=2), **arguments)


def test_stacks_that_do_not_fit_are_refused() -> None:
    labels, probability = stack(slices=2)
    with pytest.raises(ValueError, match="must be that of labels"):
        challenge_scores(labels, probability[:1])
