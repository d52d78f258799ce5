"""From images, scaled to [0, 1], and labels to what training tiles are cut from: cells, weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unet2015.augmentation.on_device import DeviceTiles, MakeTiles
from unet2015.augmentation.tile import TileSequence
from unet2015.config import AugmentationConfig, ExperimentConfig, WeightMapConfig
from unet2015.data.gray_scale import GrayScale
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
        return DeviceTiles(
            *(self._images, self._labels, self._weights, self._augmentation),
            **self._settings,
            device=device,
            make=make,
        )


class SeenImages(Sequence[np.ndarray]):
    """Images as the network sees them, each made when it is asked for: kept as they were taken.

    (C, H, W) float32 in [0, 1], at the network's scale.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray] | np.ndarray,
        gray: GrayScale | None = None,
        image_scale: float = 1.0,
    ) -> None:
        """images: (H, W) or (C, H, W). gray: None if they are float32 in [0, 1] already."""
        self._images, self._gray, self._image_scale = images, gray, image_scale

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        image = self._images[index]
        if self._gray is not None:
            image = self._gray.apply(image)
        return scale_image(image[None] if image.ndim == 2 else image, self._image_scale)


def training_tiles(
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[np.ndarray] | np.ndarray,
    config: ExperimentConfig,
    *,
    gray: GrayScale | None = None,
    label_kind: LabelKind = "binary",
    ignore: Sequence[np.ndarray] | np.ndarray | None = None,
    seed: int,
) -> SampleTiles:
    """Augmented training tiles with two classes, background and cell (paper §3, §3.1).

    images: (H, W) or (C, H, W) float32 in [0, 1]; their sizes may differ. gray: the scale of images
    as they were taken, which then stay in their own type. labels: (H, W), see `cells_of`. Eq. 2's
    weight map is made once per image ("we pre-compute the weight map for each ground truth
    segmentation"), with w_c from the class frequencies of all `labels`; it is kept as float16.
    ignore: as large as the labels, True = weight 0, where nobody annotated what is there (paper §4:
    "partially annotated training images"); the class frequencies are of the other pixels. All of
    them first get the size at which the network sees them (`config.model.image_scale`).

    Beside the images a pixel takes 3 bytes, one of its class and two of its weight, and at most
    `tile.COEFFICIENT_BYTES` of all images' splines are kept.
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

    def cells(plane: np.ndarray) -> np.ndarray:
        return cells_of(scale_labels(plane, scale), label_kind, config.weight_map)

    # numbers of cells take more memory than classes: they are made twice, one image at a time
    classes = [(cells(plane) != 0).astype(np.uint8) for plane in labels]
    if ignore is not None:
        ignore = [scale_labels(plane, scale) for plane in ignore]
    masks = _ignore_masks(classes, ignore)
    weigh = _weigh(classes, masks, config.weight_map)
    return SampleTiles(
        SeenImages(images, gray, scale),
        classes,
        [
            in_half_precision(weigh(cells(plane), mask))
            for plane, mask in zip(labels, masks, strict=True)
        ],
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
    weigh = _weigh(planes, masks, config)
    return [weigh(plane, mask) for plane, mask in zip(planes, masks, strict=True)]


def _weigh(
    planes: Sequence[np.ndarray], masks: Sequence[np.ndarray | None], config: WeightMapConfig
) -> Callable[[np.ndarray, np.ndarray | None], np.ndarray]:
    """From the cells of an image and its ignore mask to its weight map; w_c is that of `planes`."""
    class_weights = (1.0, 1.0)
    if config.class_weights == "balanced":
        given = [mask for mask in masks if mask is not None]
        class_weights = class_balance(planes, given or None)
    # binary labels keep every pixel: components that touch at a corner are no touching instances
    as_they_are = replace(config, separate_touching=False)
    return lambda cells, mask: border_weight_map(
        cells, as_they_are, class_weights=class_weights, ignore=mask
    )


def in_half_precision(weights: np.ndarray) -> np.ndarray:
    """Weights as float16, equal to about one part in two thousand; as they are where that fails.

    It does for weights beyond 65504, and for such as would become 0, which means to ignore.
    """
    with np.errstate(over="ignore"):
        half = weights.astype(np.float16)
    same = np.isfinite(half).all() and np.array_equal(half == 0, weights == 0)
    return half if same else weights


def _ignore_masks(
    planes: Sequence[np.ndarray], ignore: Sequence[np.ndarray] | np.ndarray | None
) -> list[np.ndarray] | list[None]:
    """One bool mask per image, checked; None for each where there are none."""
    if ignore is None:
        return [None] * len(planes)
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
