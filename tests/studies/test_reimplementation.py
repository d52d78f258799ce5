"""What the re-implementations share: probabilities, the metrics of images and batches, epochs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import settings
from unet2015.config import ModelConfig
from unet2015.model import UNet
from unet2015.studies.reimplementation import (
    Arm,
    per_image,
    probabilities,
    run_name,
    soft_dice_of_batches,
    with_epochs,
)

MODEL = ModelConfig(
    in_channels=3, classes=1, width=4, depth=1, padding="same", normalization="batch", dropout=0.0
)


def arm(epochs: int, *, warmup_epochs: int = 0, **training: Any) -> Arm:
    def prepare(data, seed, device):
        raise AssertionError("nothing is prepared")

    return Arm("published", settings(**training), epochs, prepare, warmup_epochs=warmup_epochs)


def network_of(**fields: Any) -> UNet:
    """Weights and running statistics that are not those of a new network."""
    network = UNet(replace(MODEL, **fields), seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            shift = torch.rand(module.num_features, generator=generator)
            module.running_mean, module.running_var = shift.clone(), 0.5 + shift
    return network.eval()


def images(count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((3, 8, 12), np.float32) for _ in range(count)]


def sigmoid(scores: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-scores.astype(np.float64)))


def test_probabilities_are_the_sigmoid_of_one_score_or_the_softmax_of_two():
    network = network_of()
    with torch.no_grad():
        scores = network(torch.from_numpy(np.stack(images()))).numpy()
    for batch in (1, 2, 5):
        found = probabilities(network, images(), batch=batch)
        assert [plane.shape for plane in found] == [(8, 12)] * 5
        np.testing.assert_allclose(np.stack(found), sigmoid(scores[:, 0]), atol=1e-6)
        assert np.ptp(found) > 0.02
    network = network_of(classes=2)
    with torch.no_grad():
        scores = network(torch.from_numpy(np.stack(images()))).numpy()
    # the softmax of two is the sigmoid of their difference
    expected = sigmoid(scores[:, 1] - scores[:, 0])
    np.testing.assert_allclose(np.stack(probabilities(network, images())), expected, atol=1e-6)


def test_train_mode_takes_the_batches_own_statistics():
    """Batch normalisation by hand: each batch's mean and variance in place of the running ones."""
    network = network_of()
    found = probabilities(network, images(), train_mode=True, batch=3)
    expected = []
    for part in (images()[:3], images()[3:]):
        by_hand = UNet(network.config, seed=1)
        by_hand.load_state_dict(network.state_dict())
        layers = [m for m in by_hand.modules() if isinstance(m, torch.nn.BatchNorm2d)]

        def own_statistics(layer, inputs):
            layer.running_mean = inputs[0].mean(dim=(0, 2, 3))
            layer.running_var = inputs[0].var(dim=(0, 2, 3), correction=0)

        for layer in layers:
            layer.register_forward_pre_hook(own_statistics)
        with torch.no_grad():
            scores = by_hand.eval()(torch.from_numpy(np.stack(part))).numpy()
        expected.append(sigmoid(scores[:, 0]))
    np.testing.assert_allclose(np.stack(found), np.concatenate(expected), atol=1e-5)
    assert np.abs(np.stack(found) - np.stack(probabilities(network, images()))).max() > 0.01


def test_train_mode_leaves_the_network_as_it_was():
    network = network_of(dropout=0.5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    in_evaluation = probabilities(network, images())
    first, second = (probabilities(network, images(), train_mode=True) for _ in range(2))
    np.testing.assert_array_equal(first, second)  # drop-out is seeded
    without = UNet(replace(network.config, dropout=0.0))
    without.load_state_dict(before)
    # … and on
    assert np.abs(np.stack(first) - probabilities(without, images(), train_mode=True)).max() > 0.01
    assert not network.training
    assert torch.equal(torch.random.get_rng_state(), state)
    after = network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    np.testing.assert_array_equal(probabilities(network, images()), in_evaluation)


def test_the_metrics_of_images_are_those_computed_by_hand():
    truths = [
        np.array([[1, 1, 0, 0]]),
        np.array([[0, 0, 0, 0]]),
        np.array([[0, 0, 0, 0]]),
        np.array([[1, 1, 1, 1]]),
    ]
    predicted = [
        np.array([[0.9, 0.5, 0.6, 0.1]], np.float32),  # 0.5 is not > 0.5: tp 1, fp 1, fn 1
        np.array([[0.1, 0.1, 0.1, 0.1]], np.float32),  # nothing there, nothing found: 1
        np.array([[0.9, 0.1, 0.1, 0.1]], np.float32),  # nothing there, something found: 0
        np.array([[0.9, 0.9, 0.9, 0.9]], np.float32),  # all: 1
    ]
    found = per_image(truths, predicted)
    assert found["IoU"] == pytest.approx((1 / 3 + 1 + 0 + 1) / 4)
    assert found["Dice"] == pytest.approx((1 / 2 + 1 + 0 + 1) / 4)
    # all pixels: tp 5, fp 2, fn 1
    assert found["IoU pooled"] == pytest.approx(5 / 8)
    assert found["Dice pooled"] == pytest.approx(10 / 13)
    with pytest.raises(ValueError, match="shorter"):
        per_image(truths, predicted[:3])


def test_the_soft_dice_of_batches_is_that_computed_by_hand():
    truths = [np.array([[1, 0]]), np.array([[1, 1]]), np.array([[0, 1]])]
    predicted = [
        np.array([[0.5, 0.5]], np.float32),
        np.array([[1, 0.5]], np.float32),
        np.array([[0.25, 0.75]], np.float32),
    ]
    # first batch: 2·(0.5 + 1 + 0.5) / (3 + 2.5); the second, of one image, counts as much
    expected = (4 / 5.5 + 1.5 / 2) / 2
    assert soft_dice_of_batches(truths, predicted, 2) == pytest.approx(expected)
    pooled = soft_dice_of_batches(truths, predicted, 3)
    assert pooled == pytest.approx(2 * 2.75 / (4 + 3.5))


@pytest.mark.parametrize(
    ("epochs", "count", "batch", "warmup_epochs", "steps", "warmup_steps"),
    [(5, 200, 4, 0, 250, 0), (20, 12, 4, 0, 60, 0), (50, 136, 10, 4, 680, 54), (1, 1, 64, 0, 1, 0)],
)
def test_steps_follow_from_epochs(epochs, count, batch, warmup_epochs, steps, warmup_steps):
    own = arm(epochs, warmup_epochs=warmup_epochs, batch_size=batch)
    config = with_epochs(own, count)
    assert (config.training.steps, config.training.warmup_steps) == (steps, warmup_steps)
    # and nothing else
    kept = replace(config.training, steps=own.config.training.steps, warmup_steps=3)
    assert replace(config, training=kept) == own.config


def test_the_name_of_a_run_tells_apart_what_must_not_continue_one_another():
    names = {
        run_name("quick", "lgg_mri", arm(5), 0),
        run_name("published", "lgg_mri", arm(5), 0),
        run_name("quick", "nuclei", arm(5), 0),
        run_name("quick", "lgg_mri", replace(arm(5), name="mended"), 0),
        run_name("quick", "lgg_mri", arm(6), 0),
        run_name("quick", "lgg_mri", arm(5, learning_rate=0.1), 0),
        run_name("quick", "lgg_mri", arm(5), 1),
    }
    assert len(names) == 7
