"""What every command does with bad input and with signals: one line, an exit code, nothing left."""

import errno
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.commands import ROOT, TINY, last_of_each, run
from unet2015.cli.run import run_command
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import write_stack
from unet2015.runtime.lock import HOLDER
from unet2015.training.checkpoint import CURRENT, TIME, WEIGHTS
from unet2015.training.history import HISTORY

STACK = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)
TRAIN = ("--images", "a.tif", "--labels", "b.tif")


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a refused command says."""
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert "Traceback" not in captured.out
    return line.removeprefix("error: ")


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
    ("output", "labels", "options", "said"),
    [
        ("images.tif", "labels.tif", "", "--output {}/images.tif: is a file; a folder is needed"),
        ("images.tif/run", "labels.tif", "", "images.tif/run: {}/images.tif is a file; a folder"),
        ("run", "labels.tif", "--model.classes 3", ".* two classes, .*--model.classes 2"),
        ("run", "labels.tif", "--model.in-channels 3", ".*1 channel.*--model.in-channels 1"),
        (
            *("run", "empty.tif", "--label-kind instances"),
            r"--labels {}/empty.tif: 8192 background and 0 cell pixels .*"
            "--weight-map.class-weights none",
        ),
    ],
)
def test_the_remedy_is_named(files, capsys, output, labels, options, said):
    where = ("--images", files / "images.tif", "--labels", files / labels)
    where = (*where, "--output", files / output)
    before = {path: path.read_bytes() for path in files.iterdir()}
    line = refused(capsys, "-m", "unet2015", "train", *where, *TINY, *options.split())
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
from unet2015.cli.run import run_command

def work():
    with write_atomically(Path(sys.argv[1])) as file:
        file.write(b"half")
        print("ready", flush=True)
        time.sleep(120)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
run_command(work)
"""


@pytest.mark.parametrize(
    ("asked", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
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


MEMORY = "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory\nframes"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 9 GiB"),
        RuntimeError(MEMORY),
        RuntimeError("can't start new thread"),
        RuntimeError("could not create a primitive"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_memory_that_does_not_suffice_ends_with_one_message(capsys, monkeypatch, error):
    def work() -> None:
        raise error

    monkeypatch.delenv("UNET2015_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as end:
        run_command(work)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: not enough memory")
    assert str(error).partition("\n")[0] in line
    assert "--largest-input-tile-px" in line
    monkeypatch.setenv("UNET2015_TRACEBACK", "1")
    with pytest.raises(type(error)) as raised:
        run_command(work)
    assert raised.value is error


@pytest.mark.parametrize(
    "error",
    [OverflowError("math range error"), struct.error("'I' format"), RecursionError("too deep")],
)
def test_numbers_beyond_what_can_be_computed_with_end_with_one_message(capsys, error):
    def work() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run_command(work)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {type(error).__name__}: {error}; a number of the options")


def test_a_defect_of_ours_keeps_its_traceback():
    def work() -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run_command(work)


PRINTS = r"""
from unet2015.cli.run import run_command
run_command(lambda: print("512 \xd7 512 \udcff ok"))
"""


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ({"PYTHONIOENCODING": "cp437"}, rb"512 \xd7 512 \udcff ok"),
        ({"PYTHONIOENCODING": "cp1252"}, b"512 \xd7 512 \\udcff ok"),
        ({"PYTHONIOENCODING": "ascii:replace"}, b"512 ? 512 ? ok"),
        (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            rb"512 \xd7 512 \udcff ok",
        ),
    ],
)
def test_what_stdout_cannot_show_is_escaped(encoding, said):
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONIOENCODING"}
    environment = {**kept, "PYTHONPATH": str(ROOT), **encoding}
    command = [sys.executable, "-c", PRINTS]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout.strip() == said


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


@pytest.mark.parametrize("option", ["--images", "--labels", "--config", "--output"])
@pytest.mark.parametrize("kind", ["pipe", "loop"])
def test_pipes_and_links_to_themselves_are_refused_and_nothing_waits(files, capsys, option, kind):
    strange = files / "strange"
    os.mkfifo(strange) if kind == "pipe" else strange.symlink_to(strange)
    given = {"--images": files / "images.tif", "--labels": files / "labels.tif"}
    given |= {"--output": files / "run"} | {option: strange}
    options = [word for pair in given.items() for word in pair]
    line = refused(capsys, "-m", "unet2015", "train", *options)
    assert str(strange) in line


@pytest.mark.parametrize("name", [CURRENT, WEIGHTS, TIME, HISTORY])
def test_a_pipe_in_the_folder_of_a_run_keeps_nobody_waiting(files, capsys, name):
    run_ = files / "run"
    command = ("-m", "unet2015", "train", "--images", files / "images.tif")
    command += ("--labels", files / "labels.tif", "--output", run_, *TINY, "--device", "cpu")
    assert run(*command) == 0
    (run_ / name).unlink()
    os.mkfifo(run_ / name)
    capsys.readouterr()
    assert run(*command) in (0, 2)
    captured = capsys.readouterr()
    # of a finished run the last state is not asked for
    assert (name in captured.err + captured.out) == (name != CURRENT)


ASKS = """
import os, runpy, signal, sys

class Ask:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["ASK_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Ask())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("asked_at", ["torch", "numpy"])
@pytest.mark.parametrize("script", ["unet2015/__main__.py", "reproduce/em_challenge.py"])
def test_ctrl_c_while_libraries_are_loaded_is_one_line(script, asked_at):
    ended = subprocess.run(
        [sys.executable, "-c", ASKS, ROOT / script, "--help"],
        env=os.environ | {"ASK_AT": asked_at},
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 130
    assert ended.stderr.decode() == "stopped by SIGINT before anything was begun\n"


def test_of_the_same_command_twice_at_once_the_second_is_told_and_the_first_goes_on(files):
    options = [
        "--images",
        files / "images.tif",
        "--labels",
        files / "labels.tif",
        "--device",
        "cpu",
    ]
    options += ["--output", files / "run", *TINY, "--training.steps", "100000"]
    command = [sys.executable, "-m", "unet2015", "train", *last_of_each([*map(str, options)])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as first:
        try:
            deadline = time.monotonic() + 60
            while not (files / "run" / HOLDER).exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            second = subprocess.run(command, capture_output=True, env=environment, check=False)
            assert second.returncode == 2
            told = second.stderr.decode()
            assert f"process {first.pid} on " in told
            assert "is at work there" in told
            assert "Traceback" not in told
            first.send_signal(signal.SIGTERM)
            _, said = first.communicate(timeout=60)
        finally:
            first.kill()
    assert first.returncode == 1
    assert b"stopped by SIGTERM after step" in said


FOREIGN = """
import os, signal
import unet2015
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("theirs")
"""


def test_ctrl_c_of_another_program_stays_its_own(tmp_path):
    """Also of one in a folder that is called as ours are."""
    script = tmp_path / "reproduce" / "mine.py"
    script.parent.mkdir()
    script.write_text(FOREIGN)
    ended = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, b"theirs\n")


@pytest.mark.parametrize(("to", "code"), [("/dev/full", 1), ("/dev/null", 0)])
def test_what_could_not_be_written_is_told_when_the_work_is_done(to, code):
    with Path(to).open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "unet2015", "completion", "bash"],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            check=False,
            timeout=60,
        )
    assert ended.returncode == code
    told = b"error: not all that was said could be written (No space left on device)\n"
    assert ended.stderr == (told if code else b"")
