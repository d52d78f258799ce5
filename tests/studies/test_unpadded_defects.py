"""What the defects of the re-implementations with unpadded networks do: EM stack and Go logo."""

from typing import Any, cast

import numpy as np
import pytest
from unet2015.experiments.reimplementations import em_unaligned, go_logo

from tests.real_data import real_data
from unet2015.augmentation.samples import SampleTiles
from unet2015.augmentation.whole_images import ExampleSequence
from unet2015.data.go_logo import load_go_logo
from unet2015.data.isbi2012 import EMStack, load_isbi2012
from unet2015.model import UNet
from unet2015.studies.reimplementation import Arm, Task


def arm(module, name: str) -> Arm:
    return {arm.name: arm for arm in module.SYSTEM.arms("quick")}[name]


def samples(task: Task) -> ExampleSequence:
    assert isinstance(task.tiles, ExampleSequence)
    return task.tiles


# EM: the enlargement, the two fields, the filled corners


def unaligned(images, labels, **options) -> em_unaligned.UnalignedTiles:
    return em_unaligned.UnalignedTiles(list(images), list(labels), 0, **options)


def test_em_labels_lie_up_to_41_px_from_what_the_network_sees():
    """Image and label hold their own coordinates; both axes, all four corners."""
    for plane in np.mgrid[:512, :512]:
        tiles = unaligned([plane.astype(np.float32) / 511], [plane], augment=False)
        found = []
        for k in range(12):
            tile = tiles[k]
            seen = 511 * tile.image[0, 92:-92, 92:-92]
            found.append(seen - tile.labels)
        # 387 px into a tile the enlarged image has reached (387 + ½)·512/572 − ½ only
        far = 387 - (387.5 * 512 / 572 - 0.5)
        assert far == pytest.approx(40.65, abs=0.01)
        assert max(np.abs(each).max() for each in found) == pytest.approx(far, abs=0.1)
        assert min(each.min() for each in found) == pytest.approx(-far, abs=0.1)
        assert max(each.max() for each in found) == pytest.approx(far, abs=0.1)


def test_em_tiles_of_the_image_as_it_is_are_aligned():
    for plane in np.mgrid[:512, :512]:
        tiles = unaligned([plane.astype(np.float32) / 511], [plane], augment=False, enlarge=False)
        corners = set()
        for k in range(16):
            tile = tiles[k]
            assert tile.image.shape == (1, 572, 572)
            assert tile.labels.shape == tile.weights.shape == (388, 388)
            np.testing.assert_allclose(511 * tile.image[0, 92:-92, 92:-92], tile.labels, atol=1e-3)
            corners.add(int(tile.labels.min()))
        assert corners == {0, 124}


def test_em_real_labels_do_not_belong_to_the_enlarged_images():
    stack = load_isbi2012(real_data("isbi2012"))
    images = stack.train_images[::6] / np.float32(255)
    labels = stack.train_labels[::6]

    def correlation(**options) -> float:
        """The mean over tiles of the correlation of gray value and label."""
        tiles = unaligned(images, labels, augment=False, **options)
        return float(
            np.mean(
                [
                    np.corrcoef(tile.image[0, 92:-92, 92:-92].ravel(), tile.labels.ravel())[0, 1]
                    for tile in map(tiles.__getitem__, range(12))
                ]
            )
        )

    # measured over 24 tiles of all slices: 0.49 and 0.03
    assert 0.4 < correlation(enlarge=False) < 0.65
    assert abs(correlation()) < 0.1


def test_em_image_and_mask_are_deformed_by_two_fields(monkeypatch):
    """Without the rotation, one smooth pattern as image and as mask: they come apart."""
    pattern = np.sin(np.arange(512) / 20)[:, None] * np.sin(np.arange(512) / 20) / 2 + 0.5
    mask = (pattern > 0.5).astype(np.uint8)
    angles = iter((0.0, 0.0))

    class Still:
        """A Generator that draws no angle."""

        def __init__(self, seed: int) -> None:
            self.rng = np.random.default_rng(seed)

        def uniform(self, low: float, high: float) -> float:
            return next(angles)

        def standard_normal(self, size):
            return self.rng.standard_normal(size)

    def agreement() -> float:
        rng = cast(np.random.Generator, Still(3))
        image, label = em_unaligned._deformed_apart(pattern.astype(np.float32), mask, rng)
        return float(((image > 0.5) == label).mean())

    assert agreement() < 0.95
    # with one field for both they stay together but for the interpolation
    monkeypatch.setattr(
        em_unaligned, "random_displacement", lambda rng: np.full((2, 3, 3), 7.0) * [[[1]], [[-1]]]
    )
    assert agreement() > 0.995


def test_em_rotation_fills_the_masks_corners_with_membrane():
    cells = np.ones((512, 512), np.uint8)
    shares = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        image, mask = em_unaligned._deformed_apart(cells.astype(np.float32), cells, rng)
        assert (image == 1).all()  # the image is mirrored there
        shares.append(1 - mask.mean())
    # at 45°, a square misses 1 − (√8 − 2) = 17 % of itself
    assert 0.01 < max(shares) < 0.25
    assert min(shares) < 0.9 * max(shares)


def em_stack() -> EMStack:
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (6, 512, 512)).astype(np.uint8)
    labels = np.kron(rng.integers(0, 2, (6, 4, 4)), np.ones((1, 128, 128))).astype(np.uint8)
    return EMStack("isbi2012", gray, labels, None, None)


@pytest.mark.parametrize("name", ["published", "mended"])
def test_em_the_scored_slices_are_not_trained_on(monkeypatch, name):
    stack = em_stack()
    monkeypatch.setattr(em_unaligned, "load_isbi2012", lambda data: stack)
    task = arm(em_unaligned, name).prepare(None, 0, "cpu")
    assert task.counts == {"trained on": "3 slices", "scored": "3 slices"}
    tiles = task.tiles
    if isinstance(tiles, em_unaligned.UnalignedTiles):
        images = tiles.images
    else:
        assert isinstance(tiles, SampleTiles)
        images = [tiles.image(k)[0] for k in range(len(tiles.shapes))]
    assert len(images) == 3
    for image, gray in zip(images, stack.train_images, strict=False):
        np.testing.assert_allclose(image, gray / 255, atol=1e-6)


def test_em_what_is_scored_is_in_register_with_the_labels(monkeypatch):
    """A network that shows what it sees: enlarged and made small again, it follows the labels."""
    blocks = np.kron(np.random.default_rng(0).integers(0, 2, (16, 16)), np.ones((32, 32)))
    stack = np.stack([blocks, blocks.T]).astype(np.float32)

    def shown(network, image, settings):
        return np.concatenate([1 - image, image])

    monkeypatch.setattr(em_unaligned, "predict_image", shown)
    settings = em_unaligned.QUICK.prediction
    for see in (em_unaligned.enlarged, em_unaligned.as_it_is):
        found = em_unaligned._evaluate(stack, stack.astype(np.uint8), settings, see, UNet())
        assert found["theirs"] == {}
        assert found["honest"]["correlation with the labels"] > 0.97
        assert found["honest"]["pixel error"] < 0.02

    def nothing(network, image, settings):
        return np.zeros((2, *image.shape[1:]), np.float32)

    monkeypatch.setattr(em_unaligned, "predict_image", nothing)
    found = em_unaligned._evaluate(stack, stack.astype(np.uint8), settings, lambda x: x, UNet())
    assert found["honest"]["correlation with the labels"] == 0


def test_em_arms_differ_in_the_enlargement_or_the_distance_term():
    published, alone, aligned, mended = em_unaligned.arms("quick")
    assert published.defects == (
        em_unaligned.UNALIGNED,
        em_unaligned.TWO_FIELDS,
        em_unaligned.FILLED,
        em_unaligned.NO_DISTANCE,
    )
    assert set(alone.defects) - set(aligned.defects) == {em_unaligned.UNALIGNED}
    assert alone.config == aligned.config
    assert published.config.weight_map.w0 == aligned.config.weight_map.w0 == 0
    assert mended.config.weight_map.w0 == 10
    assert mended.config.augmentation.rotation == "any"


# The Go logo: the label shrunk


def centroid(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


def test_go_logo_the_shrunk_label_shows_the_object_elsewhere_and_smaller():
    mask = np.zeros((572, 572), bool)
    mask[140:160, 400:420] = True
    centre, shrunk = (go_logo.label(mask, shrunk=shrunk) for shrunk in (False, True))
    assert centre.shape == shrunk.shape == (388, 388)
    np.testing.assert_allclose(centroid(centre), [149.5 - 92, 409.5 - 92])
    # pixel x of 572 is at (x + ½)·388/572 − ½ of 388
    expected = (np.array([149.5, 409.5]) + 0.5) * 388 / 572 - 0.5
    np.testing.assert_allclose(centroid(shrunk), expected, atol=0.6)
    assert np.linalg.norm(centroid(shrunk) - centroid(centre)) > 50
    assert shrunk.sum() / centre.sum() == pytest.approx((388 / 572) ** 2, abs=0.05)


def few(name: str) -> Task:
    """The task of an arm with three images."""
    prepare = cast(Any, arm(go_logo, name).prepare)
    return prepare(None, 0, "cpu", count=3)


def test_go_logo_arms_differ_in_the_label_alone(tmp_path, monkeypatch):
    monkeypatch.delenv("UNET2015_DATA", raising=False)
    monkeypatch.setattr("unet2015.data.pairs.cache_folder", lambda name: tmp_path / name)
    logo = load_go_logo()
    made = {name: few(name) for name in ("published", "mended")}
    distances = []
    for published, mended in zip(
        samples(made["published"]).examples, samples(made["mended"]).examples, strict=True
    ):
        np.testing.assert_array_equal(published.image, mended.image)
        image, mask = logo.pair(0, int(mended.name))
        np.testing.assert_array_equal(mended.labels, mask[92:-92, 92:-92])
        gray = image.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
        np.testing.assert_allclose(mended.image[0], gray, atol=1 / 255)
        assert published.labels.sum() > 0
        distances.append(np.linalg.norm(centroid(published.labels) - centroid(mended.labels)))
    # measured over 50 images: 2 … 34 px, and an IoU of the two labels of 0.20
    assert max(distances) > 10
    assert arm(go_logo, "published").defects == (go_logo.SHRUNK,)


@pytest.mark.parametrize("name", ["published", "mended"])
def test_go_logo_what_is_honest_is_of_other_images_with_the_right_labels(
    tmp_path, monkeypatch, name
):
    monkeypatch.delenv("UNET2015_DATA", raising=False)
    monkeypatch.setattr("unet2015.data.pairs.cache_folder", lambda name: tmp_path / name)
    task = few(name)
    calls = []

    def right(network, images, **options):
        """The logo's centre, told by its colour: white is 1 in gray."""
        calls.append({image.tobytes() for image in images})
        return [(image[0, 92:-92, 92:-92] < 0.9).astype(np.float32) for image in images]

    monkeypatch.setattr(go_logo, "probabilities", right)
    judged = task.evaluate(UNet())
    trained, fresh = calls
    assert trained == {example.image.tobytes() for example in samples(task).examples}
    assert len(fresh) == 10
    assert not trained & fresh
    # all but the logo's edge, which is neither
    assert judged["honest"]["IoU pooled"] > 0.9
    theirs = judged["theirs"]["IoU with the training labels"]
    assert theirs < 0.5 if name == "published" else theirs > 0.9
