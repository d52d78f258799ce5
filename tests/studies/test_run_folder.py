"""Prediction once in a run's folder, one slice at a time, and what there is not to be replaced."""

from pathlib import Path

import numpy as np
import pytest

from tests.tiny import blob_tiles, quietly, settings
from unet2015.data.gray_scale import GrayScale
from unet2015.data.tiff import read_stack, write_stack
from unet2015.inference.prediction import predict_stack
from unet2015.studies.run_folder import ABOUT, PROBABILITY, predict_once, refuse_kept
from unet2015.training.checkpoint import WEIGHTS, Checkpoint

STACK = np.random.default_rng(0).integers(0, 256, (3, 30, 41), np.uint8)


@pytest.fixture
def trained(tmp_path: Path) -> Checkpoint:
    """A run in the folder 'run'."""
    config = settings(steps=2)
    scale = GrayScale(20.0, 200.0, "uint8", clip=True)
    data = {"gray_scale": scale.as_dict()}
    return quietly(config, blob_tiles(config), tmp_path / "run", data=data)


def test_slice_by_slice_is_the_whole_stack_at_once(trained, tmp_path, capsys):
    found, _ = predict_once(trained, STACK, tmp_path / "run", device="cpu", name="it")
    assert capsys.readouterr().out.startswith("1 tile(s) of ")
    images = np.clip(STACK, 20, 200).astype(np.float64)
    images = ((images - 20) / 180).astype(np.float32)
    network = trained.network()
    slices = predict_stack(network, images, trained.config.prediction, progress=False)
    np.testing.assert_array_equal(found, np.stack(list(slices)))
    again, _ = predict_once(trained, STACK, tmp_path / "run", device="cpu", name="it")
    np.testing.assert_array_equal(again, found)
    assert "memory" not in capsys.readouterr().out


@pytest.mark.parametrize("file", [PROBABILITY, ABOUT])
def test_a_prediction_that_somebody_has_changed_is_made_again(trained, tmp_path, capsys, file):
    run = tmp_path / "run"
    found, _ = predict_once(trained, STACK, run, device="cpu", name="it")
    if file == PROBABILITY:  # well-formed, and another
        write_stack(run / PROBABILITY, 1 - found)
    else:
        (run / ABOUT).write_text((run / ABOUT).read_text().replace("a", "b"))
    capsys.readouterr()
    again, _ = predict_once(trained, STACK, run, device="cpu", name="it")
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(read_stack(run / PROBABILITY), found)
    told = f"{run / PROBABILITY}: was changed since it was predicted"
    assert (told in capsys.readouterr().err) == (file == PROBABILITY)


def test_gray_values_out_of_range_are_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="made for uint8"):
        predict_once(trained, STACK / 255, tmp_path / "run", device="cpu", name="it")
    assert not (tmp_path / "run" / PROBABILITY).exists()


@pytest.mark.parametrize(
    "name", [WEIGHTS, "Weights.safetensors", "my.safetensors", "history.csv", ABOUT, PROBABILITY]
)
def test_no_output_replaces_what_the_run_keeps(tmp_path, name):
    run = tmp_path / "run"
    run.mkdir()
    for file in (WEIGHTS, ABOUT):
        (run / file).touch()
    (tmp_path / "link.tif").symlink_to(run / name)
    (run / "link.tif").symlink_to(run / name)
    for checkpoint in (run, run / WEIGHTS):
        for output in (run / name, run / ".." / "run" / name):
            with pytest.raises(ValueError, match=r"--output .*give another path, .*-of-other\.tif"):
                refuse_kept("--output", output, checkpoint)
        # a link is replaced itself, and what it points to stays
        for output in (tmp_path / "link.tif", run / "link.tif", tmp_path / name):
            refuse_kept("--output", output, checkpoint)


def test_other_names_in_the_folder_are_free(tmp_path):
    (tmp_path / WEIGHTS).touch()
    # nobody else has made a probability there
    for name in ("probability-of-other.tif", PROBABILITY, "weights.tif"):
        refuse_kept("--output", tmp_path / name, tmp_path)
