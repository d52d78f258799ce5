"""What each defect of the later re-implementations does, and that mended arms have none.

Those of the unpadded networks (EM, Go logo) are in test_unpadded_defects.py.
"""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from unet2015.experiments.reimplementations import (
    carvana_activations,
    em_unaligned,
    go_logo,
    lgg_mri,
    nuclei,
    penn_fudan,
)

from tests.real_data import real_data
from tests.studies.reimplementation_sets import make_carvana, make_lgg, make_nuclei, make_penn_fudan
from unet2015 import reimplementations
from unet2015.augmentation.whole_images import ExampleSequence
from unet2015.config import ModelConfig
from unet2015.data.lgg import load_lgg
from unet2015.model import UNet
from unet2015.studies.reimplementation import Arm, Task, per_image, probabilities

PLAIN = ModelConfig(in_channels=3, width=4, padding="same", normalization="batch", dropout=0.0)


def arm(module, name: str, preset: str = "quick") -> Arm:
    return {arm.name: arm for arm in module.SYSTEM.arms(preset)}[name]


def samples(task: Task) -> ExampleSequence:
    assert isinstance(task.tiles, ExampleSequence)
    return task.tiles


# LGG: pairs by two sorted lists, twice divided by 255, patients on both sides


def mispaired(data) -> list[bool]:
    wrong = lgg_mri.paired_by_sorting(load_lgg(data).pairs)
    return [Path(str(pair.mask)).name != f"{pair.image.stem}_mask.tif" for pair in wrong]


def test_lgg_sorting_apart_mispairs_slices(tmp_path):
    """1, 10, 11, 12, 2 … beside 10, 11, 12, 1, 2 …: four of twelve slices of each patient."""
    assert sum(mispaired(make_lgg(tmp_path / "twelve"))) == 3 * 4
    assert not any(mispaired(make_lgg(tmp_path / "nine", range(1, 10))))


def test_lgg_real_slices_are_mispaired():
    share = float(np.mean(mispaired(real_data("LGG-kaggle_3m"))))
    # 237 of the 317 slices of twelve patients; of all 3929 slices 84 %
    assert 0.7 < share < 0.9


@pytest.fixture
def small_lgg(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(lgg_mri, "SIDE", 32)
    return make_lgg(tmp_path / "lgg")


def test_lgg_the_published_arm_learns_other_slices_masks_from_dark_inputs(small_lgg):
    published, mended = (
        arm(lgg_mri, name).prepare(small_lgg, 0, "cpu") for name in ("published", "mended")
    )
    assert published.count == mended.count
    wrong = 0
    for theirs, right in zip(samples(published).examples, samples(mended).examples, strict=True):
        assert theirs.name == right.name
        number = int(right.name.rpartition("_")[2])
        assert np.flatnonzero(right.labels[0]).tolist() == [number, number + 1]
        wrong += not np.array_equal(theirs.labels, right.labels)
        np.testing.assert_allclose(255 * theirs.image, right.image, rtol=1e-5)
        assert right.image.max() > 60 / 255
        assert theirs.image.max() < 1 / 255
    assert 0.1 < wrong / published.count < 0.6


def recorded(monkeypatch, module, task: Task) -> list[list[np.ndarray]]:
    """The images that each call of `probabilities` gets when a task is judged."""
    calls = []

    def blank(network, images, **options):
        calls.append(list(images))
        return [np.zeros(image.shape[1:], np.float32) for image in images]

    monkeypatch.setattr(module, "probabilities", blank)
    task.evaluate(UNet())
    return calls


@pytest.mark.parametrize("name", ["published", "mended"])
def test_lgg_what_is_honest_is_of_patients_that_no_arm_trains_on(small_lgg, monkeypatch, name):
    task = arm(lgg_mri, name).prepare(small_lgg, 0, "cpu")
    scale = 255.0**2 if name == "published" else 255.0
    own, unseen = recorded(monkeypatch, lgg_mri, task)

    def patients(images) -> set[int]:
        return {round(float(image.max()) * scale - 1) // 60 for image in images}

    trained = [example.image for example in samples(task).examples]
    assert patients(trained) == patients(own)  # the leak
    assert not patients(trained) & patients(unseen)
    assert len(own) + len(trained) + len(unseen) == 36
    assert not {image.tobytes() for image in own} & {image.tobytes() for image in trained}


def test_lgg_what_is_honest_has_the_right_masks(small_lgg, monkeypatch):
    """Judged by predictions that are the right masks: the honest figures are 1, theirs are not."""
    task = arm(lgg_mri, "published").prepare(small_lgg, 0, "cpu")

    def right(network, images, **options):
        found = []
        for image in images:
            number = (round(float(image.max()) * 255**2) - 1) % 60 + 1
            plane = np.zeros((32, 32), np.float32)
            plane[:, number : number + 2] = 1
            found.append(plane)
        return found

    monkeypatch.setattr(lgg_mri, "probabilities", right)
    judged = task.evaluate(UNet())
    assert judged["honest"] == dict.fromkeys(("IoU", "Dice", "IoU pooled", "Dice pooled"), 1.0)
    monkeypatch.setattr(lgg_mri, "SCORED", 0.9)
    judged = arm(lgg_mri, "published").prepare(small_lgg, 0, "cpu").evaluate(UNet())
    assert judged["theirs"]["Dice pooled"] < 0.9


# Nuclei: the first mask


def test_nuclei_the_first_mask_is_missing_from_labels_and_their_metric(tmp_path, monkeypatch):
    folder = make_nuclei(tmp_path)
    whole = np.zeros((160, 240), np.uint8)
    whole[80:] = 1
    without = whole.copy()
    without[:, :80] = 0

    def right(network, images, **options):
        return [whole.astype(np.float32) for _ in images]

    monkeypatch.setattr(nuclei, "probabilities", right)
    for name, labels, iou in (("published", without, 2 / 3), ("mended", whole, 1.0)):
        task = arm(nuclei, name).prepare(folder, 0, "cpu")
        assert task.counts == {"trained on": "12 images", "scored": "6 images"}
        for example in samples(task).examples:
            np.testing.assert_array_equal(example.labels, labels)
        judged = task.evaluate(UNet())
        assert judged["theirs"]["IoU, their labels"] == pytest.approx(iou)
        assert judged["theirs"]["batch Dice, soft, their labels"] == pytest.approx(
            2 * iou / (1 + iou)
        )
        assert judged["honest"]["IoU"] == 1


def test_nuclei_a_missing_image_is_found_before_anything_is_trained(tmp_path):
    folder = make_nuclei(tmp_path)
    prefix = nuclei.IMAGES["validation"][2]
    (gone,) = (folder / "stage1_train").glob(f"{prefix}*")
    shutil.rmtree(gone)
    with pytest.raises(ValueError, match=prefix):
        nuclei.SYSTEM.load(folder)


# Carvana: half-scale skips, two sigmoids, cars on both sides


def inputs_of_expansive(network: UNet, image: torch.Tensor) -> list[torch.Tensor]:
    """What each level of the expansive path is given."""
    found = []
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
        for block in network.expansive
    ]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return found


def test_carvana_skips_are_the_pooled_maps_in_zeros():
    config = replace(PLAIN, depth=2, classes=1)
    network = carvana_activations.HalfScaleSkips(config, seed=1).eval()
    plain = UNet(config, seed=1).eval()
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = plain.contracting[0](image)
        second = plain.contracting[1](F.max_pool2d(first, 2))
    maps = [second, first]  # as the expansive path meets them
    for given, full in zip(inputs_of_expansive(network, image), maps, strict=True):
        channels, (height, width) = full.shape[1], full.shape[2:]
        skip = given[:, -channels:]
        assert skip.shape == full.shape
        centre = (slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4))
        torch.testing.assert_close(skip[:, :, *centre], F.max_pool2d(full, 2))
        around = skip.clone()
        around[:, :, *centre] = 0
        assert not around.any()
    for given, full in zip(inputs_of_expansive(plain, image), maps, strict=True):
        torch.testing.assert_close(given[:, -full.shape[1] :], full)


def test_carvana_both_networks_have_the_same_parameters():
    config = arm(carvana_activations, "published_relu").config.model
    ours, theirs = UNet(config, seed=3), carvana_activations.HalfScaleSkips(config, seed=3)
    for (name, one), (other, two) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(one, two)


def test_carvana_two_sigmoids_bound_the_loss_from_below():
    scores = torch.full((1, 1, 4, 4), 50.0)
    weights = torch.ones(1, 4, 4)
    cells = torch.ones(1, 4, 4, dtype=torch.int64)
    found = carvana_activations.two_sigmoids(scores, cells, weights)
    assert float(found) == pytest.approx(math.log(1 + math.exp(-1)))  # 0.3133, and not 0
    found = carvana_activations.two_sigmoids(-scores, 1 - cells, weights)
    assert float(found) == pytest.approx(math.log(2))
    # nothing is lower
    for score in np.linspace(-20, 20, 41):
        found = carvana_activations.two_sigmoids(torch.full_like(scores, score), cells, weights)
        assert float(found) >= math.log(1 + math.exp(-1)) - 1e-6


def test_carvana_two_sigmoids_have_their_least_loss_at_cut_off_log_odds():
    """What the page says of them: of pixels of which `share` are cells, by trying all scores."""
    loss, weights = carvana_activations.two_sigmoids, torch.ones(1, 10, 10)
    tried = torch.linspace(-12, 12, 481)
    for share in (0.3, 0.5, 0.6, 0.7, 0.74, 0.9):
        labels = (torch.arange(100) < round(100 * share)).long().reshape(1, 10, 10)
        losses = [float(loss(score.expand(1, 1, 10, 10), labels, weights)) for score in tried]
        best = float(torch.sigmoid(tried[int(np.argmin(losses))]))
        assert best == pytest.approx(np.clip(math.log(share / (1 - share)), 0, 1), abs=0.02)


@pytest.mark.parametrize("name", ["published_silu", "mended_silu"])
def test_carvana_what_is_honest_is_of_cars_that_no_arm_trains_on(tmp_path, monkeypatch, name):
    monkeypatch.setattr(carvana_activations, "HEIGHT", 32)
    monkeypatch.setattr(carvana_activations, "WIDTH", 32)
    chosen = arm(carvana_activations, name)
    task = chosen.prepare(make_carvana(tmp_path, views=6), 0, "cpu")
    own, unseen = recorded(monkeypatch, carvana_activations, task)

    def cars(images) -> set[int]:
        return {round(float(image.mean()) * 255) // 40 for image in images}

    trained = [example.image for example in samples(task).examples]
    assert not cars(trained) & cars(unseen)
    assert cars(own) <= cars(trained)
    assert len(trained) + len(own) + len(unseen) == 30
    assert task.counts["scored"] == "6 images of 1 cars"
    published = name.startswith("published")
    assert (task.make_network is carvana_activations.HalfScaleSkips) == published
    assert (task.loss is carvana_activations.two_sigmoids) == published
    assert bool(chosen.defects) == published
    assert chosen.config.model.activation == "silu"


# Penn-Fudan: validation in training mode


def test_penn_fudan_validates_in_training_mode(tmp_path, monkeypatch):
    monkeypatch.setattr(penn_fudan, "SIDE", 32)
    folder = make_penn_fudan(tmp_path)
    task = arm(penn_fudan, "published").prepare(folder, 0, "cpu")
    trained = {example.image.tobytes() for example in samples(task).examples}
    assert len(trained) == task.count == 8
    network = UNet(replace(PLAIN, dropout=0.1), seed=0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean += 1  # statistics that no batch has
        cast(torch.Tensor, network.score.bias).copy_(torch.tensor([0.0, 0.05]))
    calls = []

    def noted(network, images, **options):
        calls.append((list(images), options))
        return probabilities(network, images, **options)

    monkeypatch.setattr(penn_fudan, "probabilities", noted)
    judged = task.evaluate(network)
    assert [options for _, options in calls] == [{}, {"train_mode": True, "batch": 10}]
    assert not trained & {image.tobytes() for images, _ in calls for image in images}
    truth = np.zeros((32, 32), np.uint8)
    truth[:, :8] = truth[:, 24:] = 1
    for (images, options), value in zip(
        calls, (judged["honest"]["IoU"], judged["theirs"]["IoU in training mode"]), strict=True
    ):
        again = probabilities(network, images, **options)
        assert value == per_image([truth] * len(images), again)["IoU"]
    both = [probabilities(network, images, **options) for images, options in calls]
    assert np.abs(np.stack(both[0]) - np.stack(both[1])).max() > 0.01
    other = arm(penn_fudan, "layer_norm").prepare(folder, 0, "cpu")
    assert other.evaluate(UNet(replace(PLAIN, normalization="layer")))["theirs"] == {}


# All


def test_the_published_arm_comes_first_and_mended_arms_have_no_defect():
    for name in reimplementations.names():
        quick, published = (reimplementations.load(name).arms(p) for p in ("quick", "published"))
        names = [each.name for each in quick]
        assert len(set(names)) == len(names)
        assert names == [each.name for each in published]
        assert names[0].startswith("published")
        for each in (*quick, *published):
            assert bool(each.defects) != each.name.startswith(("mended", "layer_norm"))


def test_every_defect_is_in_its_published_arm():
    listed = {
        name: set(reimplementations.load(name).arms("quick")[0].defects)
        for name in reimplementations.names()
    }
    assert listed == {
        "carvana_activations": {
            carvana_activations.HALF_SCALE,
            carvana_activations.TWO_SIGMOIDS,
            carvana_activations.LEAK,
        },
        "em_unaligned": {
            em_unaligned.UNALIGNED,
            em_unaligned.TWO_FIELDS,
            em_unaligned.FILLED,
            em_unaligned.NO_DISTANCE,
        },
        "go_logo": {go_logo.SHRUNK},
        "lgg_mri": {lgg_mri.MISPAIRED, lgg_mri.LEAK, lgg_mri.TWICE},
        "nuclei": {nuclei.FIRST_MASK},
        "penn_fudan": {penn_fudan.TRAIN_MODE},
    }


@pytest.mark.parametrize("name", reimplementations.names())
def test_arms_can_be_trained_with_their_settings(name):
    """Every network takes its own input, and every loss its scores: at the smallest width."""
    for each in reimplementations.load(name).arms("published"):
        model = replace(each.config.model, width=1)
        side = each.config.training.input_tile_px
        image = torch.zeros(1, model.in_channels, side, side)
        with torch.no_grad():
            scores = UNet(model).eval()(image)
        assert scores.shape[1] == (1 if each.config.training.loss != "weighted_softmax" else 2)
        assert scores.shape[2] == (388 if model.padding == "valid" else side)
