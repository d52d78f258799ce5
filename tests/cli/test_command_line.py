"""What every command does with bad input and with signals: one line, an exit code, nothing left."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.commands import ROOT, TINY, run
from unet2015.cli.command_line import run_command
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import write_stack

STACK = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)
TRAIN = ("--images", "a.tif", "--labels", "b.tif")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a refused command says."""
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert "Traceback" not in captured.out
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--model.dropout 1", "--model.dropout 1: must be 0 ≤ dropout < 1"),
        ("--model.dropout=1e0", "--model.dropout 1e0: must be 0 ≤ dropout < 1"),
        ("--training.learning_rate nan", "--training.learning-rate nan: must be a finite number"),
        (
            "--training.learning-rate 1e-4 --training.final-learning-rate 1",
            "--training.final-learning-rate 1: must be 0 … --training.learning-rate 0.0001",
        ),
        (
            "--training.loss logistic",
            "--model.classes 2: --training.loss logistic needs 1 score per pixel; take "
            "--model.classes 1, or --training.loss weighted_softmax",
        ),
        ("--model.padding sam", "--model.padding sam: must be one of valid, same"),
        (
            "--prediction.averaging x",
            "--prediction.averaging x: must be one of rotations7, dihedral8, flips4, none",
        ),
        ("--model.depth", "--model.depth: needs 1 value"),
        ("--seed a", "--seed a: must be an integer"),
        ("--training.gradient-clip x", "--training.gradient-clip x: must be None or a number"),
        ("--value-range 3", "--value-range 3: must be None or 2 numbers"),
        ("--seed 1 2", "2: belongs to no option"),
        ("--sed 1", "--sed: is no option; nearest: --seed"),
        ("--dropout=1", "--dropout: is no option; nearest: --model.dropout"),
        ("--model.dropuot 1", r"--model.dropuot: is no option; nearest: --model.dropout, .*"),
        ("-x", "-x: is no option"),
    ],
)
def test_an_option_is_refused_in_one_line_that_names_it(capsys, tmp_path, options, said):
    where = (*TRAIN, "--output", tmp_path / "run")
    line = refused(capsys, "-m", "unet2015", "train", *where, *options.split())
    expected = said if said.endswith(".*") else re.escape(said)
    assert re.fullmatch(f"{expected}; see python -m unet2015 train --help", line), line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("evaluate a b --slices a", "--slices a: must be None or integers; see .* evaluate --help"),
        ("evaluate a b --averaging none", "--averaging: is no option; see .* evaluate --help"),
        ("evaluate a", r"missing: PATH \(TIFF with the probability of .*; see .* evaluate --help"),
        ("weight-map a --output b --w0 -1", "--w0 -1: must be ≥ 0; see .* weight-map --help"),
        ("train --images a", "missing: --labels PATH, --output PATH; see .* train --help"),
        ("train --imges a", "--imges: is no option; nearest: --images; see .* train --help"),
        ("benchmark foo", "part foo: must be one of train, predict, .*; see .* benchmark --help"),
        ("trian --images a", "trian: is no command; nearest: train; see python -m unet2015 --help"),
        ("", "a command is missing: one of train, predict, .*; see python -m unet2015 --help"),
    ],
)
def test_the_help_pointed_to_is_the_commands(capsys, arguments, said):
    line = refused(capsys, "-m", "unet2015", *arguments.split())
    assert re.fullmatch(said.replace(".* ", "(?:.* )?"), line), line


@pytest.mark.parametrize("name", ["em_challenge", "ablations", "reimplementations", "tables"])
def test_the_scripts_say_it_in_the_same_way(capsys, name):
    line = refused(capsys, f"reproduce/{name}.py", "--reslts", "x")
    assert line.startswith("--reslts: is no option; nearest: --results")
    assert line.endswith(f"{name}.py --help")
    if name not in ("reimplementations", "tables"):
        line = refused(capsys, f"reproduce/{name}.py", "--training.steps", 0)
        assert line.startswith("--training.steps 0: must be ≥ 1; see python ")
    if name == "ablations":
        line = refused(capsys, f"reproduce/{name}.py", "--instances.core-probability", "2")
        assert line.startswith("--instances.core-probability 2: must be a number, 0.5 ≤ number < 1")


def test_the_width_of_the_terminal_does_not_matter(capsys, monkeypatch):
    options = ("-m", "unet2015", "train", *TRAIN, "--output", "run", "--model.dropout", 7)
    lines = set()
    for columns in ("40", "300", None):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        lines.add(refused(capsys, *options))
        assert os.environ.get("COLUMNS") == columns
    assert len(lines) == 1


def test_what_cannot_run_is_refused_before_the_data_are_read(capsys, tmp_path):
    where = ("-m", "unet2015", "train", *TRAIN, "--output", tmp_path / "run", "--device", "cpu")
    assert refused(capsys, *where, "--workers", -1).startswith("--workers -1: must be ≥ 0")
    line = refused(capsys, *where, "--compile", "cuda_graph")
    assert line.startswith("--compile cuda_graph on device cpu: needs a CUDA device; use 'none'")
    line = refused(capsys, *where, "--compile", "cuda_graph", "--deterministic")
    assert line.startswith("--compile cuda_graph with --deterministic: ")
    assert "--compile none" in line
    for name in ("em_challenge", "reimplementations"):
        places = ("--output", tmp_path / "runs", "--results", tmp_path / "results")
        # of data that are nowhere nothing is said: they were not looked for
        places = (*places, "--data", tmp_path / "nowhere")
        line = refused(capsys, f"reproduce/{name}.py", *places, "--workers", -1)
        assert line.startswith("--workers -1: must be ≥ 0")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with images and labels as users have them."""
    write_stack(tmp_path / "images.tif", STACK.train_images)
    write_stack(tmp_path / "labels.tif", STACK.train_labels * np.uint8(255))
    write_stack(tmp_path / "empty.tif", np.zeros(STACK.train_labels.shape, np.uint16))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--output {}/images.tif", "--output {}/images.tif: is a file; a folder is needed"),
        ("--output {}/images.tif/run", "images.tif/run: {}/images.tif is a file; a folder"),
        ("--model.classes 3", "model.classes = 3: .* two classes, .*--model.classes 2"),
        ("--model.in-channels 3", "model.in_channels = 3: .*1 channel.*--model.in-channels 1"),
        (
            "--label-kind instances --labels {}/empty.tif",
            r"--labels {}/empty.tif: 8192 background and 0 cell pixels .*"
            "--weight-map.class-weights none",
        ),
    ],
)
def test_the_remedy_is_named(files, capsys, options, said):
    where = ("--images", files / "images.tif", "--labels", files / "labels.tif")
    where = (*where, "--output", files / "run")
    before = {path: path.read_bytes() for path in files.iterdir()}
    line = refused(capsys, "-m", "unet2015", "train", *where, *TINY, *options.format(files).split())
    assert re.search(said.format(re.escape(str(files))), line), line
    assert {path: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize(
    ("script", "options", "name"),
    [
        ("em_challenge.py", (), "isbi2012"),
        ("cell_tracking.py", (), "PhC-C2DH-U373"),
        ("ablations.py", ("--dataset", "DIC-C2DH-HeLa"), "DIC-C2DH-HeLa"),
    ],
)
def test_a_data_folder_that_is_none(capsys, tmp_path, script, options, name):
    where = ("--output", tmp_path / "runs", "--results", tmp_path / "results")
    missing = tmp_path / "nowhere"
    line = refused(capsys, f"reproduce/{script}", *options, *where, "--data", missing)
    assert line.startswith(f"--data {missing}: there is no such folder; give one with ")
    for way in (f"$UNET2015_DATA/{name}", "per-user cache", "download from https://"):
        assert way in line


WAITS = """
import signal, sys, time
from pathlib import Path
from unet2015.runtime.atomic import write_atomically
from unet2015.cli.command_line import run_command

def work():
    with write_atomically(Path(sys.argv[1])) as file:
        file.write(b"half")
        print("ready", flush=True)
        time.sleep(120)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
run_command(work)
"""


@pytest.mark.parametrize(("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_outside_the_training_ends_with_one_message(tmp_path, asked, code):
    script, target = tmp_path / "waits.py", tmp_path / "out" / "file.tif"
    script.write_text(WAITS)
    command = [sys.executable, str(script), str(target)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, env=environment, stdout=pipe, stderr=pipe) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.send_signal(asked)
            errors = child.communicate(timeout=60)[1]
        finally:
            child.kill()
    assert child.returncode == code
    assert errors.strip().splitlines() == [
        f"stopped by {asked.name}; the same command goes on with what is finished:",
        " ".join(command),
    ]
    assert not list(target.parent.iterdir())


def test_the_handler_of_sigterm_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    during = []
    run_command(lambda: during.append(signal.getsignal(signal.SIGTERM)))
    assert during[0] is not before
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(SystemExit) as end:
        run_command(lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert end.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
