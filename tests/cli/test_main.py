"""python -m unet2015 train | predict | evaluate | weight-map on a user's own files."""

import json
import re
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label

from tests.commands import TINY, run
from unet2015.cli.main import COMMANDS, main
from unet2015.config import WeightMapConfig
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import read_stack, write_stack
from unet2015.inference.prediction import predict_stack
from unet2015.studies import budget
from unet2015.training.checkpoint import CURRENT, WEIGHTS, load_checkpoint, save_checkpoint
from unet2015.weight_map import border_weight_map

STACK = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)
CELLS = np.stack([label(plane, connectivity=1) for plane in STACK.train_labels]).astype(np.uint16)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with images and labels as users have them."""
    write_stack(tmp_path / "images.tif", STACK.train_images)
    write_stack(tmp_path / "labels.tif", STACK.train_labels * np.uint8(255))
    write_stack(tmp_path / "cells.tif", CELLS)
    return tmp_path


def train(folder: Path, *arguments: object, images: str = "images.tif", labels="labels.tif") -> int:
    where = ("--images", folder / images, "--labels", folder / labels, "--output", folder / "run")
    return run("-m", "unet2015", "train", *where, *TINY, *arguments)


def predict(folder: Path, image: str, *arguments: object) -> int:
    where = ("--checkpoint", folder / "run", "--output", folder / "probability.tif")
    return run("-m", "unet2015", "predict", folder / image, *where, *arguments)


def test_no_room_for_the_output_is_found_out_before_the_prediction(files, capsys, monkeypatch):
    assert train(files) == 0
    needed = 4 * STACK.train_images.size
    usage = shutil.disk_usage(files)._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    capsys.readouterr()
    assert predict(files, "images.tif") == 2
    captured = capsys.readouterr()
    assert "tile(s)" not in captured.out  # with them the memory is stated
    (line,) = captured.err.splitlines()
    assert line.startswith(f"error: --output {files / 'probability.tif'}: takes up to ")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    assert predict(files, "images.tif") == 0


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return captured.err.strip().splitlines()[-1]


def test_train_predict_evaluate(files, capsys):
    assert train(files) == 0
    assert predict(files, "images.tif") == 0
    probability = read_stack(files / "probability.tif")
    assert probability.dtype == np.float32
    checkpoint = load_checkpoint(files / "run")
    assert checkpoint.step == 4
    assert checkpoint.data["gray_scale"] == {"low": 0.0, "high": 255.0, "dtype": "uint8"}
    expected = predict_stack(
        checkpoint.network(),
        STACK.train_images / np.float32(255),
        checkpoint.config.prediction,
        progress=False,
    )
    np.testing.assert_array_equal(probability, np.stack(list(expected)))
    where = (files / "labels.tif", files / "probability.tif")
    pictures = ("--json", files / "scores.json", "--figure", files / "scores.png")
    assert run("-m", "unet2015", "evaluate", *where, *pictures) == 0
    assert "warping" in capsys.readouterr().out.lower()
    scores = json.loads((files / "scores.json").read_text())
    assert {"value", "threshold", "curve"} <= scores["rand_error"].keys()
    assert (files / "scores.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("stack", "arguments", "low", "high"),
    [
        (STACK.train_images.astype(np.uint16) * 16, ("--value-range", 0, 4095), 0, 4095),
        (STACK.train_images / np.float32(255), (), 0, 1),
        (STACK.train_images.astype(np.float32) - 100, ("--value-range", -100, 155), -100, 155),
    ],
    ids=["uint16", "float", "float with a range"],
)
def test_the_gray_scale_is_kept_for_prediction(files, stack, arguments, low, high):
    write_stack(files / "images.tif", stack)
    assert train(files, *arguments) == 0
    scale = load_checkpoint(files / "run").data["gray_scale"]
    assert (scale["low"], scale["high"]) == (low, high)
    assert predict(files, "images.tif") == 0
    values = read_stack(files / "probability.tif")
    assert 0 <= values.min() < values.max() <= 1


def test_a_12_bit_stack_without_a_range_is_warned_about(files, capsys):
    write_stack(files / "images.tif", STACK.train_images.astype(np.uint16) * 16)
    assert train(files) == 0
    assert f"warning: {files / 'images.tif'} has gray values" in (said := capsys.readouterr().err)
    assert "--value-range 0 4095 would fit" in said


def test_minutes_plan_a_training_which_keeps_its_steps(files, monkeypatch, capsys):
    monkeypatch.setattr(budget, "seconds_per_step", lambda *given, **way: 5.0)
    assert train(files, "--minutes", 1) == 0
    steps = load_checkpoint(files / "run").step
    assert 5 < steps <= 12
    assert f"planned for 1 minutes: {steps} steps of 5 s" in capsys.readouterr().out
    weights = (files / "run" / WEIGHTS).stat().st_mtime_ns
    assert train(files, "--minutes", 1) == 0
    assert "planned before" in capsys.readouterr().out
    assert (files / "run" / WEIGHTS).stat().st_mtime_ns == weights
    assert train(files, "--minutes", -1) == 2
    assert "--minutes -1" in last_error(capsys)


def test_instances_are_trained_with_a_ridge_between_touching_cells(files):
    assert train(files, "--label-kind", "instances", labels="cells.tif") == 0
    assert (files / "run" / WEIGHTS).exists()


def test_the_same_command_continues_and_another_setting_is_refused(files, capsys):
    assert train(files) == 0
    assert train(files) == 0
    assert train(files, "--training.learning-rate", 0.5) == 2
    message = last_error(capsys)
    assert "training.learning_rate: 0.5" in message
    assert "--output" in message


@pytest.mark.parametrize("kind", ["binary", "instances"])
def test_weight_map_writes_eq_2(files, kind):
    name = "labels.tif" if kind == "binary" else "cells.tif"
    where = (files / name, "--output", files / "weights.tif", "--figure", files / "weights.png")
    options = ("--label-kind", kind, "--w0", 7, "--class-weights", "none")
    assert run("-m", "unet2015", "weight-map", *where, *options, "--no-separate-touching") == 0
    config = WeightMapConfig(w0=7, class_weights="none", separate_touching=False)
    expected = [border_weight_map(plane, config) for plane in CELLS]
    np.testing.assert_allclose(read_stack(files / "weights.tif"), expected, atol=1e-6)
    assert (files / "weights.png").read_bytes().startswith(b"\x89PNG")


def test_bad_files_are_named_with_exit_code_2(files, capsys):
    (files / "torn.tif").write_bytes((files / "images.tif").read_bytes()[:900])
    write_stack(files / "small.tif", STACK.train_labels[:, :32])
    write_stack(files / "one-class.tif", np.zeros_like(STACK.train_labels))
    for images, labels, words in (
        ("missing.tif", "labels.tif", ["missing.tif", "no such file"]),
        ("torn.tif", "labels.tif", ["torn.tif", "truncated or damaged"]),
        ("images.tif", "small.tif", ["small.tif", "32"]),
        ("images.tif", "one-class.tif", ["one-class.tif", "both classes"]),
        ("images.tif", "cells.tif", ["cells.tif", "binary"]),
    ):
        assert train(files, images=images, labels=labels) == 2
        message = last_error(capsys)
        assert message.startswith("error: ")
        for word in words:
            assert word in message
    assert not (files / "run").exists()


def test_predict_refuses_what_it_cannot_use(files, capsys):
    assert predict(files, "images.tif") == 2
    assert "run" in last_error(capsys)
    assert train(files) == 0
    write_stack(files / "wide.tif", STACK.train_images.astype(np.uint16))
    assert predict(files, "wide.tif") == 2
    message = last_error(capsys)
    assert "wide.tif" in message
    assert "uint8" in message
    weights = files / "run" / WEIGHTS
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    assert predict(files, "images.tif") == 2
    assert "damaged" in last_error(capsys)
    assert not (files / "probability.tif").exists()


def test_other_data_in_an_old_folder_are_refused(files, capsys):
    assert train(files) == 0
    write_stack(files / "inverted.tif", 255 - STACK.train_images)
    assert train(files, images="inverted.tif") == 2
    assert "other data" in last_error(capsys)
    assert train(files, "--label-kind", "instances") == 2
    assert "other data" in last_error(capsys)


def test_no_output_replaces_an_input_or_another_output(files, capsys):
    assert train(files) == 0
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    images, labels, weights = files / "images.tif", files / "labels.tif", files / "w.tif"
    checkpoint = files / "run" / WEIGHTS
    for arguments in (
        ("predict", images, "--checkpoint", files / "run", "--output", images),
        ("predict", images, "--checkpoint", checkpoint, "--output", checkpoint),
        ("weight-map", labels, "--output", labels),
        ("weight-map", labels, "--output", weights, "--figure", weights),
        ("evaluate", labels, images, "--json", labels),
        ("predict", images, "--checkpoint", files / "run", "--output", checkpoint),
    ):
        assert run("-m", "unet2015", *arguments) == 2
        assert "give another path" in last_error(capsys)
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


def test_colour_networks_need_colour_images(files, capsys):
    assert train(files, "--model.in-channels", 3) == 2
    assert "model.in_channels = 3" in last_error(capsys)
    assert not (files / "run").exists()


def test_the_memory_is_stated_and_bounded(files, capsys):
    assert train(files) == 0
    capsys.readouterr()
    assert predict(files, "images.tif") == 0
    assert "\n1 tile(s) of 80 × 80 px an image, about " in capsys.readouterr().out
    assert predict(files, "images.tif", "--largest-input-tile-px", 40) == 0
    tiles, side = re.findall(r"(\d+) tile\(s\) of (\d+) ×", capsys.readouterr().out)[0]
    assert int(tiles) > 1
    assert int(side) <= 40
    assert predict(files, "images.tif", "--largest-input-tile-px", 3) == 2
    assert "largest_input_tile_px = 3" in last_error(capsys)


def test_the_weights_of_an_unfinished_run_are_said_to_be(files, capsys):
    assert train(files) == 0
    capsys.readouterr()
    assert predict(files, "images.tif") == 0
    assert "note:" not in capsys.readouterr().err
    found = load_checkpoint(files / "run")
    (files / "run" / WEIGHTS).unlink()
    save_checkpoint(files / "run" / CURRENT, replace(found, step=3))
    for path, words in (("run", f"the run in {files / 'run'} is"), (f"run/{CURRENT}", "is of a")):
        where = ("--checkpoint", files / path, "--output", files / "probability.tif")
        assert run("-m", "unet2015", "predict", files / "images.tif", *where) == 0
        error = capsys.readouterr().err
        assert words in error
        assert "at step 3 of 4" in error


@pytest.mark.parametrize("name", ["x.png", "x.py", "x"])
def test_stacks_are_written_under_the_name_of_a_tiff(files, capsys, name):
    for command in (
        ("predict", files / "images.tif", "--checkpoint", files / "run"),
        ("weight-map", files / "labels.tif"),
    ):
        assert run("-m", "unet2015", *command, "--output", files / name) == 2
        assert f"{files / 'x.tif'}, say" in last_error(capsys)
    assert not (files / name).exists()


@pytest.mark.parametrize("command", ["predict", "weight-map", "evaluate"])
def test_an_output_that_is_a_folder_is_refused_at_once(files, capsys, command):
    arguments = {
        "predict": ("images.tif", "--checkpoint", files / "run", "--output", files),
        "weight-map": ("labels.tif", "--output", files),
        "evaluate": ("labels.tif", files / "images.tif", "--json", files),
    }[command]
    assert run("-m", "unet2015", command, files / arguments[0], *arguments[1:]) == 2
    assert "is a folder" in last_error(capsys)


def test_the_command_unet2015_is_the_same_as_the_module(capsys):
    (entry,) = metadata.entry_points(group="console_scripts", name="unet2015")
    assert entry.load() is main
    assert run("-m", "unet2015", "--help") == 0
    said = capsys.readouterr().out
    assert all(f" {name} " in said for name in COMMANDS)
