"""reproduce/cell_tracking.py from end to end: on tiny sets, and on the real ones if there."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.cell_tracking_set import ANNOTATED, FRAMES, go_offline, make_set
from tests.commands import ROOT, TINY, files_below, records_in, refusal, run
from tests.real_data import real_data
from unet2015.config import as_dict
from unet2015.data import cell_tracking
from unet2015.data.tiff import read_stack
from unet2015.studies import budget
from unet2015.training.checkpoint import WEIGHTS

SCRIPT = "reproduce/cell_tracking.py"
SETS = ("PhC-C2DH-U373", "DIC-C2DH-HeLa")
ONE = ("--datasets", "DIC-C2DH-HeLa", "--train-on", "01")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in SETS:
        make_set(folder / name)
    return folder


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    """No data but those given, and no way to the network."""
    go_offline(tmp_path, monkeypatch)


def run_tiny(folder: Path, data: Path | None, *arguments: object) -> int:
    places = ("--output", folder / "runs", "--results", folder / "results")
    where = () if data is None else ("--data", data)
    return run(SCRIPT, *places, *where, *TINY, "--instances.min-size-px", 0, *arguments)


def test_minutes_plan_the_same_steps_for_all_parts(tmp_path, data, monkeypatch):
    monkeypatch.setattr(budget, "seconds_per_step", lambda *given, **way: 1.0)
    assert run_tiny(tmp_path, data, "--minutes", 1.5) == 0
    found = records_in(tmp_path)
    assert len(found) == 4
    (steps,) = {record["training"]["steps"] for record in found}
    assert {record["plan"]["steps"] for record in found} == {steps}
    assert found[0]["plan"]["trainings"] == 4
    assert 4 < steps < 20


def test_one_command_runs_both_sets_in_both_directions(tmp_path, data, monkeypatch, capsys):
    monkeypatch.setenv("UNET2015_DATA", str(data))
    assert run_tiny(tmp_path, None) == 0
    found = records_in(tmp_path)
    parts = {(r["dataset"], r["train_sequence"], r["scored_sequence"]) for r in found}
    assert len(found) == 4
    assert parts == {(name, *way) for name in SETS for way in (("01", "02"), ("02", "01"))}
    for record in found:
        assert record["preset"] == "quick, changed"
        assert record["arm"] == "none"
        assert record["train_frames"] == record["scored_frames"] == list(ANNOTATED)
        assert record["training"]["steps"] == 4
        assert record["scores"]["cells"] == 11
        assert 0 <= record["scores"]["seg"] <= 1
        assert 0 <= record["scores"]["foreground_iou"] <= 1
        assert any(line.startswith("training.optimizer: adam") for line in record["deviations"])
        assert record["data_hashes"].keys() >= {"01 images", "02 ignore"}
    page = (tmp_path / "results" / "cell_tracking.md").read_text()
    for record in found:
        assert record["name"] in page
        assert f"{record['scores']['seg']:.4f}" in page
    assert str(tmp_path) not in page
    out = capsys.readouterr().out
    assert "DIC-C2DH-HeLa, trained on 02, scored on 01" in out
    for name in ("cells.png", "weight_map.png", "learning_curve.png", "history.csv", WEIGHTS):
        assert len(list((tmp_path / "runs").glob(f"*/{name}"))) == 4
    # no picture of the images leaves the runs' folders
    names = sorted(path.name for path in (tmp_path / "results").glob("[!.]*"))
    assert names == ["cell_tracking.md", "runs"]


def test_the_same_command_does_nothing_twice_and_what_is_missing_is_made(tmp_path, data, capsys):
    assert run_tiny(tmp_path, data, *ONE, "--all-frames") == 0
    (place,) = (tmp_path / "runs").glob("*/min0_core0.9/02_RES")
    assert str(place) in capsys.readouterr().out
    # all frames are written as the challenge takes them in
    names = sorted(path.name for path in place.iterdir())
    assert names == [f"mask{t:03}.tif" for t in range(FRAMES)]
    masks = np.stack([tifffile.imread(place / name) for name in names])
    assert masks.dtype == np.uint16
    scored = read_stack(place.parents[1] / "cells_min0_core0.9.tif")
    np.testing.assert_array_equal(masks[list(ANNOTATED)], scored)

    before, page = files_below(tmp_path), tmp_path / "results" / "cell_tracking.md"
    assert run_tiny(tmp_path, data, *ONE, "--all-frames") == 0
    assert "complete already" in capsys.readouterr().out
    after = files_below(tmp_path)
    assert after.keys() == before.keys()
    assert {path for path in before if before[path] != after[path]} == {page}
    assert page.read_bytes() == before[page][0]

    (weights,) = (tmp_path / "runs").glob(f"*/{WEIGHTS}")
    trained = weights.stat().st_mtime_ns
    for leftover in (weights.with_name("probability.tif"), *weights.parent.glob("record-*")):
        leftover.unlink()
    assert run_tiny(tmp_path, data, *ONE) == 0
    first, second = records_in(tmp_path)
    assert second["resumed"] is True
    assert first["scores"] == second["scores"]
    # other settings of the instances score the same network again
    assert run_tiny(tmp_path, data / ONE[1], *ONE, "--instances.min-size-px", 30) == 0
    assert weights.stat().st_mtime_ns == trained
    assert [record["instances"]["min_size_px"] for record in records_in(tmp_path)] == [0, 0, 30]
    assert sorted(p.name for p in weights.parent.glob("cells_*.tif")) == [
        "cells_min0_core0.9.tif",
        "cells_min30_core0.9.tif",
    ]


def test_held_out_frames_are_scored_with_the_settings_of_an_arm(tmp_path, data):
    arm = ("--arm", "cell_tracking_no_ridge", "--hold-out", 1)
    assert run_tiny(tmp_path, data, *ONE, *arm) == 0
    (record,) = records_in(tmp_path)
    assert record["hold_out"] == 1
    assert record["scored_sequence"] == record["train_sequence"] == "01"
    assert record["scored_frames"] == [4]
    assert record["arm"] == "cell_tracking_no_ridge"
    assert record["config"]["weight_map"]["separate_touching"] is False
    assert record["name"].startswith("cell_tracking_quick_no_ridge_DIC-C2DH-HeLa_train01_holdout1_")


@pytest.mark.parametrize(
    ("arm", "concern", "fields"),
    [
        ("no_border_weight", "weight_map", {"w0": 0}),
        ("no_elastic", "augmentation", {"elastic_sigma_px": 0}),
        ("cell_tracking_no_ridge", "weight_map", {"separate_touching": False}),
        (
            "cell_tracking_later_weights",
            "weight_map",
            {"w0": 50, "sigma_px": 6, "class_weights": "later_plugin", "border_term": "background"},
        ),
    ],
)
def test_an_arm_changes_its_fields_and_no_other(arm, concern, fields):
    settings_of = runpy.run_path(str(ROOT / SCRIPT))["settings_of"]
    for preset in ("quick", "paper"):
        base, changed = as_dict(settings_of(preset, "none")), as_dict(settings_of(preset, arm))
        assert changed != base
        base[concern] |= fields
        assert changed == base


def test_an_arm_that_changes_nothing_is_refused():
    settings_of = runpy.run_path(str(ROOT / SCRIPT))["settings_of"]
    assert settings_of("paper", "no_class_weight").weight_map.class_weights == "none"
    with pytest.raises(ValueError, match="--arm no_class_weight: changes nothing"):
        settings_of("quick", "no_class_weight")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--hold-out", 3), ["--hold-out 3", "0 … 2", "3 annotated frames"]),
        (("--all-frames", "--hold-out", 1), ["--all-frames", "--hold-out"]),
        (("--train-on", "01", "01"), ["--train-on 01 01", "each once"]),
        (("--device", "cuda:99"), ["--device cuda:99", "auto"]),
        (("--training.input-tile-px", 41), ["41", "40"]),
        (("--instances.border-px", 30), ["border_px = 30", "≤ 29"]),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, data, capsys, arguments, words):
    assert run_tiny(tmp_path, data, *ONE, *arguments) == 2
    message = refusal(capsys)
    for word in words:
        assert word in message
    assert records_in(tmp_path) == []
    assert not list(tmp_path.rglob("*.safetensors"))  # refused before training


@pytest.mark.parametrize(
    "arguments", [("--pressets", "quick"), ("--train-on", "03"), ("--arm", "no_ridge")]
)
def test_unknown_options_and_values_end_with_exit_code_2(tmp_path, data, capsys, arguments):
    assert run_tiny(tmp_path, data, *arguments) == 2
    captured = capsys.readouterr()
    assert str(arguments[0]).lstrip("-") in captured.out + captured.err
    assert not (tmp_path / "runs").exists()


def test_without_data_every_way_to_supply_them_is_named(tmp_path, capsys):
    assert run_tiny(tmp_path, None) == 2
    error = capsys.readouterr().err
    for words in ("PhC-C2DH-U373 was not found", "--data DIR", "UNET2015_DATA", "three ways"):
        assert words in error


def test_damaged_data_are_named_before_anything_is_trained(tmp_path, capsys):
    folder = make_set(tmp_path / "data" / "DIC-C2DH-HeLa")
    (folder / "01" / "t002.tif").unlink()
    assert run_tiny(tmp_path, tmp_path / "data", *ONE) == 2
    assert "is a mask of frame 2, but" in refusal(capsys)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_help_teaches(capsys):
    assert run(SCRIPT, "--help-all") == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for word in ("--hold-out", "--all-frames", "--training.learning-rate", "one of the two"):
        assert word in text
    assert "--instances.min-size-px" in text


def test_the_real_hela_cells_are_scored(tmp_path):
    name = SETS[1]
    folder = real_data(name, "01_GT").parents[1]
    assert run_tiny(tmp_path, folder, "--datasets", name, "--train-on", "02") == 0
    (record,) = records_in(tmp_path)
    assert (record["dataset"], record["scores"]["cells"]) == (name, 98)
    assert record["scores"]["label_seg"] > 0.99
    assert len(record["scored_frames"]) == 9
    hashes = cell_tracking.RELEASES[name].pixel_sha256
    assert record["data_hashes"]["01 images"] == hashes["01 images"]
