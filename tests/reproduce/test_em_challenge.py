"""reproduce/em_challenge.py from end to end: on a small phantom, and on the real stack if there."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import ROOT, TINY, files_below, records_in, refusal, run
from tests.real_data import real_data
from unet2015 import experiments
from unet2015.config import ExperimentConfig, ModelConfig, PredictionConfig, TrainingConfig
from unet2015.data import isbi2012, phantom
from unet2015.data.tiff import read_stack, write_stack
from unet2015.studies import budget, em
from unet2015.studies.run_folder import train_once
from unet2015.training.checkpoint import WEIGHTS, load_checkpoint
from unet2015.training.stopping import TrainingStopped

SCRIPT = "reproduce/em_challenge.py"
TINY_SETTINGS = ExperimentConfig(
    model=ModelConfig(width=2, depth=1),
    training=TrainingConfig(input_tile_px=40, steps=4, warmup_steps=2),
    prediction=PredictionConfig(averaging="none"),
)
SMALL = phantom.phantom_stack(seed=0, slices=10, size_px=64, test_slices=2)


@pytest.fixture(autouse=True)
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phantom with ten sections of 64 px; no data and no download."""
    monkeypatch.setattr(phantom, "phantom_stack", lambda seed: SMALL)
    monkeypatch.delenv("UNET2015_DATA", raising=False)

    def nothing(*_: object, **__: object) -> None:
        raise FileNotFoundError("ISBI 2012 EM stack not found; supply it in one of three ways")

    monkeypatch.setattr(isbi2012, "load_isbi2012", nothing)


def run_tiny(folder: Path, *arguments: object) -> int:
    places = ("--output", folder / "runs", "--results", folder / "results")
    return run(SCRIPT, *places, *TINY, *arguments)


def test_one_command_trains_predicts_scores_and_tabulates(tmp_path, capsys):
    readme = "<!-- results:em_challenge -->\nof the repository\n<!-- /results -->\n"
    (tmp_path / "README.md").write_text(readme)
    assert run_tiny(tmp_path) == 0
    assert (tmp_path / "README.md").read_text() == readme
    out = capsys.readouterr().out
    assert "\n| ours, `quick, changed` (" in out
    assert "PHANTOM" in out
    assert "NOT the ISBI 2012 EM stack" in out
    (record,) = records_in(tmp_path)
    assert record["dataset"] == "phantom"
    assert record["preset"] == "quick, changed"
    assert record["pooled_slices"] == [8, 9]
    assert list(record["folds"]) == ["4"]
    assert record["folds"]["4"]["training"]["steps"] == 4
    assert any(line.startswith("training.optimizer: adam") for line in record["deviations"])
    for metric in ("pixel_error", "rand_error", "warping_error", "v_rand_thinned"):
        assert 0 <= record["pooled"][metric]["value"] <= 1
    assert record["pooled"]["dice_of_classes"] == record["folds"]["4"]["scores"]["dice_of_classes"]
    assert record["resumed"] is False
    (fold,) = (tmp_path / "runs").glob("*/fold4")
    probability = read_stack(fold / "probability.tif")
    assert probability.shape == (2, 64, 64)
    assert probability.dtype == np.float32
    for name in ("panel.png", "overlap_tile.png", "learning_curve.png", "history.csv", WEIGHTS):
        assert (fold / name).stat().st_size > 0
    page = (tmp_path / "results" / "em_challenge_phantom.md").read_text()
    for metric in ("rand_error", "dice_of_classes"):
        assert f"{record['pooled'][metric]['value']:.4f}" in page
    # the page of the real stack gets no figure of a phantom, and results/ no picture of it
    assert "quick, changed" not in (tmp_path / "results" / "em_challenge.md").read_text()
    assert not (tmp_path / "results" / "figures").exists()


def test_several_folds_are_pooled_and_submit_scores_the_test_volume(tmp_path):
    assert run_tiny(tmp_path, "--folds", 3, 0, "--submit") == 0
    (record,) = records_in(tmp_path)
    assert list(record["folds"]) == ["0", "3"]
    assert record["pooled_slices"] == [0, 1, 6, 7]
    assert record["folds"]["0"]["trained_on"] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert record["test_volume"]["trained_on"] == list(range(10))
    assert 0 <= record["test_volume"]["scores"]["rand_error"]["value"] <= 1
    (submitted,) = (tmp_path / "runs").glob("*/all/probability.tif")
    assert read_stack(submitted).shape == (2, 64, 64)


def test_the_test_volume_can_be_predicted_alone(tmp_path, capsys):
    assert run_tiny(tmp_path, "--folds", "--submit") == 0
    (record,) = records_in(tmp_path)
    assert (record["folds"], record["pooled"]) == ({}, None)
    assert record["test_volume"]["trained_on"] == list(range(10))
    page = (tmp_path / "results" / "em_challenge_phantom.md").read_text()
    assert f"{record['test_volume']['scores']['rand_error']['value']:.4f}" in page
    assert run_tiny(tmp_path, "--folds") == 2
    assert "--folds (none given)" in capsys.readouterr().err


def steps_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "seconds_per_step", lambda *given, **way: 1.0)


def test_minutes_plan_the_steps_of_all_parts_and_a_run_that_was_cut_off_keeps_them(
    tmp_path, monkeypatch, capsys
):
    steps_of_a_second(monkeypatch)
    command = ("--folds", 0, 4, "--submit", "--minutes", 1.5)

    def stop(step: int) -> None:
        if step == 5:
            raise TrainingStopped("the lease is over")

    def stopped(*given: Any, **options: Any):
        return train_once(*given, **options, on_step=stop)

    monkeypatch.setattr(em, "train_once", stopped)
    assert run_tiny(tmp_path, *command) == 1
    planned = re.search(
        r"planned for 1\.5 minutes: (\d+) steps of 1 s in each of 3", capsys.readouterr().out
    )
    assert planned is not None
    steps = int(planned[1])
    assert 5 < steps < 25  # 86.4 s, less what was measured and kept back for three parts
    monkeypatch.setattr(em, "train_once", train_once)
    monkeypatch.setattr(budget, "seconds_per_step", None)  # measured once
    assert run_tiny(tmp_path, *command) == 0
    (record,) = records_in(tmp_path)
    assert record["config"]["training"]["steps"] == record["plan"]["steps"] == steps
    assert {part["training"]["steps"] for part in record["folds"].values()} == {steps}
    assert record["test_volume"]["training"]["steps"] == steps
    page = (tmp_path / "results" / "em_challenge_phantom.md").read_text()
    assert f"planned for 1.5 minutes: {steps} steps of 1 s in each of 3 training(s)" in page
    assert run_tiny(tmp_path, *command) == 0
    assert "complete already" in capsys.readouterr().out


def test_too_few_minutes_are_refused_with_the_least_that_works(tmp_path, monkeypatch, capsys):
    steps_of_a_second(monkeypatch)
    assert run_tiny(tmp_path, "--minutes", 0.05) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    least = re.search(r"too little for 1 training\(s\).* works here is --minutes ([\d.]+),", error)
    assert least is not None
    assert run_tiny(tmp_path, "--minutes", float(least[1]) + 0.05) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--minutes", 0), ["--minutes 0", "> 0"]),
        (("--training.precision", "tf32"), ["'tf32' on device cpu", "'float32'"]),
        (("--preset", "paper"), ["ISBI 2012 EM stack not found", "three ways"]),
        (("--preset", "paper", "--phantom"), ["--phantom", "real stack only", "quick"]),
        (("--folds", 7), ["--folds 7", "0 … 4"]),
        (("--folds", 1, 1), ["--folds 1 1", "different numbers"]),
        (("--device", "cuda:99"), ["--device cuda:99", "auto"]),
        (("--training.input-tile-px", 41), ["41", "40"]),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, capsys, arguments, words):
    assert run_tiny(tmp_path, *arguments) == 2
    message = refusal(capsys)
    for word in words:
        assert word in message
    assert records_in(tmp_path) == []


@pytest.mark.parametrize(
    "arguments", [("--presett", "quick"), ("--preset", "fast"), ("--model.width", 0)]
)
def test_unknown_options_and_values_end_with_exit_code_2(tmp_path, capsys, arguments):
    assert run_tiny(tmp_path, *arguments) == 2
    captured = capsys.readouterr()
    assert str(arguments[0]).lstrip("-").split(".")[-1] in captured.out + captured.err
    assert not (tmp_path / "runs").exists()


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "runs").write_text("a file where the folder should be")
    assert run_tiny(tmp_path) == 2
    assert "--output" in capsys.readouterr().err
    assert (tmp_path / "runs").read_text() == "a file where the folder should be"


def test_the_same_command_makes_what_is_gone_or_damaged_and_does_nothing_twice(tmp_path, capsys):
    assert run_tiny(tmp_path) == 0
    before = {path: content for path, (content, _) in files_below(tmp_path).items()}
    capsys.readouterr()
    assert run_tiny(tmp_path) == 0
    assert "complete already" in capsys.readouterr().out
    assert {path: content for path, (content, _) in files_below(tmp_path).items()} == before

    (fold,) = (tmp_path / "runs").glob("*/fold4")
    probability, history = read_stack(fold / "probability.tif"), before[fold / "history.csv"]
    weights, trained = load_checkpoint(fold / WEIGHTS), (fold / WEIGHTS).stat().st_mtime_ns
    for name, content in (
        ("probability.tif", None),  # cut off before prediction
        ("probability.tif", b"II*\0"),
        ("prediction.json", b"{"),
        ("prediction.json", b'{"weights": "of another network", "seconds": 1}'),
        ("history.csv", None),
    ):
        for mark in fold.parent.glob("record-*"):
            mark.unlink()
        if name == "prediction.json":  # a prediction that this network did not make
            write_stack(fold / "probability.tif", np.zeros_like(probability))
        (fold / name).unlink() if content is None else (fold / name).write_bytes(content)
        assert run_tiny(tmp_path) == 0
        assert (fold / WEIGHTS).stat().st_mtime_ns == trained  # not trained again
        np.testing.assert_array_equal(read_stack(fold / "probability.tif"), probability)
        assert (fold / "history.csv").read_bytes() == history
    first, *others = records_in(tmp_path)
    assert len(others) == 5
    assert all(other["resumed"] and other["pooled"] == first["pooled"] for other in others)

    for mark in fold.parent.glob("record-*"):
        mark.unlink()
    (fold / WEIGHTS).write_bytes((fold / WEIGHTS).read_bytes()[:-9])
    capsys.readouterr()
    assert run_tiny(tmp_path) == 0
    assert "damaged" in capsys.readouterr().err
    # not the bytes: safetensors writes its two metadata in either order
    assert load_checkpoint(fold / WEIGHTS).weights_sha256() == weights.weights_sha256()


def test_pictures_are_published_only_of_what_the_preset_stands_for(tmp_path, monkeypatch):
    monkeypatch.setattr(
        isbi2012, "load_isbi2012", lambda directory: replace(SMALL, name="isbi2012")
    )
    monkeypatch.setattr(experiments, "load", lambda name: TINY_SETTINGS)

    def pictures(*options: object) -> list[Path]:
        folder = tmp_path / str(options[1])  # runs of one second would be equally new
        places = ("--output", folder / "runs", "--results", folder / "results")
        assert run(SCRIPT, *places, *options) == 0
        return list(folder.glob("results/figures/*"))

    assert pictures("--folds", 0) == pictures("--seed", 1) == []
    assert {path.name for path in pictures("--folds", 4)} == {
        f"em_challenge_quick_{name}.png" for name in ("panel", "overlap_tile", "learning_curve")
    }


def test_the_help_teaches(capsys):
    assert run(SCRIPT, "--help-all") == 0
    text = capsys.readouterr().out
    for word in ("--preset", "--submit", "--training.learning-rate", "five contiguous folds"):
        assert word in re.sub(r"\s+", " ", text)


def test_the_real_stack_in_a_process_of_its_own(tmp_path):
    places = ["--output", tmp_path / "runs", "--results", tmp_path / "results"]
    command = [sys.executable, SCRIPT, *places, *TINY, "--data", real_data("isbi2012")]
    ended = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "PHANTOM" not in ended.stdout
    (record,) = records_in(tmp_path)
    assert record["dataset"] == "isbi2012"
    assert record["pooled_slices"] == list(range(24, 30))
    assert record["data_hashes"]["train-volume.tif"].startswith("200da3d4")
    # changed settings: no picture in the place of the preset's own
    assert not (tmp_path / "results" / "figures").exists()
