"""From images, scaled to [0, 1], and labels to what training tiles are cut from: cells, weights."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unet2015.augmentation.on_device import DeviceTiles, MakeTiles
from unet2015.augmentation.tile import TileSequence
from unet2015.config import AugmentationConfig, ExperimentConfig, WeightMapConfig
from unet2015.data.image_scale import scale_image, scale_labels
from unet2015.data.labels import LabelKind
from unet2015.model import valid_output_size
from unet2015.weight_map import (
    border_weight_map,
    cells_from_binary,
    class_balance,
    separate_touching,
)


class SampleTiles(TileSequence):
    """`tile.TileSequence`, which can also be made on a device (`tile_place`)."""

    def __init__(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        labels: Sequence[np.ndarray] | np.ndarray,
        weights: Sequence[np.ndarray] | np.ndarray,
        config: AugmentationConfig,
        *,
        input_tile_px: int,
        output_tile_px: int,
        seed: int,
    ) -> None:
        """As `TileSequence`."""
        self._settings: dict[str, Any] = {
            "input_tile_px": input_tile_px,
            "output_tile_px": output_tile_px,
            "seed": seed,
        }
        super().__init__(images, labels, weights, config, **self._settings)
        self._augmentation = config

    def on(self, device: str | torch.device, make: MakeTiles = "auto") -> DeviceTiles:
        """The same tile k, made on `device` (paper §3.1); `make`, ValueError as `DeviceTiles`."""
        images, labels, weights = zip(*self.samples, strict=True)
        return DeviceTiles(
            *(images, labels, weights, self._augmentation),
            **self._settings,
            device=device,
            make=make,
        )


def training_tiles(
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[np.ndarray] | np.ndarray,
    config: ExperimentConfig,
    *,
    label_kind: LabelKind = "binary",
    ignore: Sequence[np.ndarray] | np.ndarray | None = None,
    seed: int,
) -> SampleTiles:
    """Augmented training tiles with two classes, background and cell (paper §3, §3.1).

    images: (H, W) or (C, H, W) float32 in [0, 1]; their sizes may differ. labels: (H, W), see
    `cells_of`. Eq. 2's weight map is made once per image ("we pre-compute the weight map for each
    ground truth segmentation"), with w_c from the class frequencies of all `labels`. ignore: as
    large as the labels, True = weight 0, where nobody annotated what is there (paper §4:
    "partially annotated training images"); the class frequencies are of the other pixels. All of
    them first get the size at which the network sees them (`config.model.image_scale`).
    Raises ValueError for a tile size that is not valid, naming the nearest valid ones, for other
    numbers of channels and classes than the images and labels have, for labels of one class only
    where classes are balanced, and for ignore masks of another number or size than the labels.

    >>> labels = np.tile(np.repeat([0, 1], 256), (512, 1))
    >>> tiles = training_tiles([labels.astype(np.float32)], [labels], ExperimentConfig(), seed=0)
    >>> tiles[7].image.shape, tiles[7].labels.shape, tiles[7].weights.shape
    ((1, 572, 572), (388, 388), (388, 388))
    """
    model, settings = config.model, config.training
    output_px = valid_output_size(settings.input_tile_px, model.depth, model.padding)
    if model.classes > 2:
        raise ValueError(
            f"model.classes = {model.classes}: the labels have two classes, background and cell; "
            "take 2 (--model.classes 2)"
        )
    for image in images:
        channels = 1 if image.ndim == 2 else image.shape[0]
        if channels != model.in_channels:
            raise ValueError(
                f"model.in_channels = {model.in_channels}: the images have {channels} channel(s); "
                f"take {channels} (--model.in-channels {channels})"
            )
    scale = model.image_scale
    cells = [
        cells_of(scale_labels(plane, scale), label_kind, config.weight_map) for plane in labels
    ]
    if ignore is not None:
        ignore = [scale_labels(plane, scale) for plane in ignore]
    return SampleTiles(
        [scale_image(image[None] if image.ndim == 2 else image, scale) for image in images],
        [(plane != 0).astype(np.uint8) for plane in cells],
        weight_maps(cells, config.weight_map, ignore=ignore),
        config.augmentation,
        input_tile_px=settings.input_tile_px,
        output_tile_px=output_px,
        seed=seed,
    )


def cells_of(labels: np.ndarray, kind: LabelKind, config: WeightMapConfig) -> np.ndarray:
    """The cells that a network learns to tell from each other: (H, W) integers, 0 = background.

    labels: (H, W) integers. kind 'binary': 0 = background (EM: membrane), anything else = cell;
    the cells are its 4-connected components. 'instances': one number per cell; with
    `config.separate_touching`, a thin ridge of background is cut between touching ones (paper §3).
    """
    if kind == "binary":
        return cells_from_binary(labels)
    return separate_touching(labels) if config.separate_touching else labels


def weight_maps(
    cells: Iterable[np.ndarray],
    config: WeightMapConfig,
    *,
    ignore: Sequence[np.ndarray] | np.ndarray | None = None,
) -> list[np.ndarray]:
    """Eq. 2's weight map of each image, w_c from the class frequencies of all of them (paper §3).

    cells: as `cells_of` gives them, already separated. ignore: one mask per image, True = weight
    0 and not counted in the class frequencies. Returns (H, W) float32 arrays. Raises ValueError
    if w_c is to balance classes of which one does not occur, and for ignore masks that do not fit.
    """
    planes = list(cells)
    masks = _ignore_masks(planes, ignore)
    balanced = config.class_weights == "balanced"
    class_weights = class_balance(planes, masks) if balanced else (1.0, 1.0)
    # binary labels keep every pixel: components that touch at a corner are no touching instances
    as_they_are = replace(config, separate_touching=False)
    return [
        border_weight_map(plane, as_they_are, class_weights=class_weights, ignore=mask)
        for plane, mask in zip(planes, masks or [None] * len(planes), strict=True)
    ]


def _ignore_masks(
    planes: Sequence[np.ndarray], ignore: Sequence[np.ndarray] | np.ndarray | None
) -> list[np.ndarray] | None:
    """One bool mask per image, checked; None for none."""
    if ignore is None:
        return None
    masks = [np.asarray(mask, bool) for mask in ignore]
    if len(masks) != len(planes):
        raise ValueError(f"ignore has {len(masks)} masks for {len(planes)} images: must be as many")
    for index, (plane, mask) in enumerate(zip(planes, masks, strict=True)):
        if plane.shape != mask.shape:
            raise ValueError(
                f"ignore mask {index} of shape {mask.shape}: must be as large as its labels, "
                f"{plane.shape}"
            )
    return masks
