"""reproduce/reimplementations.py from end to end, with tiny networks on tiny sets."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from unet2015.experiments.reimplementations import go_logo, lgg_mri

from tests.commands import files_below, records_in, refusal, run
from tests.offline import refused
from tests.studies.reimplementation_sets import PATIENTS, make_lgg
from tests.tiny import ALWAYS
from unet2015.data import go_logo as go_logo_set
from unet2015.data import isbi2012, pairs, penn_fudan
from unet2015.studies import budget, reimplementation
from unet2015.studies.reimplementation import Arm, System
from unet2015.studies.run_folder import train_once
from unet2015.training.checkpoint import WEIGHTS
from unet2015.training.loop import TrainingStopped

SCRIPT = "reproduce/reimplementations.py"


def tiny(module, **prepare: object) -> System:
    """The system with networks of width 2 and one epoch; its own defects and data."""

    def small(arm: Arm) -> Arm:
        config = replace(
            arm.config,
            model=replace(arm.config.model, width=2),
            training=replace(arm.config.training, batch_size=4),
        )
        return replace(arm, config=config, epochs=1, prepare=partial(arm.prepare, **prepare))

    arms: Callable[[str], tuple[Arm, ...]] = module.arms
    return replace(module.SYSTEM, arms=lambda preset: tuple(map(small, arms(preset))))


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch) -> None:
    """Small images, no data but those given, and no way to the network."""
    monkeypatch.delenv("UNET2015_DATA", raising=False)
    for module in (pairs, isbi2012):
        monkeypatch.setattr(module, "cache_folder", lambda name: tmp_path / "cache" / name)
    for module in (penn_fudan, isbi2012):
        monkeypatch.setattr(module, "fetch", refused)
    monkeypatch.setattr(go_logo_set, "IMAGE_PX", 204)  # 20 px out
    monkeypatch.setattr(go_logo, "SYSTEM", tiny(go_logo, count=8))
    monkeypatch.setattr(lgg_mri, "SIDE", 32)
    monkeypatch.setattr(lgg_mri, "SYSTEM", tiny(lgg_mri))


def run_tiny(folder: Path, *arguments: object) -> int:
    places = ("--output", folder / "runs", "--results", folder / "results")
    return run(SCRIPT, *arguments, *places)


def records(folder: Path) -> dict[str, dict]:
    found = records_in(folder)
    assert len({record["arm"] for record in found}) == len(found)
    return {record["arm"]: record for record in found}


def test_the_logo_needs_no_data_and_is_not_run_twice(tmp_path, capsys):
    assert run_tiny(tmp_path, "go_logo") == 0
    found = records(tmp_path)
    assert found.keys() == {"published", "mended"}
    for arm, record in found.items():
        assert record["experiment"] == "reimplementation"
        assert record["system"] == "go_logo"
        assert record["preset"] == "quick"
        assert record["defects"] == ([go_logo.SHRUNK] if arm == "published" else [])
        assert record["training"]["steps"] == record["config"]["training"]["steps"] == 2
        assert record["source"].startswith("drawn glyph")
        assert record["counts"]["trained on"] == "8 synthetic images"
        assert 0 <= record["metrics"]["honest"]["IoU"] <= 1
        assert 0 <= record["metrics"]["theirs"]["IoU with the training labels"] <= 1
        assert "50 images, 10 epochs" in record["deviations"]
        assert record["command"].startswith(f"python {SCRIPT} go_logo")
    page = (tmp_path / "results" / "reimplementations.md").read_text()
    for record in found.values():
        assert record["name"] in page
        assert f"{record['metrics']['honest']['IoU']:.4f}" in page
    assert str(tmp_path) not in page
    assert f"Preset `quick`: not run (`python {SCRIPT} --preset quick lgg_mri`)." in page
    assert len(list((tmp_path / "runs").glob(f"*/{WEIGHTS}"))) == 2
    # no picture, and nothing else than the page and the records
    names = sorted(path.name for path in (tmp_path / "results").glob("[!.]*"))
    assert names == ["reimplementations.md", "runs"]

    before = files_below(tmp_path)
    capsys.readouterr()
    assert run_tiny(tmp_path, "go_logo") == 0
    assert capsys.readouterr().out.count("complete already") == 2
    after = files_below(tmp_path)
    written = tmp_path / "results" / "reimplementations.md"
    assert {p for p in after if after[p] != before.get(p)} <= {written}
    assert after.keys() == before.keys()
    assert written.read_text() == page


@pytest.mark.parametrize("own_folder", [False, True])
def test_a_set_in_the_folder_of_sets_or_by_its_own_folder(tmp_path, own_folder):
    folder = make_lgg(tmp_path / "data" / "LGG-kaggle_3m")
    given = folder if own_folder else folder.parent
    assert run_tiny(tmp_path, "lgg_mri", "--data", given, "--arms", "published") == 0
    (record,) = records(tmp_path).values()
    assert record["defects"] == [lgg_mri.MISPAIRED, lgg_mri.LEAK, lgg_mri.TWICE]
    assert "36 of 3929 pairs, 3 of 110 patients" in record["source"]
    assert record["counts"]["scored"] == "12 slices of 1 patients"
    assert record["counts"]["trained on"] == "20 slices"
    assert record["data_hashes"].keys() == {"images", "masks"}
    assert record["metrics"]["theirs"].keys() == {"IoU pooled", "Dice pooled"}
    assert not any(patient in json.dumps(record) for patient in PATIENTS)
    page = (tmp_path / "results" / "reimplementations.md").read_text()
    assert re.search(r"\| `mended` \| none \| not run \| not run \| not run \|", page)
    assert str(tmp_path) not in page + json.dumps(record)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, capsys, monkeypatch):
    data = make_lgg(tmp_path / "data" / "LGG-kaggle_3m").parent
    command = ("lgg_mri", "--data", data, "--arms", "mended")
    assert run_tiny(tmp_path / "whole", *command) == 0

    def stop(step: int) -> None:
        if step == 3:
            raise TrainingStopped("the power is going; run the same command again")

    def stopped(*arguments, **options):
        options |= {"checkpoint_every_s": ALWAYS}
        return train_once(*arguments, **options, on_step=stop)

    monkeypatch.setattr(reimplementation, "train_once", stopped)
    assert run_tiny(tmp_path / "cut", *command) == 1
    assert "the power is going" in capsys.readouterr().err
    assert records(tmp_path / "cut") == {}
    assert not list((tmp_path / "cut").rglob(WEIGHTS))
    monkeypatch.setattr(reimplementation, "train_once", train_once)
    assert run_tiny(tmp_path / "cut", *command) == 0
    whole, cut = (records(tmp_path / part)["mended"] for part in ("whole", "cut"))
    assert whole["training"]["steps"] == 5
    assert cut["metrics"] == whole["metrics"]
    assert cut["training"]["final_loss"] == whole["training"]["final_loss"]


def test_minutes_shorten_every_arm_by_the_same_share(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "seconds_per_step", lambda *given, **way: 100.0)
    assert run_tiny(tmp_path, "go_logo", "--minutes", 5) == 0
    found = records(tmp_path)
    assert found.keys() == {"published", "mended"}
    share = found["mended"]["plan"]["share"]
    assert 0 < share < 1
    page = (tmp_path / "results" / "reimplementations.md").read_text()
    for name, record in found.items():
        assert record["plan"]["share"] == share
        assert record["epochs"] == share  # of one epoch
        assert f"{name}: {share:g} of 1 epochs" in page
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "results" / "runs").iterdir()}
    assert run_tiny(tmp_path, "go_logo", "--minutes", 5) == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "results" / "runs").iterdir()} == again


def test_another_seed_is_another_run_and_one_without_its_record_is_judged_again(tmp_path):
    for seed in (0, 1):
        assert run_tiny(tmp_path, "go_logo", "--arms", "mended", "--seed", seed) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2
    first, second = records_in(tmp_path)
    assert (first["seed"], second["seed"]) == (0, 1)
    trained = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob(f"*/{WEIGHTS}")}
    for record in (tmp_path / "results" / "runs").glob("*_seed0_*.json"):
        record.unlink()
    assert run_tiny(tmp_path, "go_logo", "--arms", "mended") == 0
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    again, _ = records_in(tmp_path)
    assert again["metrics"] == first["metrics"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nucleus",), ["'nucleus' is unknown", "nuclei"]),
        (("go_logo", "--arms", "mendet"), ["--arms mendet", "unknown", "mended"]),
        # an arm of another experiment than those named
        (("go_logo", "--arms", "layer_norm"), ["--arms layer_norm", "unknown"]),
        (("go_logo", "--device", "cuda:99"), ["--device cuda:99", "auto"]),
        (("go_logo", "--seed", -1), ["--seed -1", "≥ 0"]),
        (("go_logo", "--workers", -1), ["--workers -1", "≥ 0"]),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, capsys, arguments, words):
    assert run_tiny(tmp_path, *arguments) == 2
    error = refusal(capsys)
    for word in words:
        assert word in error
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "results").exists()


def test_unknown_options_end_with_exit_code_2(tmp_path, capsys):
    assert run_tiny(tmp_path, "go_logo", "--pressets", "quick") == 2
    assert "pressets" in capsys.readouterr().err


def test_without_data_one_message_says_how_to_get_each_set_and_what_runs_without(tmp_path, capsys):
    assert run_tiny(tmp_path) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert "Traceback" not in error
    for words in (
        "the set carvana was not found",
        "the set LGG-kaggle_3m was not found",
        "the set dsb2018 was not found",
        "the set PennFudanPed was not found",
        "ISBI 2012",
        "kaggle datasets download -d mateuszbuda/lgg-mri-segmentation",
        "--data DIR",
        "UNET2015_DATA",
    ):
        assert words in error
    assert error.strip().endswith("without them: python reproduce/reimplementations.py go_logo")
    assert not (tmp_path / "runs").exists()


def test_only_the_sets_that_are_asked_for_are_missed(tmp_path, capsys):
    assert run_tiny(tmp_path, "nuclei", "go_logo") == 2
    error = capsys.readouterr().err
    assert "dsb2018" in error
    assert "carvana" not in error
    assert run_tiny(tmp_path, "nuclei") == 2
    assert "without them" not in capsys.readouterr().err
    assert run_tiny(tmp_path, "lgg_mri", "--data", tmp_path / "elsewhere") == 2
    given = tmp_path / "elsewhere" / "LGG-kaggle_3m"
    assert f"--data {given} has no kaggle_3m" in capsys.readouterr().err


def test_a_damaged_set_is_named_before_anything_is_trained(tmp_path, capsys):
    folder = make_lgg(tmp_path / "data" / "LGG-kaggle_3m")
    mask = next(folder.rglob("*_7_mask.tif"))
    mask.unlink()
    image = mask.with_name(mask.name.replace("_mask", ""))
    assert run_tiny(tmp_path, "lgg_mri", "--data", folder) == 2
    assert f"image without a mask: {image}" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_help_teaches(capsys):
    assert run(SCRIPT, "--help") == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for word in ("--preset", "--arms", "two CPU cores", "lgg_mri nuclei", "UNET2015_DATA"):
        assert word in text
