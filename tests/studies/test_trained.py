"""Training and predicting with arrays: what the commands do with files, to the bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.commands import TINY, run
from tests.tiny import blob_tiles, quietly, same_weights, settings
from unet2015.config import ExperimentConfig, PredictionConfig
from unet2015.data.gray_scale import GrayScale
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import read_stack, write_stack
from unet2015.studies.trained import load, predict, train
from unet2015.training.checkpoint import CURRENT, WEIGHTS, load_checkpoint, save_checkpoint

STACK = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)
IMAGES, LABELS = STACK.train_images, STACK.train_labels
OTHER = np.random.default_rng(0).integers(0, 256, (3, 45, 61), np.uint8)
CELLS = LABELS.astype(np.uint16) << (np.arange(64) > 31)
"""Left and right half of the image as two instances."""


def by_command(folder: Path, images: np.ndarray, labels: np.ndarray, *options: object) -> Path:
    """The folder of a run of `python -m unet2015 train`."""
    write_stack(folder / "images.tif", images)
    write_stack(folder / "labels.tif", labels)
    where = ("--images", folder / "images.tif", "--labels", folder / "labels.tif")
    run_folder = ("--output", folder / "run", "--device", "cpu")
    assert run("-m", "unet2015", "train", *where, *run_folder, *TINY, *options) == 0
    return folder / "run"


def predicted_by_command(folder: Path, images: np.ndarray, *options: object) -> np.ndarray:
    write_stack(folder / "other.tif", images)
    where = ("--checkpoint", folder / "run", "--output", folder / "p.tif", "--device", "cpu")
    assert run("-m", "unet2015", "predict", folder / "other.tif", *where, *options) == 0
    return read_stack(folder / "p.tif")


KINDS = {
    "8-bit": (IMAGES, OTHER, None, ()),
    "12 bits of 16": (
        *(IMAGES.astype(np.uint16) * 16, OTHER.astype(np.uint16) * 16),
        *((0, 4095), ("--value-range", 0, 4095)),
    ),
    "float": (IMAGES / np.float32(255), OTHER / np.float32(255), None, ()),
    "percentiles": (IMAGES, OTHER, None, ("--training.gray-values", "percentiles")),
}


@pytest.mark.filterwarnings("ignore:images. .* pixels are beyond the gray values")
@pytest.mark.parametrize(("images", "other", "value_range", "options"), KINDS.values(), ids=KINDS)
def test_arrays_give_what_the_commands_give(tmp_path, images, other, value_range, options):
    folder = by_command(tmp_path, images, LABELS, *options)
    expected = predicted_by_command(tmp_path, other)
    config = load_checkpoint(folder).config
    ours = train(
        *(images, LABELS == 1, tmp_path / "ours", config),
        value_range=value_range,
        device="cpu",
        progress=False,
    )
    assert same_weights(load_checkpoint(tmp_path / "ours"), load_checkpoint(folder))
    for network in (ours, load(folder, "cpu"), load(str(folder / WEIGHTS), "cpu")):
        np.testing.assert_array_equal(predict(network, other), expected)
    np.testing.assert_array_equal(predict(ours, other[1]), expected[1])


def test_the_same_run_continues_from_files_and_from_arrays(tmp_path):
    folder = by_command(tmp_path, IMAGES, CELLS, "--label-kind", "instances")
    config, before = load_checkpoint(folder).config, (folder / WEIGHTS).stat().st_mtime_ns
    big_endian = CELLS.astype(">u2")
    with pytest.warns(UserWarning, match="like a mask or classes: label_kind binary"):
        train(IMAGES, big_endian, folder, config, label_kind="instances", device="cpu")
    assert (folder / WEIGHTS).stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other data"):
        train(IMAGES, LABELS, folder, config, device="cpu")


def test_other_views_are_those_of_the_command(tmp_path):
    folder = by_command(tmp_path, IMAGES, LABELS)
    expected = predicted_by_command(tmp_path, OTHER, "--averaging", "flips4")
    network = load(folder, "cpu")
    flips = replace(network.config.prediction, averaging="flips4")
    np.testing.assert_array_equal(predict(network, OTHER, flips), expected)


@pytest.fixture
def trained(tmp_path: Path) -> ExperimentConfig:
    """The settings of a run in the folder 'run', on gray values from 20 to 200."""
    config = settings(steps=2)
    data = {"gray_scale": GrayScale(20.0, 200.0, "uint8").as_dict()}
    quietly(config, blob_tiles(config), tmp_path / "run", data=data)
    return config


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (OTHER.astype(np.uint16), "made for uint8"),
        (OTHER / np.float32(255), "made for uint8"),
        (OTHER.tolist(), "made for uint8"),
        (OTHER[None], r"images of shape \(1, 3, 45, 61\)"),
        (np.zeros((64, 128, 40, 1), np.uint8), r"images of shape \(64, 128, 40, 1\): must be"),
        (OTHER[:0], "not empty"),
    ],
)
@pytest.mark.usefixtures("trained")
def test_a_type_that_was_not_trained_on_is_refused(tmp_path, wrong, words):
    with pytest.raises(ValueError, match=words):
        predict(load(tmp_path / "run"), wrong)


@pytest.mark.usefixtures("trained")
def test_arrays_whose_slices_may_be_last_are_warned_of(tmp_path):
    network, images = load(tmp_path / "run"), np.full((40, 50, 3), 99, np.uint8)
    message = r"3 slice\(s\) of 40 × 50 px with the slices last\? np.moveaxis\(images, -1, 0\)"
    with pytest.warns(UserWarning, match=message) as warned:
        assert predict(network, images).shape == images.shape
    assert warned[0].filename == __file__
    assert predict(network, np.moveaxis(images, -1, 0)).shape == (3, 40, 50)


@pytest.mark.usefixtures("trained")
def test_nothing_is_printed_unless_it_is_asked_for(tmp_path, capsys):
    network = load(tmp_path / "run", "cpu")
    image = np.full((30, 41), 99, np.uint8)
    quiet = predict(network, image)
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(predict(network, image, progress=True), quiet)
    said = capsys.readouterr()
    assert "tile(s) of" in said.out
    assert "predicting" in said.err


def test_an_unfinished_training_is_said_to_be(tmp_path, trained):
    found = load_checkpoint(tmp_path / "run")
    (tmp_path / "run" / WEIGHTS).unlink()
    save_checkpoint(tmp_path / "run" / CURRENT, replace(found, step=1))
    with pytest.warns(UserWarning, match=r"run: is at step 1 of 2") as warned:
        assert load(tmp_path / "run").step == 1
    assert warned[0].filename == __file__


def test_checkpoints_without_gray_values_or_of_another_network_are_refused(tmp_path, trained):
    found = load_checkpoint(tmp_path / "run")
    save_checkpoint(tmp_path / "no-scale.safetensors", replace(found, data={}))
    with pytest.raises(ValueError, match=r"no-scale\.safetensors: .*black and white"):
        load(tmp_path / "no-scale.safetensors")
    wider = replace(trained, model=replace(trained.model, width=8))
    save_checkpoint(tmp_path / "wider.safetensors", replace(found, config=wider))
    with pytest.raises(ValueError, match=r"wider\.safetensors: .*another architecture"):
        load(tmp_path / "wider.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        load(tmp_path)


def test_what_cannot_be_trained_on_is_refused_before_a_folder_is_made(tmp_path):
    for images, labels, words in (
        (IMAGES, LABELS[:1], "labels of shape"),
        (IMAGES, CELLS, "slice 0 has the values 0, 1, 2; .* is one cell, label_kind instances;"),
        (IMAGES.astype(np.int32), LABELS, "has no gray range of its own"),
        (IMAGES.astype(np.float32), LABELS, "outside 0 to 1"),
    ):
        with pytest.raises(ValueError, match=words):
            train(images, labels, tmp_path / "new", settings())
    with pytest.raises(
        ValueError, match="label_kind = 'instance': must be 'binary' or 'instances'"
    ):
        train(IMAGES, LABELS, tmp_path / "new", settings(), label_kind="instance")  # type: ignore
    assert not (tmp_path / "new").exists()


def test_12_bits_in_16_without_a_range_are_warned_about(tmp_path):
    images = IMAGES.astype(np.uint16) * 16
    with pytest.warns(UserWarning, match=r"images have .*; value_range 0 4095 would fit"):
        train(images, LABELS, tmp_path / "new", settings(steps=1), device="cpu", progress=False)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("trained")
def test_a_network_is_loaded_onto_a_gpu(tmp_path):
    network, image = load(tmp_path / "run"), np.full((30, 41), 99, np.uint8)
    assert next(network.network.parameters()).is_cuda
    expected = predict(load(tmp_path / "run", "cpu"), image, PredictionConfig())
    np.testing.assert_allclose(predict(network, image, PredictionConfig()), expected, atol=1e-4)
