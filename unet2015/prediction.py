"""From a network to probabilities: overlap-tile (paper §2) and averaged views (paper §4)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import affine_transform
from torch import Tensor
from tqdm import tqdm

from unet2015.config import PredictionConfig
from unet2015.image_scale import scale_back, scale_image
from unet2015.model import CELL, UNet
from unet2015.tiling import choose_tiling, mirror_window

ROTATIONS = 7
"""Views of 'rotations7': "averaged over 7 rotated versions of the input data" (paper §4)."""

Scorer = Callable[[np.ndarray], np.ndarray]


def tiled_scores(
    network: UNet,
    image: np.ndarray,
    *,
    largest_input_px: int = 892,
    precision: str = "float32",
) -> np.ndarray:
    """Scores before the softmax of a whole image by the overlap-tile strategy (paper §2, Fig. 2).

    image: (C, H, W) float32 in [0, 1], of any size from 1×1. Returns (classes, H, W) float32; one
    class: the scores before the sigmoid.
    One tile at a time is in memory beside the image and the scores. The network must be in
    evaluation mode (ValueError otherwise: drop-out would be on).
    """
    if network.training:
        raise ValueError("the network is in training mode: call network.eval() before prediction")
    if image.ndim != 3:
        raise ValueError(f"image has shape {image.shape}: must be (channels, height, width)")
    height, width = image.shape[1:]
    tiling = choose_tiling((height, width), network.config, largest_input_px)
    device = next(network.parameters()).device
    scores = np.empty((network.config.classes, height, width), np.float32)
    for tile in tiling:
        window = mirror_window(image, *tile.input_yx, *tile.input_hw)
        output = _network_scores(network, window, device, precision)
        y, x = tile.output_yx
        # A padded network's output is as large as its input: its outer part lacks context.
        top = (output.shape[1] - tile.output_hw[0]) // 2
        left = (output.shape[2] - tile.output_hw[1]) // 2
        bottom = min(height - y, tile.output_hw[0])
        right = min(width - x, tile.output_hw[1])
        scores[:, y : y + bottom, x : x + right] = output[
            :, top : top + bottom, left : left + right
        ]
    return scores


def _network_scores(
    network: UNet, window: np.ndarray, device: torch.device, precision: str
) -> np.ndarray:
    tile = torch.from_numpy(np.ascontiguousarray(window, np.float32))[None].to(device)
    tile = tile.contiguous(memory_format=torch.channels_last)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        output: Tensor = network(tile)
    return output[0].float().cpu().numpy()


@dataclass(frozen=True)
class View:
    """One of the images whose predictions are averaged, and the way back."""

    hw: tuple[int, int]
    """Height and width of that image in pixels."""
    forward: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


def views(averaging: str, image_hw: tuple[int, int]) -> list[View]:
    """The rotated or mirrored versions of an image that are averaged (paper §4).

    'none': the image alone. 'dihedral8': the eight right-angle rotations and reflections, exact.
    'flips4': the image, mirrored left-right, up-down, and both, exact (release, cell tracking).
    'rotations7': rotations by k·360°/7, k = 0 … 6, about the centre, the surroundings mirrored;
    cubic on the way there, linear on the way back.
    Not specified in the paper: what its 7 rotations are; equal steps of the circle are our reading.
    """
    if averaging == "none":
        return [View(image_hw, lambda image: image, lambda scores: scores)]
    if averaging == "dihedral8":
        return [_right_angles(turns, f, image_hw) for f in (False, True) for turns in range(4)]
    if averaging == "flips4":
        # a half turn of a left-right mirrored image mirrors it up-down
        return [_right_angles(turns, f, image_hw) for f in (False, True) for turns in (0, 2)]
    return [_rotation(360.0 * k / ROTATIONS, image_hw) for k in range(ROTATIONS)]


def _right_angles(turns: int, flip: bool, image_hw: tuple[int, int]) -> View:
    def forward(image: np.ndarray) -> np.ndarray:
        return np.rot90(image[..., ::-1] if flip else image, turns, axes=(-2, -1))

    def back(scores: np.ndarray) -> np.ndarray:
        upright = np.rot90(scores, -turns, axes=(-2, -1))
        return upright[..., ::-1] if flip else upright

    height, width = image_hw
    return View((width, height) if turns % 2 else image_hw, forward, back)


def _rotation(angle_deg: float, image_hw: tuple[int, int]) -> View:
    if angle_deg == 0:
        return View(image_hw, lambda image: image, lambda scores: scores)
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(image_hw) - 1) / 2
    # The canvas that holds every pixel of the turned image.
    reach = np.abs(turn) @ (np.array(image_hw) - 1)
    canvas = (int(np.ceil(reach[0])) + 1, int(np.ceil(reach[1])) + 1)
    canvas_centre = (np.array(canvas) - 1) / 2

    def resample(
        stack: np.ndarray,
        matrix: np.ndarray,
        offset: np.ndarray,
        shape: tuple[int, int],
        order: int,
    ) -> np.ndarray:
        shift: Any = offset  # one number per axis, which SciPy's type stubs do not know
        planes = np.empty((len(stack), *shape), stack.dtype)
        for plane, turned in zip(stack, planes, strict=True):
            affine_transform(plane, matrix, shift, shape, turned, order=order, mode="mirror")
        return planes

    def forward(image: np.ndarray) -> np.ndarray:
        turned = resample(image, turn, centre - turn @ canvas_centre, canvas, order=3)
        return np.clip(turned, 0, 1, out=turned)

    def back(scores: np.ndarray) -> np.ndarray:
        return resample(scores, turn.T, canvas_centre - turn.T @ centre, image_hw, order=1)

    return View(canvas, forward, back)


def predict_image(
    network: UNet,
    image: np.ndarray,
    config: PredictionConfig | None = None,
    *,
    on_view: Callable[[], object] | None = None,
) -> np.ndarray:
    """Class probabilities of an image, averaged over its views (paper §2 and §4).

    image: (C, H, W) float32 in [0, 1]. Returns (classes, H, W) float32 in [0, 1]; the classes of
    a pixel sum to 1. A network with one score per pixel gives two planes too, background and cell,
    so that plane `CELL` is the probability of 'cell' in any case.
    """
    config = config or PredictionConfig()
    hw = (image.shape[-2], image.shape[-1])
    image = scale_image(image, network.config.image_scale)
    all_views = views(config.averaging, (image.shape[-2], image.shape[-1]))
    total: np.ndarray | None = None
    for view in all_views:
        # not bound to a name here, where it would stay in memory beside the next view's
        total = _added(total, _predict_view(network, image, view, config))
        if on_view is not None:
            on_view()
    assert total is not None
    total /= len(all_views)
    planes = _probabilities(total) if config.average_of == "score" else total
    return scale_back(planes, hw)


def _predict_view(
    network: UNet, image: np.ndarray, view: View, config: PredictionConfig
) -> np.ndarray:
    """What is averaged, of one view, on the image's own pixels: (classes, H, W) float32."""

    def scores() -> np.ndarray:
        return tiled_scores(
            network,
            view.forward(image),
            largest_input_px=config.largest_input_tile_px,
            precision=config.precision,
        )

    return view.back(scores() if config.average_of == "score" else _probabilities(scores()))


def _added(total: np.ndarray | None, planes: np.ndarray) -> np.ndarray:
    """`planes` added to `total` in its place; of the first ones, themselves."""
    if total is None:
        return np.ascontiguousarray(planes)
    total += planes
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
    slice; read one slice at a time, so that a memory map will do.
    """
    config = config or PredictionConfig()
    per_slice = len(views(config.averaging, (1, 1)))
    with tqdm(
        total=len(stack) * per_slice, desc=description, unit="view", disable=not progress
    ) as bar:
        for plane in stack:
            image = plane if scale is None else scale(plane)
            image = image[None] if image.ndim == 2 else image
            # a copy: the view would keep the other classes in memory as long as it is kept
            yield predict_image(network, image, config, on_view=bar.update)[CELL].copy()


def _probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax over the first axis (paper §3), in float32; of one score s, that of (0, s).

    The latter is (1 - p, p) with p = σ(s), the sigmoid.
    """
    values = torch.from_numpy(np.ascontiguousarray(scores))
    if len(values) == 1:
        # σ(-s) = 1 - σ(s), without its loss of digits near 1
        return torch.sigmoid(torch.cat([-values, values])).numpy()
    return torch.softmax(values, dim=0).numpy()
