"""Images smaller than they are, for a network that is to see more of them for less.

Not in the paper. Pixels are areas: a factor of one half gives the mean of 2×2 pixels.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def scaled_size(hw: Sequence[int], scale: float) -> tuple[int, int]:
    """Height and width at `scale`, at least 1.

    >>> scaled_size((520, 697), 0.5)
    (260, 348)
    """
    height, width = (max(1, round(side * scale)) for side in hw)
    return height, width


def scale_image(image: np.ndarray, scale: float) -> np.ndarray:
    """(C, H, W) float32 at `scale`: bilinear, and antialiased where it shrinks; 1: as it is."""
    if scale == 1:
        return image
    size = scaled_size(image.shape[-2:], scale)
    return _resized(torch.from_numpy(np.ascontiguousarray(image)), size, antialias=True).numpy()


def scale_back(planes: Tensor, hw: tuple[int, int]) -> Tensor:
    """(C, h, w) float32 at the size (H, W) of the image that it was made of: bilinear."""
    return planes if planes.shape[-2:] == hw else _resized(planes, hw, antialias=False)


def scale_labels(labels: np.ndarray, scale: float) -> np.ndarray:
    """(H, W) integers or bool at `scale`: the value at the nearest pixel centre; 1: as it is."""
    if scale == 1:
        return labels
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for old, new in zip(labels.shape, scaled_size(labels.shape, scale), strict=True)
    )
    return labels[np.ix_(rows, columns)]


def _resized(planes: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    resized = F.interpolate(
        planes[None], size, mode="bilinear", align_corners=False, antialias=antialias
    )
    return resized[0]
