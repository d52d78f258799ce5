"""Views made with PyTorch against SciPy's affine_transform, alone and through the network."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from scipy.special import softmax

from tests.inference.test_prediction import network, noise
from unet2015.config import PredictionConfig
from unet2015.inference.prediction import predict_image, tiled_scores
from unet2015.inference.views import PlacedImage, View, views


def forward(view: View, image: np.ndarray) -> np.ndarray:
    return view.forward(PlacedImage(image, "cpu")).numpy()


def back(view: View, planes: np.ndarray) -> np.ndarray:
    return view.back(torch.from_numpy(planes)).numpy()


def turned_by_scipy(
    planes: np.ndarray, angle_deg: float, hw: tuple[int, int], order: int
) -> np.ndarray:
    """Planes turned about their centre onto others of size `hw`, the surroundings mirrored."""
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre, new_centre = ((np.array(size) - 1) / 2 for size in (planes.shape[1:], hw))
    return np.stack(
        [
            affine_transform(
                plane, turn, centre - turn @ new_centre, hw, order=order, mode="mirror"
            )
            for plane in planes
        ]
    )


def averaged_by_scipy(net, image: np.ndarray, config: PredictionConfig) -> np.ndarray:
    """The average of the views with NumPy and SciPy, one after the other."""
    hw, total = image.shape[1:], []
    for k in range({"none": 1, "flips4": 4, "dihedral8": 8, "rotations7": 7}[config.averaging]):
        rotated = config.averaging == "rotations7" and k > 0
        turns, flip = (k // 2 * 2, k % 2) if config.averaging == "flips4" else (k // 2, k % 2)
        if rotated:
            canvas = views("rotations7", hw)[k].hw
            seen = np.clip(turned_by_scipy(image, k * 360 / 7, canvas, order=3), 0, 1)
        else:
            seen = np.rot90(image[..., ::-1] if flip else image, turns, axes=(1, 2))
        planes = tiled_scores(net, seen)
        planes = softmax(planes, axis=0) if config.average_of == "probability" else planes
        if rotated:
            planes = turned_by_scipy(planes, -k * 360 / 7, hw, order=1)
        else:
            planes = np.rot90(planes, -turns, axes=(1, 2))
            planes = planes[..., ::-1] if flip else planes
        total.append(planes)
    mean = np.mean(total, axis=0)
    return mean if config.average_of == "probability" else softmax(mean, axis=0)


@pytest.mark.parametrize("average_of", ["probability", "score"])
@pytest.mark.parametrize("averaging", ["none", "flips4", "dihedral8", "rotations7"])
def test_the_average_is_that_of_views_by_scipy(averaging: str, average_of: str) -> None:
    net, image = network(in_channels=2), noise(2, 90, 117)
    config = PredictionConfig(averaging=averaging, average_of=average_of)  # type: ignore[arg-type]
    found = predict_image(net, image, config)
    assert (found.shape, found.dtype) == ((2, 90, 117), np.float32)
    assert np.abs(found - averaged_by_scipy(net, image, config)).max() < 1e-5


@pytest.mark.parametrize("hw", [(60, 90), (33, 2), (1, 40), (1, 1), (300, 401)])
def test_rotations_are_scipys_there_and_back(hw: tuple[int, int]) -> None:
    image = noise(2, *hw)
    unturned, *rotations = views("rotations7", hw)
    assert np.array_equal(forward(unturned, image), image)
    assert np.array_equal(back(unturned, image), image)
    assert len(rotations) == 6
    for k, view in enumerate(rotations, start=1):
        angle = k * 360 / 7
        there = np.clip(turned_by_scipy(image, angle, view.hw, order=3), 0, 1)
        np.testing.assert_allclose(forward(view, image), there, atol=1e-5)
        planes = noise(3, *view.hw, seed=k)
        here = turned_by_scipy(planes, -angle, hw, order=1)
        np.testing.assert_allclose(back(view, planes), here, atol=1e-5)


def test_positions_are_exact_in_large_images() -> None:
    """Positions in float32 would be wrong by 1e-4 px here, and noise by as much."""
    image = noise(1, 40, 3000)
    view = views("rotations7", (40, 3000))[3]
    there = np.clip(turned_by_scipy(image, 3 * 360 / 7, view.hw, order=3), 0, 1)
    assert np.abs(forward(view, image) - there).max() < 1e-5


@pytest.mark.parametrize(("averaging", "count"), [("dihedral8", 8), ("flips4", 4)])
def test_right_angles_are_the_symmetries_to_the_bit(averaging: str, count: int) -> None:
    image = noise(1, 6, 9)
    symmetries = [
        np.rot90(each, turns, axes=(1, 2))
        for each in (image, image[..., ::-1])
        for turns in (range(4) if count == 8 else (0, 2))
    ]
    seen = [forward(view, image) for view in views(averaging, (6, 9))]
    assert {(a.shape, a.tobytes()) for a in seen} == {(a.shape, a.tobytes()) for a in symmetries}
    assert len({(a.shape, a.tobytes()) for a in seen}) == count
    for view, turned in zip(views(averaging, (6, 9)), seen, strict=True):
        assert turned.shape[1:] == view.hw
        assert np.array_equal(back(view, turned), image)
