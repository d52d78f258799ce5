"""The weighted pixel-wise softmax cross-entropy (paper §3, Eq. 1), and logistic losses.

The logistic ones are those of later re-implementations, whose network has one score per pixel.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from unet2015.config import TrainingConfig

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""loss(scores, labels, weights), of shapes as the functions below take them, to a scalar."""

DICE_SMOOTHING = 1.0
"""Added to both sides of the soft Dice coefficient's fraction, so that it is 1 where there is no
cell and none is predicted (our choice, because it is the usual one, and small beside the cells of a
tile)."""


def loss_of(config: TrainingConfig) -> Loss:
    """The loss that `config.loss` names; the logistic ones with its positive weight."""
    match config.loss:
        case "weighted_softmax":
            return weighted_cross_entropy
        case "logistic":
            return partial(logistic, positive_weight=config.positive_weight)
        case "logistic_dice":
            return partial(logistic_dice, positive_weight=config.positive_weight)


def weighted_cross_entropy(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy of the pixel-wise softmax, Σ w·CE / Σ w (paper §3, Eq. 1).

    scores: (B, classes, H, W) before the softmax; computed in float32 whatever their dtype.
    labels: (B, H, W) int64 class indices. weights: (B, H, W) float ≥ 0; 0 = ignored pixel.
    Returns a scalar; 0, with zero gradient, if every weight is 0. Shapes that do not belong
    together raise ValueError.

    Eq. 1 as printed is a sum; the authors' own weighted softmax layer divides by Σ w (later
    Caffe fork), and so do we: with a sum the step would depend on the tile's size.

    >>> scores = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1).expand(1, 2, 1, 3)
    >>> labels, weights = torch.tensor([[[1, 1, 0]]]), torch.tensor([[[1.0, 1.0, 2.0]]])
    >>> round(float(weighted_cross_entropy(scores, labels, weights)), 4)  # (2·0.1269 + 2·2.1269)/4
    1.1269
    """
    _check_shapes(scores, labels, weights)
    cross_entropy = F.cross_entropy(scores.float(), labels, reduction="none")
    total = weights.sum()
    return (weights * cross_entropy).sum() / total.clamp_min(1e-12)


def logistic(
    scores: Tensor, labels: Tensor, weights: Tensor, *, positive_weight: float = 1.0
) -> Tensor:
    """Binary cross-entropy of the pixel-wise sigmoid, Σ w·BCE / Σ w; not in the paper.

    BCE = -(c·t·log σ(s) + (1 - t)·log(1 - σ(s))) of score s and truth t, with
    c = positive_weight > 0 the weight of a cell's pixels (1: our choice, none). It does not count
    in Σ w: where every w is 1 this is PyTorch's binary_cross_entropy_with_logits.

    scores: (B, 1, H, W) before the sigmoid; computed in float32 whatever their dtype.
    labels: (B, H, W) int64 or bool, 1 = cell, 0 = background. weights: (B, H, W) float ≥ 0;
    0 = ignored pixel. Returns a scalar; 0, with zero gradient, if every weight is 0. Shapes that
    do not belong together, and more than one score per pixel, raise ValueError.
    """
    score, truth = _one_score(scores, labels, weights)
    cross_entropy = F.binary_cross_entropy_with_logits(
        score, truth, reduction="none", pos_weight=score.new_full((), positive_weight)
    )
    return (weights * cross_entropy).sum() / weights.sum().clamp_min(1e-12)


def logistic_dice(
    scores: Tensor, labels: Tensor, weights: Tensor, *, positive_weight: float = 1.0
) -> Tensor:
    """Half the binary cross-entropy plus one minus the soft Dice coefficient; not in the paper.

    Dice = (2·Σ w·p·t + k) / (Σ w·p + Σ w·t + k) over all pixels of the batch together, with
    p = σ(s), truth t and k = `DICE_SMOOTHING`. Arguments, and errors raised, as in `logistic`;
    positive_weight counts in the cross-entropy only. Returns a scalar ≥ 0; 0, with zero gradient,
    if every weight is 0.
    """
    score, truth = _one_score(scores, labels, weights)
    probability = torch.sigmoid(score)
    both = (weights * probability * truth).sum()
    either = (weights * probability).sum() + (weights * truth).sum()
    dice = (2 * both + DICE_SMOOTHING) / (either + DICE_SMOOTHING)
    entropy = logistic(scores, labels, weights, positive_weight=positive_weight)
    return entropy / 2 + (1 - dice)


def _one_score(scores: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and truth of each pixel, (B, H, W) float32."""
    if scores.ndim != 4 or scores.shape[1] != 1:
        raise ValueError(
            f"scores of shape {tuple(scores.shape)}: a logistic loss takes (B, 1, H, W), one score "
            "per pixel; build the network with model.classes = 1"
        )
    _check_shapes(scores, labels, weights)
    return scores[:, 0].float(), labels.float()


def _check_shapes(scores: Tensor, labels: Tensor, weights: Tensor) -> None:
    expected = (scores.shape[0], *scores.shape[2:])
    for name, tensor in (("labels", labels), ("weights", weights)):
        if tensor.shape != expected:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}: must be {expected} to fit the scores of "
                f"shape {tuple(scores.shape)}; crop labels and weights to the output tile"
            )
