"""The loss against its definition, pixel by pixel."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unet2015.config import TrainingConfig
from unet2015.loss import Loss, logistic, logistic_dice, loss_of, weighted_cross_entropy


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(2, 3, 4, 5)))
    labels = torch.from_numpy(rng.integers(0, 3, size=(2, 4, 5)))
    weights = torch.from_numpy(rng.uniform(0, 5, size=(2, 4, 5)))
    return scores, labels, weights


def test_the_loss_is_the_weighted_mean_of_the_softmax_cross_entropy() -> None:
    scores, labels, weights = example()
    total = norm = 0.0
    for b in range(2):
        for y in range(4):
            for x in range(5):
                exponentials = [math.exp(float(scores[b, c, y, x])) for c in range(3)]
                p = exponentials[int(labels[b, y, x])] / sum(exponentials)
                total += float(weights[b, y, x]) * -math.log(p)
                norm += float(weights[b, y, x])
    assert float(weighted_cross_entropy(scores, labels, weights)) == pytest.approx(
        total / norm, rel=1e-6
    )


def test_ignored_pixels_change_nothing_and_get_no_gradient_also_if_all_are() -> None:
    scores, labels, weights = example()
    weights[:, :, 0] = 0
    scores.requires_grad_()
    loss = weighted_cross_entropy(scores, labels, weights)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient[..., 0].any()
    other = labels.clone()
    other[:, :, 0] = (labels[:, :, 0] + 1) % 3
    assert weighted_cross_entropy(scores, other, weights) == loss
    nothing = weighted_cross_entropy(scores, labels, weights * 0)
    (gradient,) = torch.autograd.grad(nothing, scores)
    assert nothing.item() == 0
    assert not gradient.any()


def test_large_scores_stay_finite_and_shapes_must_fit() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.long)
    loss = weighted_cross_entropy(torch.tensor([[[[1e4]], [[-1e4]]]]), one, one.float())
    assert float(loss) == pytest.approx(2e4)
    scores, labels, weights = example()
    with pytest.raises(ValueError, match=r"labels has shape \(2, 4, 4\)"):
        weighted_cross_entropy(scores, labels[..., :4], weights)
    with pytest.raises(ValueError, match="weights has shape"):
        weighted_cross_entropy(scores, labels, weights[:1])


# One score per pixel


def one_score(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(2, 1, 4, 5)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 2, size=(2, 4, 5)))
    weights = torch.from_numpy(rng.uniform(0, 5, size=(2, 4, 5)).astype(np.float32))
    return scores, labels, weights


def by_hand(
    scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, positive_weight: float
) -> tuple[float, float]:
    """The two terms of the logistic losses, pixel by pixel: cross-entropy and soft Dice."""
    entropy = norm = both = either = 0.0
    for s, t, w in zip(*(x.flatten().tolist() for x in (scores, labels, weights)), strict=True):
        p = 1 / (1 + math.exp(-s))
        entropy += w * -(positive_weight * math.log(p) if t else math.log(1 - p))
        norm += w
        both += w * p * t
        either += w * (p + t)
    return entropy / norm, (2 * both + 1) / (either + 1)


@pytest.mark.parametrize("positive_weight", [1.0, 10.0])
def test_logistic_is_pytorchs_where_every_weight_is_1(positive_weight: float) -> None:
    scores, labels, weights = one_score()
    scores.requires_grad_()
    ones = torch.ones_like(weights)
    ours = logistic(scores, labels, ones, positive_weight=positive_weight)
    theirs = F.binary_cross_entropy_with_logits(
        scores[:, 0], labels.float(), pos_weight=torch.tensor(positive_weight)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    (our_gradient,) = torch.autograd.grad(ours, scores)
    (their_gradient,) = torch.autograd.grad(theirs, scores)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("positive_weight", [1.0, 10.0])
def test_the_logistic_losses_are_their_definition_pixel_by_pixel(positive_weight: float) -> None:
    scores, labels, weights = one_score()
    entropy, dice = by_hand(scores, labels, weights, positive_weight)
    ours = logistic(scores, labels, weights, positive_weight=positive_weight)
    assert float(ours) == pytest.approx(entropy, rel=1e-5)
    ours = logistic_dice(scores, labels, weights, positive_weight=positive_weight)
    assert float(ours) == pytest.approx(entropy / 2 + 1 - dice, rel=1e-5)


def test_soft_dice_is_over_the_batch_not_the_mean_of_its_images() -> None:
    scores = torch.full((2, 1, 4, 4), 50.0)
    scores[1] = -50  # nothing is predicted, nothing is there
    labels = torch.ones(2, 4, 4, dtype=torch.long)
    labels[0, 2:] = 0
    labels[1] = 0
    entropy = float(logistic(scores, labels, torch.ones(2, 4, 4)))
    found = float(logistic_dice(scores, labels, torch.ones(2, 4, 4))) - entropy / 2
    assert found == pytest.approx(1 - (2 * 8 + 1) / (16 + 8 + 1), abs=1e-5)


@pytest.mark.parametrize("loss", [logistic, logistic_dice])
def test_logistic_losses_ignore_pixels_of_weight_0(loss: Loss) -> None:
    scores, labels, weights = one_score()
    weights[:, :, 0] = 0
    scores.requires_grad_()
    found = loss(scores, labels, weights)
    (gradient,) = torch.autograd.grad(found, scores)
    assert not gradient[..., 0].any()
    assert gradient[..., 1:].all()
    other = labels.clone()
    other[:, :, 0] = 1 - labels[:, :, 0]
    assert loss(scores, other, weights) == found
    nothing = loss(scores, labels, weights * 0)
    (gradient,) = torch.autograd.grad(nothing, scores)
    assert nothing.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("loss", [logistic, logistic_dice])
def test_logistic_losses_compute_in_float32_and_stay_finite(loss: Loss) -> None:
    scores, labels, weights = one_score()
    rough = scores.bfloat16()
    found = loss(rough, labels, weights)
    assert found.dtype == torch.float32
    assert found == loss(rough.float(), labels, weights)
    wrong = torch.where(labels == 1, -1e4, 1e4)[:, None]
    assert math.isfinite(float(loss(wrong, labels, weights)))


@pytest.mark.parametrize("loss", [logistic, logistic_dice])
def test_logistic_losses_refuse_other_shapes(loss: Loss) -> None:
    scores, labels, weights = one_score()
    with pytest.raises(ValueError, match=r"scores of shape \(2, 2, 4, 5\): .*model.classes = 1"):
        loss(scores.repeat(1, 2, 1, 1), labels, weights)
    with pytest.raises(ValueError, match=r"scores of shape \(2, 4, 5\)"):
        loss(scores[:, 0], labels, weights)
    with pytest.raises(ValueError, match=r"labels has shape \(2, 1, 4, 5\)"):
        loss(scores, labels[:, None], weights)
    with pytest.raises(ValueError, match="weights has shape"):
        loss(scores, labels, weights[:1])


def test_the_configuration_names_the_loss() -> None:
    assert loss_of(TrainingConfig()) is weighted_cross_entropy
    scores, labels, weights = one_score()
    for name, function in (("logistic", logistic), ("logistic_dice", logistic_dice)):
        config = TrainingConfig(loss=name, positive_weight=3)  # type: ignore[arg-type]
        expected = function(scores, labels, weights, positive_weight=3)
        assert loss_of(config)(scores, labels, weights) == expected
        assert expected != function(scores, labels, weights)
