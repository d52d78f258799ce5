"""Tiled prediction against the whole image; averaged views against doing it by hand; on a GPU."""

import numpy as np
import pytest
import torch

from unet2015.config import ModelConfig, PredictionConfig
from unet2015.inference.prediction import predict_image, predict_stack, tiled_scores
from unet2015.model import CELL, UNet, smallest_valid_input
from unet2015.runtime.numerics import numerics


def network(**options: object) -> UNet:
    return UNet(ModelConfig(width=4, **options), seed=1).eval()  # type: ignore[arg-type]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def whole_image_scores(net: UNet, image: np.ndarray) -> np.ndarray:
    """The scores of an image in one pass, mirrored with NumPy by as much as one tile needs."""
    sides = [smallest_valid_input(s, net.config.depth) for s in image.shape[1:]]
    pads = [(92, side - 92 - s) for side, s in zip(sides, image.shape[1:], strict=True)]
    padded = np.pad(image, [(0, 0), *pads], mode="reflect")
    with torch.no_grad():
        scores = net(torch.from_numpy(padded)[None])[0].numpy()
    return scores[:, : image.shape[1], : image.shape[2]]


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (93, 94), (260, 261), (301, 130)])
def test_tiled_is_whole_image_prediction(shape: tuple[int, int]) -> None:
    net, image = network(in_channels=3, classes=4), noise(3, *shape)
    tiled = tiled_scores(net, image, largest_input_px=220)
    expected = whole_image_scores(net, image)
    assert tiled.shape == (4, *shape)
    assert np.abs(tiled - expected).max() < 1e-5


def test_padded_network_uses_context_at_inner_tile_borders() -> None:
    """A 'same' network's tiles overlap: inside the image they agree but for far-away context."""
    net, image = network(padding="same"), noise(1, 300, 300)
    one = tiled_scores(net, image, largest_input_px=892)
    many = tiled_scores(net, image, largest_input_px=272)
    assert one.shape == (2, 300, 300)
    assert np.abs(one - many).max() < 1e-5


@pytest.mark.parametrize(
    ("averaging", "average_of"),
    [("none", "probability"), ("flips4", "score"), ("rotations7", "probability")],
)
def test_one_score_is_predicted_as_the_two_scores_0_and_s(averaging: str, average_of: str) -> None:
    """Beside a network with two scores, of which one is always 0: the same softmax."""
    one, two = network(classes=1, depth=2), network(classes=2, depth=2)
    weights = one.state_dict()
    scores = {name: weights[name] for name in ("score.weight", "score.bias")}
    two.load_state_dict(
        weights | {name: torch.cat([torch.zeros_like(w), w]) for name, w in scores.items()}
    )
    config = PredictionConfig(averaging=averaging, average_of=average_of)  # type: ignore[arg-type]
    image = noise(1, 33, 48)
    ours, theirs = predict_image(one, image, config), predict_image(two, image, config)
    assert ours.shape == (2, 33, 48)
    assert ours.dtype == np.float32
    assert ours[CELL].max() - ours[CELL].min() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(ours.sum(axis=0), 1, atol=1e-6)


def test_stack_is_predicted_slice_by_slice() -> None:
    net, stack = network(), noise(3, 20, 25)
    config = PredictionConfig(averaging="none")
    slices = list(predict_stack(net, stack, config, progress=False))
    assert len(slices) == 3
    for plane, probability in zip(stack, slices, strict=True):
        assert np.array_equal(probability, predict_image(net, plane[None], config)[CELL])


def test_bfloat16_is_close_to_float32() -> None:
    net, image = network(), noise(1, 64, 64)
    exact = predict_image(net, image, PredictionConfig(averaging="none"))
    rough = predict_image(net, image, PredictionConfig(averaging="none", precision="bfloat16"))
    assert 0 < np.abs(exact - rough).max() < 0.05


@pytest.mark.parametrize("at_once", [3, 100])
def test_tiles_together_are_tiles_one_after_the_other(at_once: int) -> None:
    net, image = network(in_channels=2), noise(2, 150, 170)
    one, together = (
        tiled_scores(net, image, largest_input_px=236, tiles_at_once=count)
        for count in (1, at_once)
    )
    assert np.abs(one - together).max() < 1e-5


@pytest.mark.parametrize(
    ("averaging", "at_once", "largest"),
    [("none", 9, 1), ("flips4", 3, 2), ("flips4", 9, 4), ("dihedral8", 9, 4), ("rotations7", 9, 2)],
)
def test_views_of_one_size_go_through_the_network_together(
    averaging: str, at_once: int, largest: int
) -> None:
    net, image = network(depth=2), noise(1, 60, 75)
    config = PredictionConfig(averaging=averaging)  # type: ignore[arg-type]
    batches: list[int] = []
    done: list[str] = []
    net.register_forward_pre_hook(lambda _, tiles: batches.append(len(tiles[0])))
    one = predict_image(net, image, config, on_view=lambda: done.append("one"))
    assert set(batches) == {1}  # as on any CPU
    views = len(batches)
    together = predict_image(
        net, image, config, on_view=lambda: done.append("together"), tiles_at_once=at_once
    )
    assert max(batches) == largest
    assert sum(batches) == 2 * views
    assert done == ["one"] * views + ["together"] * views
    assert np.abs(one - together).max() < 1e-5


def test_the_image_is_left_as_it_was_and_may_be_read_only() -> None:
    net, image = network(depth=2), noise(1, 40, 30)
    before = image.copy()
    image.flags.writeable = False
    for averaging in ("none", "flips4", "rotations7"):
        predict_image(net, image, PredictionConfig(averaging=averaging))
    tiled_scores(net, image)
    assert np.array_equal(image, before)


def test_training_mode_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"call network.eval\(\)"):
        tiled_scores(network().train(), noise(1, 8, 8))
    with pytest.raises(ValueError, match=r"\(8, 8\): must be \(channels, height, width\)"):
        tiled_scores(network(), noise(8, 8))
    with pytest.raises(ValueError, match="at least 204"):
        tiled_scores(network(), noise(1, 8, 8), largest_input_px=100)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("averaging", ["none", "dihedral8", "rotations7"])
def test_cuda_predicts_as_the_cpu_does_and_waits_for_nothing_but_the_result(averaging: str) -> None:
    net, stack = network(), noise(3, 200, 230)
    config = PredictionConfig(averaging=averaging)  # type: ignore[arg-type]
    expected = list(predict_stack(net, stack, config, progress=False))
    net.cuda()
    with numerics("cuda"):
        list(predict_stack(net, stack[:1], config, progress=False))  # what is set up at first waits
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = list(predict_stack(net, stack, config, progress=False))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        whole = predict_image(net, stack[:1], config)[CELL]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(whole, expected[0], atol=1e-3)
