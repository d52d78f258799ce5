"""The same cells in another exposure, with another offset, in another bit depth.

A network that finds them in its own images, by a threshold, loses them there; with the range that
is recommended it finds them again.
"""

import math
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.commands import run
from tests.tiny import blob_tiles, cut_off, quietly, settings
from unet2015.config import ExperimentConfig
from unet2015.data.gray_use import gray_quantiles
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import read_stack, write_stack
from unet2015.metrics import iou
from unet2015.model import CELL, UNet
from unet2015.studies.em import run_part
from unet2015.studies.trained import TrainedNetwork, load, predict, train
from unet2015.training.checkpoint import WEIGHTS, Checkpoint, load_checkpoint, save_checkpoint


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Bright blobs on dark ground with noise, (2, 96, 96) float gray values, and where they are."""
    rng = np.random.default_rng(0)
    cells = ndimage.gaussian_filter(rng.normal(size=(2, 96, 96)), (0, 5, 5)) > 0.03
    gray = 40 + 150 * ndimage.gaussian_filter(cells.astype(float), (0, 1, 1))
    return np.clip(np.round(gray + rng.normal(0, 8, gray.shape)), 0, 255), cells


GRAY, CELLS = scene()
IMAGES = (100 + GRAY).astype(np.uint16)
SHIFTED = {
    "×8": (100 + 8 * GRAY).astype(np.uint16),
    "offset": (1000 + GRAY).astype(np.uint16),
    "1/12 in 8 bits": (GRAY / 12).astype(np.uint8),
    "8 bits": GRAY.astype(np.uint8),
    "16 bits": GRAY.astype(np.uint16) * 257,
    "float": (GRAY / 255).astype(np.float32),
}


def threshold_network(config: ExperimentConfig, threshold: float) -> dict[str, torch.Tensor]:
    """Weights of a U-Net that finds what is brighter than `threshold`: nothing is trained.

    The gray value goes through the upper level and the skip connection as it is; all else is 0.
    """
    tensors = {name: torch.zeros_like(t) for name, t in UNet(config.model).state_dict().items()}
    skip = config.model.width  # the copy stands behind or before what comes from below
    for name in ("contracting.0.0", "contracting.0.2", "expansive.0.2"):
        tensors[f"{name}.weight"][0, 0, 1, 1] = 1
    tensors["expansive.0.0.weight"][0, [0, skip], 1, 1] = 1
    tensors["score.weight"][CELL, 0] = 40
    tensors["score.bias"][CELL] = -40 * threshold
    return tensors


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on `IMAGES`, black 0 and white 400, whose network then became that of a threshold."""
    folder, config = tmp_path_factory.mktemp("shift") / "run", settings(steps=1)
    train(IMAGES, CELLS, folder, config, value_range=(0, 400), device="cpu", progress=False)
    tensors = threshold_network(config, threshold=(100 + 115) / 400)
    save_checkpoint(folder / WEIGHTS, replace(load_checkpoint(folder), model=tensors))
    return folder


@pytest.fixture
def network(run_folder: Path) -> TrainedNetwork:
    return load(run_folder, "cpu")


def overlap(probability: np.ndarray) -> float:
    return iou(CELLS, probability > 0.5)


def told(network: TrainedNetwork, images: np.ndarray) -> tuple[str, float]:
    """What is said of the images, and the overlap of what is predicted all the same."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found = overlap(predict(network, images))
        except ValueError as error:
            return str(error), 0.0
    return "\n".join(str(warning.message) for warning in said), found


def advised(text: str) -> tuple[float, float]:
    found = re.search(r"(?:--value-range|value_range) (\S+) ([^\s,]+)", text)
    assert found is not None, text
    return float(found[1]), float(found[2])


def test_its_own_images_are_predicted_without_a_word(network):
    said, found = told(network, IMAGES)
    assert said == ""
    assert found > 0.9


@pytest.mark.parametrize("images", SHIFTED.values(), ids=SHIFTED)
def test_the_range_that_is_recommended_finds_the_cells_again(network, images):
    said, found = told(network, images)
    assert found < 0.7
    expected = predict(network, IMAGES)
    probability = predict(network, images, value_range=advised(said))
    assert overlap(probability) > overlap(expected) - 0.03
    # the probabilities of a twelfth of the grays differ more, by its quantisation
    difference = np.abs(probability - expected).mean()
    assert difference < (0.05 if images.max() < 20 else 0.01)


def test_the_command_says_the_same_and_takes_the_range(run_folder, tmp_path, capsys):
    def command(images: np.ndarray, *options: object) -> tuple[int, str]:
        write_stack(tmp_path / "x.tif", images)
        where = ("--checkpoint", run_folder, "--output", tmp_path / "p.tif", "--device", "cpu")
        code = run("-m", "unet2015", "predict", tmp_path / "x.tif", *where, *options)
        return code, capsys.readouterr().err

    network = load(run_folder, "cpu")
    for name in ("×8", "8 bits"):
        images = SHIFTED[name]
        code, said = command(images)
        assert code == (2 if name == "8 bits" else 0)
        expected, _ = told(network, images)
        for line in expected.splitlines():
            prefix = "error" if code else "warning"
            line = line.removeprefix("images: ").replace(", value_range", ", --value-range")
            assert f"{prefix}: {tmp_path / 'x.tif'}: {line}\n" in said
        code, said = command(images, "--value-range", *advised(said))
        assert (code, "warning" in said) == (0, False)
        probability = read_stack(tmp_path / "p.tif")
        ours = predict(network, images, value_range=advised(expected))
        np.testing.assert_array_equal(probability, ours)
        assert overlap(probability) > 0.9
    hot = IMAGES.copy()
    hot[0, 3, 3] = 4200
    code, said = command(hot)
    assert (code, "warning" in said) == (0, False)
    assert f"note: {tmp_path / 'x.tif'}: 1 of 18432 pixels beyond the gray values 0 to 400" in said
    code, said = command(IMAGES, "--value-range", 400, 0)
    assert code == 2
    assert "--value-range 400 0: must be two finite numbers, LOW below HIGH" in said


def without_quantiles(found: Checkpoint) -> Checkpoint:
    """A checkpoint as earlier versions wrote it."""
    return replace(found, data={k: v for k, v in found.data.items() if k != "gray_quantiles"})


def test_a_checkpoint_without_quantiles_predicts_the_same_and_compares_nothing(
    run_folder, network, tmp_path
):
    save_checkpoint(tmp_path / WEIGHTS, without_quantiles(load_checkpoint(run_folder)))
    old = load(tmp_path, "cpu")
    np.testing.assert_array_equal(predict(old, IMAGES), predict(network, IMAGES))
    said, _ = told(old, IMAGES - np.uint16(100))  # within black and white
    assert said == ""


def test_a_run_that_began_without_quantiles_continues_and_keeps_them(tmp_path):
    config = settings()
    tiles = blob_tiles(config)
    before = {"images": "hash"}
    cut_off(3, config, tiles, tmp_path, data=before)
    quantiles = gray_quantiles(IMAGES)
    now = before | {"gray_quantiles": quantiles}
    assert quietly(config, tiles, tmp_path, data=now).data == now
    # the same where they are computed to another last bit
    last_bit = {"0": math.nextafter(quantiles["0"], math.inf)}
    other = before | {"gray_quantiles": quantiles | last_bit}
    assert quietly(config, tiles, tmp_path, data=other).step == 8
    with pytest.raises(ValueError, match="other data"):
        quietly(config, tiles, tmp_path, data=now | {"images": "another"})


def test_a_part_of_the_em_challenge_keeps_those_of_its_slices(tmp_path):
    stack = phantom_stack(seed=1, slices=3, size_px=64, test_slices=0)
    way = {"seed": 0, "device": "cpu", "name": "it", "progress": False}
    part = run_part(stack, [1], settings(steps=1), tmp_path, **way)
    assert part is not None
    kept = part.checkpoint.data["gray_quantiles"]
    assert (kept["0"], kept["100"]) == (
        stack.train_images[[0, 2]].min(),
        stack.train_images[[0, 2]].max(),
    )


def test_values_beyond_are_predicted_as_black_and_white(network):
    bright = IMAGES.copy()
    bright[0, :10] = 401
    with pytest.warns(UserWarning, match=r"images: 5\.\d % of the pixels are beyond") as said:
        found = predict(network, bright)
    assert said[0].filename == __file__
    np.testing.assert_array_equal(found, predict(network, np.minimum(bright, 400)))
