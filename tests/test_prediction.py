"""Tiled prediction against the whole image; averaged views against doing it by hand."""

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from unet2015.config import ModelConfig, PredictionConfig
from unet2015.model import CELL, UNet, smallest_valid_input
from unet2015.prediction import predict_image, predict_stack, tiled_scores, views


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
    net, image = network(), noise(1, *shape)
    tiled = tiled_scores(net, image, largest_input_px=220)
    expected = whole_image_scores(net, image)
    assert tiled.shape == (2, *shape)
    assert np.abs(tiled - expected).max() < 1e-5


def test_several_channels_and_classes() -> None:
    net, image = network(in_channels=3, classes=4), noise(3, 40, 50)
    assert np.abs(tiled_scores(net, image) - whole_image_scores(net, image)).max() < 1e-5


def test_padded_network_uses_context_at_inner_tile_borders() -> None:
    """A 'same' network's tiles overlap: inside the image they agree but for far-away context."""
    net, image = network(padding="same"), noise(1, 300, 300)
    one = tiled_scores(net, image, largest_input_px=892)
    many = tiled_scores(net, image, largest_input_px=272)
    assert one.shape == (2, 300, 300)
    assert np.abs(one - many).max() < 1e-5


def test_probabilities_are_probabilities() -> None:
    for averaging in ("none", "dihedral8", "flips4", "rotations7"):
        for average_of in ("probability", "score"):
            config = PredictionConfig(averaging=averaging, average_of=average_of)
            p = predict_image(network(), noise(1, 33, 48), config)
            assert p.shape == (2, 33, 48)
            assert p.dtype == np.float32
            assert p.min() >= 0
            assert p.max() <= 1
            assert np.abs(p.sum(axis=0) - 1).max() < 1e-5


@pytest.mark.parametrize("average_of", ["probability", "score"])
@pytest.mark.parametrize("averaging", ["none", "flips4", "rotations7"])
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


def test_one_score_gives_the_sigmoid() -> None:
    net, image = network(classes=1), noise(1, 30, 42)
    assert tiled_scores(net, image).shape == (1, 30, 42)
    expected = 1 / (1 + np.exp(-whole_image_scores(net, image)[0].astype(float)))
    config = PredictionConfig(averaging="none")
    found = predict_image(net, image, config)
    np.testing.assert_allclose(found, [1 - expected, expected], atol=1e-5)
    (plane,) = predict_stack(net, image, config, progress=False)
    assert np.array_equal(plane, found[CELL])


def test_eight_views_are_the_eight_symmetries() -> None:
    image = noise(1, 6, 9)
    seen = set()
    for view in views("dihedral8", (6, 9)):
        turned = view.forward(image)
        seen.add((turned.shape, turned.tobytes()))
        assert np.array_equal(view.back(turned), image)
    assert len(seen) == 8


def test_four_flips_of_the_scores_by_hand() -> None:
    """As in the authors' release: identity, left-right, up-down, both; scores, then softmax."""
    net, image = network(), noise(1, 30, 42)
    parts = []
    for axes in ((), (2,), (1,), (1, 2)):
        scores = whole_image_scores(net, np.ascontiguousarray(np.flip(image, axes)))
        parts.append(np.flip(scores, axes))
    odds = np.exp(np.mean(parts, axis=0))
    config = PredictionConfig(averaging="flips4", average_of="score")
    assert np.abs(predict_image(net, image, config) - odds / odds.sum(axis=0)).max() < 1e-5


@pytest.mark.parametrize("average_of", ["probability", "score"])
def test_average_over_eight_views_by_hand(average_of: str) -> None:
    net, image = network(), noise(1, 30, 42)

    def softmax(scores: np.ndarray) -> np.ndarray:
        e = np.exp(scores)
        return e / e.sum(axis=0)

    parts = []
    for flip in (False, True):
        for turns in range(4):
            view = np.rot90(np.flip(image, 2) if flip else image, turns, axes=(1, 2))
            scores = whole_image_scores(net, np.ascontiguousarray(view))
            values = softmax(scores) if average_of == "probability" else scores
            back = np.rot90(values, 4 - turns, axes=(1, 2))
            parts.append(np.flip(back, 2) if flip else back)
    mean = np.mean(parts, axis=0)
    expected = mean if average_of == "probability" else softmax(mean)
    config = PredictionConfig(averaging="dihedral8", average_of=average_of)  # type: ignore[arg-type]
    assert np.abs(predict_image(net, image, config) - expected).max() < 1e-5


def test_seven_views_are_rotations_by_sevenths_of_the_circle() -> None:
    """The middle of each view against SciPy's own `rotate`, which turns about the centre too."""
    image = np.stack([np.hypot(*np.mgrid[-40:41, -40:41]) / 80])  # smooth, with a bump off centre
    image[0, 20:40, 50:60] += 0.3
    image = np.clip(image, 0, 1).astype(np.float32)
    all_views = views("rotations7", (81, 81))
    assert len(all_views) == 7
    assert all_views[0].forward(image) is image
    for k, view in enumerate(all_views[1:], start=1):
        turned = view.forward(image)[0]
        expected = rotate(image[0], -k * 360 / 7, reshape=False, order=3, mode="mirror")
        cy, cx = (s // 2 for s in turned.shape)
        odd = all(s % 2 for s in turned.shape)
        if odd:
            inner = turned[cy - 25 : cy + 26, cx - 25 : cx + 26]
            assert np.abs(inner - np.clip(expected, 0, 1)[15:66, 15:66]).max() < 1e-3
        assert min(turned.shape) > 81


def test_seven_views_come_back_to_their_place() -> None:
    rows, columns = np.mgrid[0:60, 0:90]
    image = (0.5 + 0.4 * np.sin(rows / 9) * np.cos(columns / 11))[None].astype(np.float32)
    for view in views("rotations7", (60, 90)):
        back = view.back(view.forward(image))
        assert back.shape == image.shape
        assert np.abs(back - image)[:, 2:-2, 2:-2].max() < 0.01


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


def test_training_mode_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"call network.eval\(\)"):
        tiled_scores(network().train(), noise(1, 8, 8))
    with pytest.raises(ValueError, match=r"\(8, 8\): must be \(channels, height, width\)"):
        tiled_scores(network(), noise(8, 8))
    with pytest.raises(ValueError, match="at least 204"):
        tiled_scores(network(), noise(1, 8, 8), largest_input_px=100)
