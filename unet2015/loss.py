"""The weighted pixel-wise softmax cross-entropy (paper §3, Eq. 1)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from unet2015.config import TrainingConfig

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""loss(scores, labels, weights), of shapes as `weighted_cross_entropy` takes them, to a scalar."""


def loss_of(config: TrainingConfig) -> Loss:
    """The loss that `config.loss` names."""
    return weighted_cross_entropy


def weighted_cross_entropy(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy of the pixel-wise softmax, Σ w·CE / Σ w (paper §3, Eq. 1).

    scores: (B, classes, H, W) before the softmax; computed in float32 whatever their dtype.
    labels: (B, H, W) int64 class indices. weights: (B, H, W) float ≥ 0; 0 = ignored pixel.
    Returns a scalar; 0, with zero gradient, if every weight is 0. Shapes that do not belong
    together raise ValueError.

    Eq. 1 as printed is a sum; the authors' own weighted softmax layer divides by Σ w (later
    Caffe fork), and so do we: with a sum the step would depend on the tile's size.
    """
    expected = (scores.shape[0], *scores.shape[2:])
    for name, tensor in (("labels", labels), ("weights", weights)):
        if tensor.shape != expected:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}: must be {expected} to fit the scores of "
                f"shape {tuple(scores.shape)}; crop labels and weights to the output tile"
            )
    cross_entropy = F.cross_entropy(scores.float(), labels, reduction="none")
    total = weights.sum()
    return (weights * cross_entropy).sum() / total.clamp_min(1e-12)
