"""reproduce/ablations.py from end to end, on a small phantom."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.commands import TINY, files_below, records_in, refusal, run
from unet2015.data import isbi2012, phantom
from unet2015.runtime import record
from unet2015.studies import budget

SCRIPT = "reproduce/ablations.py"
SMALL = phantom.phantom_stack(seed=0, slices=10, size_px=64, test_slices=2)
COMMIT = {"commit": "a" * 40, "dirty": False}


@pytest.fixture(autouse=True)
def small_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phantom with ten sections of 64 px; no data, no download, always the same commit."""
    monkeypatch.setattr(phantom, "phantom_stack", lambda seed: SMALL)
    monkeypatch.setattr(record, "code_version", lambda: COMMIT)

    def nothing(*_: object, **__: object) -> None:
        raise FileNotFoundError("ISBI 2012 EM stack not found; supply it in one of three ways")

    monkeypatch.setattr(isbi2012, "load_isbi2012", nothing)


def run_tiny(folder: Path, *arguments: object) -> int:
    places = ("--output", folder / "runs", "--results", folder / "results")
    return run(SCRIPT, *places, *TINY, *arguments)


def test_one_command_runs_compares_and_tabulates(tmp_path, capsys):
    few = ("--folds", 1, "--seeds", 0)
    assert run_tiny(tmp_path, *few) == 0
    assert "PHANTOM" in capsys.readouterr().out
    found = records_in(tmp_path)
    arms = ["baseline", "batch_norm", "no_rotation", "same_padding"]
    assert [r["arm"] for r in found] == arms
    assert {r["outcome"] for r in found} == {"finished"}
    assert {r["preset"] for r in found} == {"quick, changed"}
    page = (tmp_path / "results" / "ablations_phantom.md").read_text()
    for run_record in found:
        assert run_record["name"] in page
        assert f"{run_record['scores']['rand_error']['value']:.4f}" in page
    assert "batch_norm" not in (tmp_path / "results" / "ablations.md").read_text()
    # the same command again does nothing; one more arm runs that arm alone
    before = {path: content for path, (content, _) in files_below(tmp_path).items()}
    assert run_tiny(tmp_path, *few) == 0
    assert {path: content for path, (content, _) in files_below(tmp_path).items()} == before
    assert run_tiny(tmp_path, *few, "--arms", "tta_8", "gelu") == 0
    assert [r["arm"] for r in records_in(tmp_path)] == sorted([*arms, "tta_8", "gelu"])


def test_several_lengths_leave_a_record_each(tmp_path):
    few = ("--folds", 1, "--seeds", 0, "--arms", "no_rotation", "--lengths", 30, 10)
    falling = ("--training.schedule", "constant_then_fall", "--training.warmup-steps", 0)
    assert run_tiny(tmp_path, *few, *falling) == 0
    found = [(r["arm"], r["training"]["steps"]) for r in records_in(tmp_path)]
    assert sorted(found) == [(arm, n) for arm in ("baseline", "no_rotation") for n in (10, 30)]
    text = (tmp_path / "results" / "ablations_phantom.md").read_text()
    assert text.count("## Preset `quick, changed`, baseline ") == 2


def test_minutes_plan_the_same_steps_for_every_arm(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "seconds_per_step", lambda *given, **way: 1.0)
    few = ("--folds", 1, 4, "--seeds", 0, "--arms", "no_rotation", "tta_8", "--minutes", 1.5)
    assert run_tiny(tmp_path, *few) == 0
    found = records_in(tmp_path)
    assert len(found) == 6
    (steps,) = {record["training"]["steps"] for record in found}
    plan = found[0]["plan"]
    # an arm that differs in prediction only trains nothing
    assert (plan["steps"], plan["trainings"], plan["seconds_per_step"]) == (steps, 4, 1.0)
    assert 5 < steps < 22


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arms", "batchnorm"), ["'batchnorm' is unknown", "batch_norm"]),
        (("--arms", "adam"), ["--arms adam", "in its baseline"]),
        (("--folds", 7), ["--folds 7", "0 … 4"]),
        (("--seeds", 1, 1), ["--seeds 1 1", "different"]),
        (("--processes", -1), ["--processes -1", "≥ 0"]),
        (("--processes", 2, "--minutes", 3), ["--minutes 3", "drop --processes"]),
        (("--lengths", 5, 9, "--minutes", 3), ["--minutes 3", "--lengths 5 9", "drop one"]),
        (("--lengths", 0), ["--lengths 0", "1 …"]),
        (("--preset", "long", "--dataset", "phantom"), ["preset long", "real stack only"]),
        (("--compile", "cuda_graph"), ["--compile cuda_graph", "on device cpu"]),
        (("--processes", 2, "--scheduler", "tcp://127.0.0.1:9"), ["--processes 2", "--scheduler"]),
        (("--preset", "paper"), ["ISBI 2012 EM stack not found"]),
        (("--preset", "paper", "--dataset", "phantom"), ["real stack only"]),
        (("--device", "cuda:99"), ["--device cuda:99"]),
        (("--training.input-tile-px", 41), ["41", "40"]),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, capsys, arguments, words):
    assert run_tiny(tmp_path, *arguments) == 2
    message = refusal(capsys)
    for word in words:
        assert word in message
    assert records_in(tmp_path) == []


def test_another_commit_is_named_and_other_data_are_refused_before_anything_runs(
    tmp_path, capsys, monkeypatch
):
    few = ("--folds", 1, "--seeds", 0, "--arms", "tta_8")
    assert run_tiny(tmp_path, *few) == 0
    monkeypatch.setattr(record, "code_version", lambda: COMMIT | {"commit": "b" * 40})
    more = (*few, "no_dropout")
    assert run_tiny(tmp_path, *more) == 0
    page = (tmp_path / "results" / "ablations_phantom.md").read_text()
    assert "- code: commit aaaaaaaaaaaa: 2 run(s); commit bbbbbbbbbbbb: 1 run(s)\n" in page
    other = replace(SMALL, hashes={"train-volume.tif": "00"})
    monkeypatch.setattr(phantom, "phantom_stack", lambda seed: other)
    capsys.readouterr()
    assert run_tiny(tmp_path, *more) == 2
    assert "made on other data" in refusal(capsys)
    assert len(records_in(tmp_path)) == 3


def test_the_help_teaches(capsys):
    assert run(SCRIPT, "--help") == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for word in ("--arms", "--scheduler", "One difference", "--training.steps"):
        assert word.lower() in text.lower()
