"""reproduce/ablations.py from end to end on a cell tracking set, made and tiny."""

import re
from pathlib import Path

import pytest

from tests.cell_tracking_set import ANNOTATED, go_offline, make_set
from tests.commands import TINY, loaded, records_in, refusal, run
from tests.tiny import contents
from unet2015.runtime import record
from unet2015.studies.ablation_data import SETS
from unet2015.training.checkpoint import WEIGHTS

SCRIPT = "reproduce/ablations.py"
HELA = "DIC-C2DH-HeLa"
COMMIT = {"commit": "a" * 40, "dirty": False}
FEW = ("--folds", 1, "--seeds", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_set(folder / HELA)
    return folder


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    """No data but those given, no way to the network, always the same commit."""
    go_offline(tmp_path, monkeypatch)
    monkeypatch.setattr(record, "code_version", lambda: COMMIT)


def run_tiny(folder: Path, data: Path, *arguments: object) -> int:
    places = ("--output", folder / "runs", "--results", folder / "results", "--data", data)
    what = ("--dataset", HELA, "--instances.min-size-px", 0)
    return run(SCRIPT, *what, *places, *TINY, *arguments)


def test_one_command_runs_both_directions_and_does_nothing_twice(tmp_path, data, capsys):
    one = ("--seeds", 0, "--arms", "no_rotation", "tta_8")
    assert run_tiny(tmp_path, data, *one) == 0
    found = records_in(tmp_path)
    arms = ("baseline", "no_rotation", "tta_8")
    assert [(r["arm"], r["fold"]) for r in found] == [(arm, f) for arm in arms for f in (1, 2)]
    for each in found:
        way = ("01", "02") if each["fold"] == 1 else ("02", "01")
        assert (each["train_sequence"], each["scored_sequence"]) == way
        assert each["held_out"] == each["train_frames"] == list(ANNOTATED)
        assert (each["dataset"], each["preset"]) == (HELA, "quick, changed")
        assert (each["outcome"], each["scores_protocol"]) == ("finished", "SEG, min0_core0.9")
        counts = each["all_scores"]
        assert counts["cells"] == 11
        assert {name: score["value"] for name, score in each["scores"].items()} == {
            "seg": counts["seg"],
            "foreground_iou": counts["foreground_iou"],
            "merged_share": counts["merged"] / 11,
        }
    # one network for the baseline and the arm that differs in prediction only
    assert len(list((tmp_path / "runs").rglob(WEIGHTS))) == 4
    assert found[0]["training"] == found[4]["training"]
    assert found[4]["config"]["prediction"]["averaging"] == "dihedral8"
    page = (tmp_path / "results" / f"ablations_{HELA}.md").read_text()
    for each in found:
        assert each["name"] in page
        assert f"{each['scores']['seg']['value']:.4f}" in page
    assert f"ablations_{HELA}.md" in (tmp_path / "results" / "ablations.md").read_text()
    before = contents(tmp_path / "runs"), contents(tmp_path / "results" / "runs")
    capsys.readouterr()
    assert run_tiny(tmp_path, data, *one) == 0
    assert "6 of 6" in capsys.readouterr().out
    assert (contents(tmp_path / "runs"), contents(tmp_path / "results" / "runs")) == before
    assert (tmp_path / "results" / f"ablations_{HELA}.md").read_text() == page


def test_cells_found_otherwise_are_another_run_of_the_same_network(tmp_path, data):
    assert run_tiny(tmp_path, data / HELA, *FEW, "--arms", "tta_8") == 0
    (weights,) = (tmp_path / "runs").rglob(WEIGHTS)
    trained = weights.stat().st_mtime_ns
    more = ("--instances.min-size-px", 30)
    assert run_tiny(tmp_path, data / HELA, *FEW, "--arms", "tta_8", *more) == 0
    assert weights.stat().st_mtime_ns == trained
    assert [r["instances"]["min_size_px"] for r in records_in(tmp_path)] == [0, 30, 0, 30]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arms", "no_class_weight"), ["--arms no_class_weight", "changes nothing", HELA]),
        (("--arms", "no_dropout"), ["--arms no_dropout", "experiments/cell_tracking_quick.py"]),
        (("--arms", "cell_tracking_no_ridge"), ["'cell_tracking_no_ridge' is unknown"]),
        (("--folds", 0), ["--folds 0", "1 … 2"]),
        (("--folds", 1, 2, 3), ["--folds 1 2 3", "1 … 2"]),
        (("--instances.border-px", 30), ["border_px = 30", "≤ 29"]),
        (("--dataset", "isbi2012"), ["--instances", "isbi2012", HELA]),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tmp_path, data, capsys, arguments, words):
    assert run_tiny(tmp_path, data, *arguments) == 2
    message = refusal(capsys)
    for word in words:
        assert word in message
    assert records_in(tmp_path) == []
    assert not list(tmp_path.rglob(WEIGHTS))


def test_a_folder_without_the_set_is_one_message_and_exit_code_2(tmp_path, capsys):
    for preset in ("quick", "paper"):
        assert run_tiny(tmp_path, tmp_path / "nowhere", "--preset", preset) == 2
        message = refusal(capsys)
        assert message.startswith("error: --data ")
        assert "nowhere: there is no such folder" in message
    assert records_in(tmp_path) == []


def test_the_help_says_what_a_fold_is(capsys):
    assert run(SCRIPT, "--dataset", HELA, "--help") == 0
    text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "fold 1 is trained on sequence 01 and scored on 02" in text
    assert "1 = train on 01 and score 02" in text
    assert "[default: (1, 2)]" in text


def test_every_set_has_a_baseline_from_which_all_arms_of_long_differ(monkeypatch):
    command = loaded(SCRIPT, monkeypatch)
    for dataset in SETS:
        options = command.options_from(["--preset", "long", "--dataset", dataset])
        assert (options.lengths, len(options.folds) * len(options.seeds)) == ((500, 2000, 8000), 8)
        assert list(command.configurations(options)) == ["baseline", *command.ASKED["long"]]
