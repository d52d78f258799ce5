"""Tiles made with PyTorch against those of `tile.TileSequence` (SciPy)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from tests.augmentation.augmented_tiles import NOTHING, PAPER, by_keys, source_coordinates
from unet2015.augmentation import on_device as device_augmentation
from unet2015.augmentation.on_device import DeviceTile, DeviceTiles, make_tile
from unet2015.augmentation.tile import (
    TileSequence,
    TrainingTile,
    draw_augmentation,
    tile_corner,
    turn_and_flip,
)
from unet2015.config import AugmentationConfig

SIZES = [(40, 50), (33, 21), (64, 64)]
CONFIGS = {
    "paper": PAPER,
    "right angles and flips": replace(PAPER, rotation="right_angles", flips=True),
    "no rotation": replace(PAPER, rotation="none"),
    "rotation alone": replace(NOTHING, rotation="any"),
    "flips, centred": replace(PAPER, flips=True, shift=False),
    "4 by 4 grid": replace(PAPER, elastic_points=4, elastic_sigma_px=5),
    "2 by 2 grid": replace(PAPER, elastic_points=2),
    "keys": replace(PAPER, displacement_interpolation="keys"),
    "nearest": replace(PAPER, image_order=0),
    "linear": replace(PAPER, image_order=1, flips=True),
    "quadratic": replace(PAPER, image_order=2),
    "strong gray values": replace(PAPER, black_level=0.4, white_level=0.4, gamma=3),
    "right angles alone": replace(NOTHING, rotation="right_angles", flips=True, shift=True),
    "nothing": NOTHING,
    "foreground": replace(PAPER, position="foreground", flips=True),
    "foreground, keys": replace(PAPER, position="foreground", displacement_interpolation="keys"),
    "foreground, right angles": replace(PAPER, position="foreground", rotation="right_angles"),
}
Samples = tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]


def samples(sizes: list[tuple[int, int]], channels: int = 1, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    images = [rng.random((channels, *hw), np.float32) for hw in sizes]
    labels = [rng.integers(0, 256, hw, np.uint8) for hw in sizes]
    weights = [(1 + 9 * rng.random(hw)).astype(np.float32) for hw in sizes]
    for weight in weights:
        weight[:, weight.shape[1] // 3 : weight.shape[1] // 2] = 0
    return images, labels, weights


def both(
    arrays: Samples, config: AugmentationConfig, sides: tuple[int, int], **more: Any
) -> tuple[TileSequence, DeviceTiles]:
    settings = {"input_tile_px": sides[0], "output_tile_px": sides[1], "seed": 3}
    device = more.pop("device", "cpu")
    return (
        TileSequence(*arrays, config, **settings),
        DeviceTiles(*arrays, config, **settings, device=device, **more),
    )


def tie(reference: TileSequence, config: AugmentationConfig, side: int, k: int) -> np.ndarray:
    """Where tile k reads labels within 1e-3 px of halfway between two pixels."""
    index, rng = reference.source(k)
    draw = draw_augmentation(config, rng)
    planes = [turn_and_flip(plane, draw) for plane in reference.planes(index)]
    hw = planes[0].shape
    corner = tile_corner(planes[0], planes[1], side, config, draw)
    if config.displacement_interpolation == "keys":
        still = source_coordinates(hw, np.zeros((2, 3, 3)), draw.angle_deg)
        read = still + by_keys(draw.displacement, hw)
    else:
        read = source_coordinates(hw, draw.displacement, draw.angle_deg)
    halfway = (np.abs(read % 1 - 0.5) < 1e-3).any(0)
    padded = np.pad(halfway, side, mode="reflect")
    top, left = (start + side for start in corner)
    return padded[top : top + side, left : left + side]


def assert_equal_tiles(
    ours: DeviceTile, theirs: TrainingTile, halfway: np.ndarray | None = None
) -> None:
    assert ours.image.dtype == ours.weights.dtype == torch.float32
    assert ours.labels.dtype == torch.uint8
    assert all(tensor.is_contiguous() for tensor in ours)
    image, labels, weights = (tensor.cpu().numpy() for tensor in ours)
    sure = np.ones(labels.shape, bool) if halfway is None else ~halfway
    assert sure.mean() > 0.95
    assert_array_equal(labels[sure], theirs.labels[sure])
    # which pixels are to be ignored is decided by the nearest one as well
    assert_allclose(weights[sure], theirs.weights[sure], rtol=0, atol=1e-4 * 10)
    assert_allclose(image, theirs.image, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "nearest"])
def test_tile_is_that_of_the_reference(name: str) -> None:
    """Images smaller and larger than both tiles, none square but one, some pixels ignored."""
    for sides in ((36, 20), (25, 1), (90, 60)):
        reference, tiles = both(samples(SIZES), CONFIGS[name], sides)
        for k in range(5):
            assert_equal_tiles(tiles[k], reference[k], tie(reference, CONFIGS[name], sides[1], k))


def test_nearest_image_is_that_of_the_reference() -> None:
    config = CONFIGS["nearest"]
    reference, tiles = both(samples(SIZES), config, (20, 20))
    for k in range(5):
        sure = ~tie(reference, config, 20, k)
        ours, theirs = tiles[k], reference[k]
        assert sure.mean() > 0.95
        assert_allclose(ours.image[0].numpy()[sure], theirs.image[0][sure], rtol=0, atol=1e-6)
        assert_array_equal(ours.labels.numpy()[sure], theirs.labels[sure])


def test_every_channel_is_that_of_the_reference() -> None:
    reference, tiles = both(samples(SIZES, channels=3), CONFIGS["flips, centred"], (36, 20))
    for k in range(3):
        assert tiles[k].image.shape == (3, 36, 36)
        assert_allclose(tiles[k].image.numpy(), reference[k].image, rtol=0, atol=1e-4)


def test_images_that_are_smaller_than_a_spline_are_made_like_others() -> None:
    for hw in ((2, 9), (3, 2)):
        reference, tiles = both(samples([hw]), PAPER, (16, 10))
        for k in range(4):
            assert_equal_tiles(tiles[k], reference[k], tie(reference, PAPER, 10, k))
    for hw in ((1, 1), (1, 7)):  # without deformation, points and lines too
        reference, tiles = both(samples([hw]), replace(NOTHING, flips=True), (12, 8))
        for k in range(4):
            assert_equal_tiles(tiles[k], reference[k])
    images, labels, weights = samples([(20, 20)])
    _, tiles = both((images, labels, [0 * weights[0]]), PAPER, (12, 10))
    assert not tiles[0].weights.any()  # all is ignored


def test_positions_of_a_large_image_are_as_fine_as_those_of_a_small_one() -> None:
    """At pixel 6000, float32 would be off by up to 2.4e-4 px, and the image by as much."""
    rng = np.random.default_rng(1)
    image = rng.random((1, 8, 6000), np.float32)
    labels, weights = np.zeros((8, 6000), np.uint8), np.ones((8, 6000), np.float32)
    config = replace(PAPER, rotation="none", black_level=0, white_level=0, gamma=1)
    reference, tiles = both(([image], [labels], [weights]), config, (8, 8))
    for k in range(20):
        assert_allclose(tiles[k].image.numpy(), reference[k].image, rtol=0, atol=1e-5)


def test_tile_k_does_not_depend_on_order_or_workers() -> None:
    reference, tiles = both(samples(SIZES), PAPER, (16, 8))
    straight = [tiles[k] for k in range(9)]
    with ThreadPoolExecutor(3) as pool:
        threaded = list(pool.map(tiles.__getitem__, reversed(range(9))))
    for first, second in zip(straight, reversed(threaded), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(tiles) == len(reference)
    with pytest.raises(IndexError, match="must be 0 … "):
        tiles[-1]


def test_tiles_of_all_samples_are_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was drawn, the same graph serves: nothing in it waits to see a number."""
    graphs = 0

    def count(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    config = CONFIGS["right angles and flips"]
    reference, tiles = both(samples(SIZES), config, (36, 20))
    torch.compiler.reset()
    monkeypatch.setattr(tiles, "_make", torch.compile(make_tile, fullgraph=True, backend=count))
    for k in range(6):
        assert_equal_tiles(tiles[k], reference[k], tie(reference, config, 20, k))
    assert graphs == 1


def test_bad_input_is_named() -> None:
    images, labels, weights = samples([(20, 20), (20, 20)])
    with pytest.raises(ValueError, match="sample 1: image of 1 channels: must have as many as"):
        both(([np.repeat(images[0], 2, 0), images[1]], labels, weights), PAPER, (8, 8))
    with pytest.raises(ValueError, match="sample 1: image from 2"):
        both(([images[0], 0 * images[1] + 2], labels, weights), PAPER, (8, 8))
    with pytest.raises(ValueError, match="input tile of 9 px, output tile of 8 px"):
        both((images, labels, weights), PAPER, (9, 8))
    line = samples([(1, 20)])
    for config in (replace(NOTHING, rotation="any"), replace(NOTHING, elastic_sigma_px=1)):
        with pytest.raises(ValueError, match="image of 1×20 px: must have at least 2×2 px"):
            both(line, config, (8, 8))
    with pytest.raises(ValueError, match="device = mps"):
        both((images, labels, weights), PAPER, (8, 8), device="mps")


def test_a_recorded_tile_is_that_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded once, for samples of any size; the tile in hand is not overwritten by the next."""
    done: list[str] = []

    def aside(work: Callable[[], None], _device: torch.device) -> None:
        done.append("aside")
        work()

    def recorded(work: Callable[[], None], _device: torch.device) -> Callable[[], None]:
        done.append("recorded")

        def replay() -> None:
            """Into the memory of the first time, as a graph does."""
            done.append("replayed")
            maker: Any = tiles._make
            first = maker._tile
            work()
            for old, new in zip(first, maker._tile, strict=True):
                old.copy_(new)
            maker._tile = first

        return replay

    monkeypatch.setattr(device_augmentation, "aside", aside)
    monkeypatch.setattr(device_augmentation, "recorded", recorded)
    config = CONFIGS["flips, centred"]
    reference, tiles = both(samples(SIZES), config, (36, 20), make="graph")
    made = [tiles[k] for k in range(5)]
    for k, tile in enumerate(made):
        assert_equal_tiles(tile, reference[k], tie(reference, config, 20, k))
    assert done == ["aside", "recorded", *["replayed"] * 5]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("name", "make"),
    [
        *(("paper", make) for make in ("eager", "graph", "compiled")),
        ("right angles and flips", "graph"),
        ("linear", "graph"),
    ],
)
def test_cuda_makes_the_same_tiles_without_waiting(name: str, make: str) -> None:
    reference, tiles = both(
        samples(SIZES, channels=2), CONFIGS[name], (36, 20), device="cuda", make=make
    )
    tiles[0]  # libraries that are set up at their first use do wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = [tiles[k] for k in range(5)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for k, tile in enumerate(made):
        assert tile.image.device.type == "cuda"
        assert_equal_tiles(tile, reference[k], tie(reference, CONFIGS[name], 20, k))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_makes_the_tiles_of_the_operations_it_holds() -> None:
    arrays = samples(SIZES)
    _, eager = both(arrays, PAPER, (36, 20), device="cuda", make="eager")
    _, graph = both(arrays, PAPER, (36, 20), device="cuda")
    made = [graph[k] for k in range(5)]
    for k, tile in enumerate(made):
        for ours, theirs in zip(tile, eager[k], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
