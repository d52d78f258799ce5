"""The loss against its definition, pixel by pixel."""

import math

import numpy as np
import pytest
import torch

from unet2015.loss import weighted_cross_entropy


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(2, 3, 4, 5)))
    labels = torch.from_numpy(rng.integers(0, 3, size=(2, 4, 5)))
    weights = torch.from_numpy(rng.uniform(0, 5, size=(2, 4, 5)))
    return scores, labels, weights


def test_is_the_weighted_mean_of_the_softmax_cross_entropy() -> None:
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


def test_ignored_pixels_change_nothing_and_get_no_gradient() -> None:
    scores, labels, weights = example()
    weights[:, :, 0] = 0
    scores.requires_grad_()
    loss = weighted_cross_entropy(scores, labels, weights)
    loss.backward()
    assert scores.grad is not None
    assert not scores.grad[..., 0].any()
    other = labels.clone()
    other[:, :, 0] = (labels[:, :, 0] + 1) % 3
    assert weighted_cross_entropy(scores, other, weights) == loss


def test_all_ignored_is_zero() -> None:
    scores, labels, weights = example()
    scores.requires_grad_()
    loss = weighted_cross_entropy(scores, labels, weights * 0)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_scale_of_the_weights_does_not_matter() -> None:
    scores, labels, weights = example()
    assert float(weighted_cross_entropy(scores, labels, 7 * weights)) == pytest.approx(
        float(weighted_cross_entropy(scores, labels, weights)), rel=1e-6
    )


def test_large_scores_stay_finite() -> None:
    scores = torch.tensor([1e4, -1e4]).reshape(1, 2, 1, 1)
    loss = weighted_cross_entropy(
        scores, torch.ones(1, 1, 1, dtype=torch.long), torch.ones(1, 1, 1)
    )
    assert float(loss) == pytest.approx(2e4)


def test_shapes_must_fit() -> None:
    scores, labels, weights = example()
    with pytest.raises(ValueError, match=r"labels has shape \(2, 4, 4\)"):
        weighted_cross_entropy(scores, labels[..., :4], weights)
    with pytest.raises(ValueError, match="weights has shape"):
        weighted_cross_entropy(scores, labels, weights[:1])
