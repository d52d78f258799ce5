"""Smaller images: the same as means of blocks, as scikit-image, and back again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.transform import resize

from tests.tiny import settings
from unet2015.augmentation.samples import training_tiles
from unet2015.config import ModelConfig, PredictionConfig
from unet2015.data.image_scale import scale_back, scale_image, scale_labels, scaled_size
from unet2015.inference.prediction import predict_image
from unet2015.model import UNet


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_a_scale_of_1_changes_nothing():
    image, labels = noise(2, 9, 12), noise(9, 12) > 0.5
    assert scale_image(image, 1) is image
    assert scale_labels(labels, 1) is labels
    planes = torch.from_numpy(image)
    assert scale_back(planes, (9, 12)) is planes


def test_flat_and_linear_images_stay_what_they_are():
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (1, 20, 40)).copy()
    small = scale_image(ramp, 0.5)
    # a pixel of the small image stands for two, whose mean is between them; away from the border
    np.testing.assert_allclose(small[0, 5, 2:-2], np.arange(20)[2:-2] * 2 + 0.5, atol=1e-4)
    np.testing.assert_allclose(scale_image(np.full((1, 7, 5), 0.25, np.float32), 0.6), 0.25)


def test_labels_have_the_value_of_the_nearest_centre():
    labels = (noise(31, 46) * 5).astype(np.uint16)
    for scale in (0.5, 0.3, 0.77):
        expected = resize(
            labels, scaled_size(labels.shape, scale), order=0, preserve_range=True,
            anti_aliasing=False,
        )  # fmt: skip
        got = scale_labels(labels, scale)
        # scikit-image takes the other neighbour where two centres are equally near
        assert (got == expected).mean() > (0.6 if scale == 0.5 else 0.99)
        assert got.dtype == labels.dtype
    whole = scale_labels(np.kron(labels, np.ones((2, 2), np.uint16)), 0.5)
    np.testing.assert_array_equal(whole, labels)


def test_scaling_back_is_scikit_images_bilinear():
    small = noise(2, 10, 13)
    large = scale_back(torch.from_numpy(small), (20, 26)).numpy()
    for plane, expected in zip(large, small, strict=True):
        np.testing.assert_allclose(
            plane, resize(expected, (20, 26), order=1, mode="edge"), atol=1e-5
        )


@pytest.mark.parametrize("hw", [(41, 33)])
def test_prediction_is_as_large_as_the_image_and_sums_to_1(hw):
    network = UNet(ModelConfig(width=2, depth=1, image_scale=0.5)).eval()
    planes = predict_image(network, noise(1, *hw), PredictionConfig(averaging="none"))
    assert planes.shape == (2, *hw)
    np.testing.assert_allclose(planes.sum(0), 1, atol=1e-5)
    plain = UNet(ModelConfig(width=2, depth=1)).eval()
    plain.load_state_dict(network.state_dict())
    small = scale_image(noise(1, *hw), 0.5)
    by_hand = predict_image(plain, small, PredictionConfig(averaging="none"))
    np.testing.assert_allclose(planes, scale_back(torch.from_numpy(by_hand), hw), atol=1e-6)


def test_training_tiles_are_of_the_small_images():
    config = settings(input_tile_px=28)
    config = replace(config, model=replace(config.model, image_scale=0.5))
    labels = np.kron((noise(40, 40) > 0.4).astype(np.uint8), np.ones((2, 2), np.uint8))
    image = np.kron(noise(40, 40), np.ones((2, 2), np.float32))
    whole = training_tiles([image], [labels], config, seed=0)[3]
    plain = replace(config, model=replace(config.model, image_scale=1.0))
    small = training_tiles([scale_image(image[None], 0.5)], [labels[::2, ::2]], plain, seed=0)[3]
    for ours, theirs in zip(whole, small, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5])
def test_the_scale_is_a_factor_up_to_1(scale):
    with pytest.raises(ValueError, match="image_scale"):
        ModelConfig(image_scale=scale)
