"""From a network to probabilities: overlap-tile (paper §2) and averaged views (paper §4).

All of an image's way is PyTorch on the network's device: on a GPU nothing comes back before the
averaged probabilities, and the CPU waits for nothing but them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet2015.config import PredictionConfig
from unet2015.data.image_scale import scale_back, scale_image
from unet2015.inference.memory import tiles_that_fit
from unet2015.inference.tiling import Tiling, choose_tiling, mirror_tile
from unet2015.inference.views import PlacedImage, View, views
from unet2015.model import CELL, UNet

Item = TypeVar("Item")


def tiled_scores(
    network: UNet,
    image: np.ndarray,
    *,
    largest_input_px: int = 892,
    precision: str = "float32",
    tiles_at_once: int | None = None,
) -> np.ndarray:
    """Scores before the softmax of a whole image by the overlap-tile strategy (paper §2, Fig. 2).

    image: (C, H, W) float32 in [0, 1], of any size from 1×1. Returns (classes, H, W) float32; one
    class: the scores before the sigmoid.
    tiles_at_once: how many tiles go through the network together, equal within rounding; None:
    `memory.tiles_that_fit`, which is one on a CPU. So many are in memory beside the image and the
    scores. The network must be in evaluation mode (ValueError otherwise: drop-out would be on).
    """
    device = _place(network, image)
    tiling = choose_tiling((image.shape[1], image.shape[2]), network.config, largest_input_px)
    at_once = tiles_at_once or tiles_that_fit(network.config, tiling, precision, device)
    with torch.inference_mode():
        images = PlacedImage(image, device).pixels[None]
        return _tiled(network, images, tiling, precision, at_once)[0].cpu().numpy()


def _place(network: UNet, image: np.ndarray) -> torch.device:
    """Where an image is prepared: the network's device, or the CPU for one without float64."""
    if network.training:
        raise ValueError("the network is in training mode: call network.eval() before prediction")
    if image.ndim != 3:
        raise ValueError(f"image has shape {image.shape}: must be (channels, height, width)")
    device = next(network.parameters()).device
    return torch.device("cpu") if device.type == "mps" else device


def _tiled(network: UNet, images: Tensor, tiling: Tiling, precision: str, at_once: int) -> Tensor:
    """(V, classes, H, W) float32 scores of (V, C, H, W) images, `at_once` tiles at a time."""
    height, width = tiling.image_hw
    scores = images.new_empty((len(images), network.config.classes, height, width))
    tiles = [(index, tile) for index in range(len(images)) for tile in tiling]
    for part in _parts(tiles, at_once):
        windows = [mirror_tile(images[i], *tile.input_yx, *tile.input_hw) for i, tile in part]
        outputs = _network_scores(network, torch.stack(windows), precision)
        for (index, tile), output in zip(part, outputs, strict=True):
            y, x = tile.output_yx
            # A padded network's output is as large as its input: its outer part lacks context.
            top = (output.shape[1] - tile.output_hw[0]) // 2
            left = (output.shape[2] - tile.output_hw[1]) // 2
            bottom = min(height - y, tile.output_hw[0])
            right = min(width - x, tile.output_hw[1])
            scores[index, :, y : y + bottom, x : x + right] = output[
                :, top : top + bottom, left : left + right
            ]
    return scores


def _parts(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """The items in as few parts of at most so many as will do, as equal as can be."""
    count = -(-len(items) // most)
    for k in range(count):
        yield items[len(items) * k // count : len(items) * (k + 1) // count]


def _network_scores(network: UNet, tiles: Tensor, precision: str) -> Tensor:
    device = next(network.parameters()).device
    # not contiguous(), which leaves tiles of one channel as they are, and so every layer after them
    tiles_last = tiles.to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output: Tensor = network(tiles_last)
    return output.float().to(tiles.device)


def predict_image(
    network: UNet,
    image: np.ndarray,
    config: PredictionConfig | None = None,
    *,
    on_view: Callable[[], object] | None = None,
    tiles_at_once: int | None = None,
) -> np.ndarray:
    """Class probabilities of an image, averaged over its views (paper §2 and §4).

    image: (C, H, W) float32 in [0, 1]. Returns (classes, H, W) float32 in [0, 1]; the classes of
    a pixel sum to 1. A network with one score per pixel gives two planes too, background and cell,
    so that plane `CELL` is the probability of 'cell' in any case. tiles_at_once: as `tiled_scores`;
    tiles of several views of one size go through the network together.
    """
    config = config or PredictionConfig()
    return _averaged(network, image, config, on_view, tiles_at_once).cpu().numpy()


@torch.inference_mode()
def _averaged(
    network: UNet,
    image: np.ndarray,
    config: PredictionConfig,
    on_view: Callable[[], object] | None = None,
    tiles_at_once: int | None = None,
) -> Tensor:
    """`predict_image` on the device, where a GPU may still be working on it."""
    device = _place(network, image)
    hw = (image.shape[1], image.shape[2])
    placed = PlacedImage(scale_image(image, network.config.image_scale), device)
    height, width = placed.pixels.shape[1:]
    all_views = views(config.averaging, (height, width))
    total: Tensor | None = None
    for view_hw in dict.fromkeys(view.hw for view in all_views):
        tiling = choose_tiling(view_hw, network.config, config.largest_input_tile_px)
        at_once = tiles_at_once or tiles_that_fit(network.config, tiling, config.precision, device)
        equal = [view for view in all_views if view.hw == view_hw]
        for some in _parts(equal, max(1, at_once // len(tiling))):
            # not bound to a name here, where it would stay in memory beside the next views'
            total = _added(
                total, some, _predict_views(network, placed, some, tiling, config, at_once)
            )
            if on_view is not None:
                for _ in some:
                    on_view()
    assert total is not None
    total /= len(all_views)
    planes = _probabilities(total) if config.average_of == "score" else total
    return scale_back(planes, hw)


def _predict_views(
    network: UNet,
    image: PlacedImage,
    some: Sequence[View],
    tiling: Tiling,
    config: PredictionConfig,
    at_once: int,
) -> Tensor:
    """What is averaged, of views of one size, on their own pixels: (V, classes, h, w) float32."""

    scores = _tiled(
        network,
        torch.stack([view.forward(image) for view in some]),
        tiling,
        config.precision,
        at_once,
    )
    return scores if config.average_of == "score" else _probabilities(scores)


def _added(total: Tensor | None, some: Sequence[View], planes: Tensor) -> Tensor:
    """`total` with the planes of some views, each turned back, added in its place."""
    for view, turned in zip(some, planes, strict=True):
        back = view.back(turned)
        total = back if total is None else total.add_(back)
    assert total is not None
    return total


def predict_stack(
    network: UNet,
    stack: np.ndarray,
    config: PredictionConfig | None = None,
    *,
    scale: Callable[[np.ndarray], np.ndarray] | None = None,
    progress: bool = True,
    description: str = "predicting",
) -> Iterator[np.ndarray]:
    """The probability of 'cell' of each slice (H, W), in order (0 = membrane, 1 = cell).

    stack: (N, H, W) or (N, C, H, W) float32 in [0, 1], or what `scale` makes that of, slice by
    slice; read one slice at a time, so that a memory map will do. While a GPU works on a slice the
    CPU prepares the next one.
    """
    config = config or PredictionConfig()
    ahead = 1 if next(network.parameters()).is_cuda else 0
    coming: deque[_Arriving] = deque()
    per_slice = len(views(config.averaging, (1, 1)))
    with tqdm(
        total=len(stack) * per_slice, desc=description, unit="view", disable=not progress
    ) as bar:
        for plane in stack:
            image = plane if scale is None else scale(plane)
            image = image[None] if image.ndim == 2 else image
            coming.append(_Arriving(_averaged(network, image, config, on_view=bar.update)[CELL]))
            if len(coming) > ahead:
                yield coming.popleft().array()
        while coming:
            yield coming.popleft().array()


class _Arriving:
    """A plane on its way from its device, which the device and the CPU need not wait for."""

    def __init__(self, plane: Tensor) -> None:
        self._plane = plane.to("cpu", non_blocking=True)
        self._event = (
            torch.cuda.current_stream(plane.device).record_event() if plane.is_cuda else None
        )

    def array(self) -> np.ndarray:
        """The plane, once it is there, as an array of its own.

        A copy: the plane would keep the other classes in memory as long as it is kept.
        """
        if self._event is not None:
            self._event.synchronize()
        return self._plane.numpy().copy()


def _probabilities(scores: Tensor) -> Tensor:
    """Softmax over the classes (…, classes, H, W) (paper §3); of one score s, that of (0, s).

    The latter is (1 - p, p) with p = σ(s), the sigmoid.
    """
    if scores.shape[-3] == 1:
        # σ(-s) = 1 - σ(s), without its loss of digits near 1
        return torch.sigmoid(torch.cat([-scores, scores], dim=-3))
    return torch.softmax(scores, dim=-3)
