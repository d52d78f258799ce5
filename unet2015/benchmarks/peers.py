"""The same work by other packages: elasticdeform, scikit-image and MONAI beside ours.

They are imported where they are measured: what is not installed, or does not load beside the other
packages, is said in a note, and the other rows are measured.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from unet2015.augmentation.deformation import deform, random_displacement
from unet2015.benchmarks.timing import Benchmark, Timed, side_by_side
from unet2015.config import AugmentationConfig, ExperimentConfig
from unet2015.inference.prediction import tiled_scores
from unet2015.inference.tiling import mirror_window
from unet2015.model import UNet, valid_output_size

ANGLE_DEG = 30.0
"""Of the rotation in every row (our choice: one that is no right angle)."""
ORDERS = (3, 0, 1)
"""Spline orders of image, labels and weights (`config.AugmentationConfig`)."""
DEFORMING = {"elasticdeform": "elasticdeform", "skimage.transform": "scikit-image"}
"""The packages that deform as we do: their modules, and what they are called to pip."""
TOLERANCE = 1e-3
"""How far images and weights may differ from ours for the work to count as the same."""


def installed(package: str) -> Any:
    """The package, or None if it is not installed or does not fit the others here."""
    try:
        return import_module(package)
    except (ImportError, AttributeError, ValueError):  # as wheels for another NumPy raise them
        return None


def missing(package: str) -> str:
    """What a benchmark says in place of a row that it cannot measure.

    >>> missing("monai")
    'monai: not installed: pip install monai'
    """
    return f"{package}: not installed: pip install {package}"


def augment(*, size_px: int = 512, repeats: int = 5) -> Benchmark:
    """Image, labels and weights of one whole slice, rotated and deformed (paper §3.1), by each.

    elasticdeform and scikit-image compute what we compute: labels equal but for pixels whose
    source is halfway between two, the others within 1e-3 (checked in the run; ValueError
    otherwise). MONAI draws its own field, so that only the amount of work is the same.
    """
    planes = _slice(size_px)
    displacement = random_displacement(np.random.default_rng(0))

    def ours() -> list[np.ndarray]:
        return deform(planes, displacement, angle_deg=ANGLE_DEG, orders=ORDERS)

    expected, work = ours(), f"image, labels and weights of {size_px} × {size_px} px, deformed"
    rows, notes = [], ["Peers deform the whole slice, and so do we in these rows."]
    peers = (
        ("elasticdeform alone, the rotation as an affine map", by_elasticdeform),
        ("scikit-image: the field by SciPy, three warps", by_scikit_image),
    )
    for (module, package), (name, deformed) in zip(DEFORMING.items(), peers, strict=True):
        if installed(module) is None:
            notes.append(missing(package))
            continue
        theirs: Callable[[], list[np.ndarray]] = lambda do=deformed: do(planes, displacement)  # noqa: E731
        _require_equal(theirs(), expected, name)
        ours_s, plain_s = side_by_side(ours, theirs, repeats=repeats)
        rows.append(Timed(work, ours_s, plain_s, name))
    if installed("monai") is None:
        return Benchmark(rows, [*notes, missing("monai")])
    ours_s, plain_s = side_by_side(ours, _monai_deformation(planes), repeats=repeats)
    what = "MONAI Rand2DElasticd: a field of its own, bicubic, nearest, linear"
    return Benchmark([*rows, Timed(work, ours_s, plain_s, what)], notes)


def by_elasticdeform(planes: list[np.ndarray], displacement: np.ndarray) -> list[np.ndarray]:
    """The planes by elasticdeform itself, as a user of it would call it."""
    turn, centre = _turn(planes[0].shape)
    affine = np.column_stack([turn, centre - turn @ centre])
    deform_grid = import_module("elasticdeform").deform_grid
    return deform_grid(planes, displacement, order=list(ORDERS), mode="mirror", affine=affine)


def by_scikit_image(planes: list[np.ndarray], displacement: np.ndarray) -> list[np.ndarray]:
    """The planes by scikit-image's warp, whose 'reflect' does not repeat the edge pixel."""
    hw = planes[0].shape
    grid = np.mgrid[: hw[0], : hw[1]].astype(float)
    zoom: Any = ndimage.zoom  # its types know one factor for both axes only
    field = np.stack(
        [zoom(part, np.array(hw) / part.shape, order=3, mode="mirror") for part in displacement]
    )
    turn, centre = _turn(hw)
    centre = centre[:, None, None]
    where = np.tensordot(turn.T, grid - centre, 1) + centre + field  # from output back to input
    warp = import_module("skimage.transform").warp
    return [
        warp(plane, where, order=order, mode="reflect", clip=False, preserve_range=True)
        for plane, order in zip(planes, ORDERS, strict=True)
    ]


def predict(
    device: str, *, config: ExperimentConfig | None = None, size_px: int = 512, repeats: int = 3
) -> Benchmark:
    """One slice by our overlap-tile strategy (paper §2) and MONAI's sliding window, one network.

    MONAI takes an output as large as its window for granted. So that it serves an unpadded network,
    it gets the mirrored image, scores with an empty frame, and a weight of 0 for that frame; its
    windows are the training's tiles. Both agree within 1e-3 (checked in the run; ValueError
    otherwise).
    """
    inferers = installed("monai.inferers")
    if inferers is None:
        return Benchmark([], [missing("monai")])
    config = config or ExperimentConfig()
    network = UNet(config.model, seed=0).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    shape = (config.model.in_channels, size_px, size_px)
    image = np.random.default_rng(0).random(shape, np.float32)
    largest = config.prediction.largest_input_tile_px

    def ours() -> np.ndarray:
        return tiled_scores(network, image, largest_input_px=largest)

    def theirs() -> np.ndarray:
        tile_px = config.training.input_tile_px
        return monai_scores(inferers.sliding_window_inference, network, image, tile_px, device)

    difference = np.abs(ours() - theirs()).max()
    if not difference <= TOLERANCE:
        raise ValueError(f"the two ways to predict differ by {difference:.2g}: no comparison")
    ours_s, plain_s = side_by_side(ours, theirs, repeats=repeats, device=device)
    what = f"MONAI sliding_window_inference, windows of {config.training.input_tile_px} px"
    return Benchmark([Timed("one slice, one view, float32, MONAI", ours_s, plain_s, what)], [])


def monai_scores(
    sliding_window: Callable[..., Any],
    network: UNet,
    image: np.ndarray,
    tile_px: int,
    device: str,
) -> np.ndarray:
    """(classes, H, W) scores of an unpadded network by MONAI's sliding window."""
    output_px = valid_output_size(tile_px, network.config.depth)
    margin, step = (tile_px - output_px) // 2, 2**network.config.depth
    stride = output_px // step * step  # the network is equivariant to such shifts only
    height, width = image.shape[1:]
    counts = [1 + max(0, -(-(side - output_px) // stride)) for side in (height, width)]
    padded = [tile_px + (count - 1) * stride for count in counts]
    window = mirror_window(image, -margin, -margin, padded[0], padded[1])
    frame = (margin, margin, margin, margin)
    mask = torch.nn.functional.pad(torch.ones(output_px, output_px, device=device), frame)

    def framed(tile: Tensor) -> Tensor:
        return torch.nn.functional.pad(network(tile), frame)

    with torch.inference_mode():
        scores = sliding_window(
            torch.from_numpy(window)[None].to(device),
            roi_size=(tile_px, tile_px),
            sw_batch_size=1,
            predictor=framed,
            overlap=1 - (stride + 0.5) / tile_px,  # it takes the whole part of what is left
            roi_weight_map=mask[None, None],
        )
    return scores[0, :, margin : margin + height, margin : margin + width].cpu().numpy()


def _monai_deformation(planes: list[np.ndarray]) -> Callable[[], object]:
    """MONAI's elastic deformation of the same planes, with a grid as coarse as the paper's."""
    transforms = import_module("monai.transforms")
    side = planes[0].shape[0]
    sigma_px = AugmentationConfig().elastic_sigma_px
    sample = {
        name: torch.from_numpy(plane)[None].float()
        for name, plane in zip(("image", "labels", "weights"), planes, strict=True)
    }
    elastic = transforms.Rand2DElasticd(
        keys=list(sample),
        spacing=(side / 2, side / 2),
        magnitude_range=(sigma_px, sigma_px),
        rotate_range=np.pi,
        prob=1.0,
        mode=["bicubic", "nearest", "bilinear"],
        padding_mode="reflection",
    )
    elastic.set_random_state(seed=0)
    return lambda: elastic(sample)


def _slice(size_px: int) -> list[np.ndarray]:
    """A smooth image, labels and weights of a slice."""
    rng = np.random.default_rng(0)
    image = rng.random((size_px, size_px), np.float32)
    labels = (ndimage.gaussian_filter(rng.normal(size=image.shape), 4) > 0).astype(np.uint8)
    return [image, labels, 1 + 9 * rng.random(image.shape, np.float32)]


def _turn(hw: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of the rotation, and the image's centre about which it turns."""
    angle = np.deg2rad(ANGLE_DEG)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn, (np.array(hw) - 1) / 2


def _require_equal(theirs: list[np.ndarray], ours: list[np.ndarray], name: str) -> None:
    image, labels, weights = (
        np.abs(np.asarray(a, float) - np.asarray(b, float))
        for a, b in zip(theirs, ours, strict=True)
    )
    # a source halfway between two pixels is rounded either way
    if not max(image.max(), weights.max()) <= TOLERANCE or np.mean(labels > 0) > 1e-3:
        raise ValueError(
            f"{name}: image, weights differ by {image.max():.2g}, {weights.max():.2g} and labels "
            f"in {np.mean(labels > 0):.1%} of the pixels: no comparison"
        )
