"""From images and labels to the tiles a network is trained on: cells, weight maps, gray values."""

from collections.abc import Sequence

import numpy as np

from unet2015.augmentation import TileSequence
from unet2015.config import ExperimentConfig
from unet2015.model import valid_output_size
from unet2015.weight_map import border_weight_map, cells_from_binary, class_balance


def em_tiles(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    config: ExperimentConfig,
    *,
    seed: int,
) -> TileSequence:
    """Augmented training tiles of images with membrane/cell labels (paper §3, §3.1).

    images: (H, W) or (C, H, W) float32 in [0, 1]; labels: (H, W) uint8, 0 = membrane, 1 = cell.
    Cells are the labels' 4-connected components; Eq. 2's weight map is pre-computed per image
    ("we pre-compute the weight map for each ground truth segmentation"), with w_c from the class
    frequencies of all `labels`. Raises ValueError for a tile size that is not valid.
    """
    model, settings = config.model, config.training
    output_px = valid_output_size(settings.input_tile_px, model.depth, model.padding)
    class_weights = (1.0, 1.0)
    if config.weight_map.class_weights == "balanced":
        class_weights = class_balance(np.stack([np.asarray(plane) for plane in labels]))
    weights = [
        border_weight_map(cells_from_binary(plane), config.weight_map, class_weights=class_weights)
        for plane in labels
    ]
    return TileSequence(
        [image[None] if image.ndim == 2 else image for image in images],
        list(labels),
        weights,
        config.augmentation,
        input_tile_px=settings.input_tile_px,
        output_tile_px=output_px,
        seed=seed,
    )
