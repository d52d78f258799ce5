"""Options as users type them: their defaults, a file of them, help, and one-line refusals."""

import re
import shutil
import subprocess
from dataclasses import fields
from typing import Any

import pytest
from docstring_parser import parse_from_object

from tests.commands import run
from unet2015 import experiments
from unet2015.cli.files import ImageFile, LabelFile
from unet2015.cli.main import COMMANDS, parse
from unet2015.config import as_toml
from unet2015.data.labels import LabelReading
from unet2015.studies.budget import Budget
from unet2015.training.engine import Engine

TRAIN = "train --images a.tif --labels b.tif --output run "


def parsed(text: str) -> object:
    return parse(text.split())


def refusal(text: str) -> str:
    """The one line with which options are refused, without where it sends for help."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        parsed(text)
    reason, program = re.fullmatch(r"(.*?)\.? See (.*) --help", str(refused.value)).groups()
    command = text.split()[:1]
    known = command if command and command[0] in COMMANDS else []
    assert program == " ".join(["python -m unet2015", *known])
    return reason


def helped(capsys: pytest.CaptureFixture[str], text: str) -> str:
    with pytest.raises(SystemExit) as end:
        parsed(text)
    assert end.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--model.dropout 1", "--model.dropout 1.0: must be 0 ≤ dropout < 1"),
        ("--training.learning_rate nan", "--training.learning-rate nan: must be a finite number"),
        (
            "--training.learning-rate 1e-4 --training.final-learning-rate 1",
            "--training.final-learning-rate 1.0: must be 0 … --training.learning-rate 0.0001",
        ),
        (
            "--training.loss logistic",
            "--model.classes 2: --training.loss logistic needs 1 score per pixel; take "
            "--model.classes 1, or --training.loss weighted_softmax",
        ),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named_as_an_option(options, said):
    assert refusal(TRAIN + options) == said


@pytest.mark.parametrize(
    ("text", "names", "remedy"),
    [
        (TRAIN + "--model.padding sam", "--model.padding", '"valid", "same"'),
        (TRAIN + "--model.depth", "--model.depth", "an argument"),
        (TRAIN + "--seed a", "--seed", "int"),
        (TRAIN + "--training.gradient-clip x", "--training.gradient-clip", "float"),
        (TRAIN + "--value-range 3", "--value-range", "2"),
        (TRAIN + "--seed 1 --seed 2", "--seed", "multiple times"),
        (TRAIN + "--seed 1.5", "--seed 1.5", "must be an integer"),
        (TRAIN + "--model 3", "--model 3", "--model.in-channels is one"),
        ("evaluate a b --slices 1 2.5", "--slices 2.5", "must be an integer"),
        (TRAIN + "--seed 1 7", "'7'", "Unused"),
        (TRAIN + "--sed 1", "--sed", "Did you mean --seed?"),
        (TRAIN + "--dropout=1", "--dropout", "Did you mean --model.dropout?"),
        (TRAIN + "-x", "-x", "Unknown option"),
        (TRAIN + "--experiment papr", "'papr'", "nearest: paper"),
        ("train --images a", "--labels", "requires"),
        ("evaluate a", "--prediction", "requires"),
        ("evaluate a b --slices a", "--slices", "int"),
        ("weight-map a --output b --w0 -1", "--w0 -1.0", "must be ≥ 0"),
        ("benchmark foo", "PART", '"train", "predict"'),
        ("trian --images a", '"trian"', 'Did you mean "train"?'),
        ("", "a command is missing", "train, predict"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line_with_its_remedy(text, names, remedy):
    line = refusal(text)
    assert names in line
    assert remedy in line


@pytest.mark.parametrize("name", ["em_challenge", "cell_tracking", "ablations"])
def test_the_scripts_take_options_in_the_same_way(capsys, name):
    for options, said in (
        (("--reslts", "x"), "Unknown option: --reslts. Did you mean --results?"),
        (("--training.steps", 0), "--training.steps 0: must be ≥ 1."),
        (("--preset", "papr"), 'Invalid value "papr" for --preset.'),
    ):
        assert run(f"reproduce/{name}.py", *options) == 2
        line = capsys.readouterr().err
        assert line.startswith(f"error: {said}")
        assert line.endswith(f"{name}.py --help\n")


def test_the_experiment_decides_the_defaults_of_all_settings():
    assert parsed(TRAIN).config == experiments.load("quick")
    assert parsed(TRAIN + "--experiment paper").config == experiments.load("paper")
    changed = parsed(TRAIN + "--experiment paper --model.width 8").config
    assert changed.model.width == 8
    assert changed.training == experiments.load("paper").training


def test_a_file_gives_options_and_those_typed_win(tmp_path):
    file = tmp_path / "options.toml"
    file.write_text(
        'experiment = "paper"\nseed = 3\nvalue_range = [0, 4095]\n'
        '[model]\nwidth = 8\n[training]\ngradient_clip = "None"\n'
    )
    found = parsed(f"{TRAIN} --config {file} --model.width 16 --no-deterministic")
    assert (found.seed, found.value_range, found.config.model.width) == (3, (0, 4095), 16)
    assert found.config.training == experiments.load("paper").training


@pytest.mark.parametrize("experiment", ["paper", "quick", "cell_tracking_quick"])
def test_the_settings_that_a_run_keeps_are_such_a_file(tmp_path, experiment):
    file, config = tmp_path / "config.toml", experiments.load(experiment)
    file.write_text(as_toml(config))
    assert parsed(f"{TRAIN} --experiment adam --config {file}").config == config


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sed = 3", '"[sed]" from {}'),
        ("[model]\nwidht = 3", "Did you mean --model.width?"),
        ("seed = 1.5", "--seed 1.5: must be an integer"),
        ("model = 3", "--model 3: is no option by itself; --model.in-channels is one"),
        ('seed = "a"', '[seed] from {}: unable to convert "a" into int'),
        ("seed = ", "--config {}: cannot be read as TOML (Invalid value"),
        (None, "--config {}: cannot be read as TOML ([Errno 2]"),
    ],
)
def test_a_file_with_something_else_is_refused(tmp_path, content, said):
    file = tmp_path / "options.toml"
    if content is not None:
        file.write_text(content)
    assert said.format(file) in refusal(f"{TRAIN} --config {file}")


def test_help_shows_what_matters_first_and_everything_when_asked(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")  # no name is broken
    first = helped(capsys, "train --help")
    assert set(re.findall(r"--[\w.-]+", first)) >= {
        *("--images", "--labels", "--output", "--label-kind", "--experiment", "--minutes")
    }
    assert "--model.width" not in first
    assert "train --help-all shows every option" in first
    everything = helped(capsys, "train --experiment paper --help-all")
    for part in fields(experiments.load("paper")):
        for setting in fields(getattr(experiments.load("paper"), part.name)):
            name = f"--{part.name}.{setting.name}".replace("_", "-")
            assert name in everything
    assert "not in the paper. [default: 80000]" in everything


GROUPS: list[Any] = [Engine, Budget, ImageFile, LabelFile, LabelReading]


@pytest.mark.parametrize("kind", [kind for kind, _ in COMMANDS.values()] + GROUPS)
def test_every_option_has_a_help_text(kind):
    told = {text.arg_name for text in parse_from_object(kind).params if text.description}
    groups = {"config", "budget", "engine", "reading", "image_file", "label_file"}
    assert told >= {field.name for field in fields(kind)} - {*groups, "prediction_file"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_shell_completes_options_and_their_choices(capsys, tmp_path):
    parsed("completion bash").run()
    script = tmp_path / "unet2015"
    script.write_text(capsys.readouterr().out)
    ask = """
        source "$1"; COMP_WORDS=(unet2015 train --model.padding ""); COMP_CWORD=3
        $(complete -p unet2015 | grep -oP "(?<=-F )\\S+"); echo "${COMPREPLY[@]}"
    """
    answer = subprocess.run(
        ["bash", "-c", ask, "-", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["valid", "same"]


@pytest.mark.parametrize("option", ["--images", "--labels", "--output"])
def test_an_empty_path_is_refused(option):
    given = {"--images": "a.tif", "--labels": "b.tif", "--output": "run"} | {option: ""}
    with pytest.raises(ValueError, match=rf"{option} '': is no path; \. is the current folder"):
        parse(["train", *(word for pair in given.items() for word in pair)])
