"""A run that stops names the command that continues it, ready to be pasted."""

import errno
import shlex
import signal
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from tests.tiny import augmented_tiles, blob_tiles, quietly, settings
from unet2015.runtime import distributed
from unet2015.runtime.atomic import write_bytes
from unet2015.training import checkpoint
from unet2015.training.checkpoint import CURRENT
from unet2015.training.loop import TrainingStopped
from unet2015.training.stopping import how_to_continue, this_command


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A process started as: python 'my script.py' --output 'a folder' --seed 3."""
    path = tmp_path / "my script.py"
    path.touch()
    main = ModuleType("__main__")
    main.__file__ = str(path)
    main.__spec__ = None
    argv = [str(path), "--output", "a folder", "--seed", "3"]
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", ["python3.11", "-u", *argv])
    return argv


def words() -> list[str]:
    command = this_command()
    assert command is not None
    return shlex.split(command)


def test_the_command_of_a_script_and_of_a_package(script):
    assert words() == ["python3.11", *script]
    sys.modules["__main__"].__spec__ = ModuleSpec("unet2015.__main__", None)
    assert words() == ["python3.11", "-m", "unet2015", *script[1:]]


def test_the_command_of_several_processes(script, monkeypatch):
    monkeypatch.setattr(distributed, "count", lambda: 4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert words() == ["torchrun", "--nproc-per-node", "4", *script]
    for name, value in {
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "first",
        "MASTER_PORT": "29500",
    }.items():
        monkeypatch.setenv(name, value)
    machines = ["--nnodes", "2", "--node-rank", "1", "--master-addr", "first"]
    machines += ["--master-port", "29500", "--nproc-per-node", "2"]
    assert words() == ["torchrun", *machines, *script]


def test_where_no_command_was_typed_there_is_none(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert this_command() is None
    assert how_to_continue(tmp_path) == "the same command starts again, as none was saved yet"


def test_a_signal_is_answered_with_the_command(script, tmp_path):
    config = settings()

    def interrupt(step: int) -> None:
        if step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped) as caught:
        quietly(config, augmented_tiles(config), tmp_path, on_step=interrupt)
    said, command = str(caught.value).split("\n")
    state = tmp_path / CURRENT
    assert said == f"stopped by SIGINT after step 4 of 8; the same command continues from {state}:"
    assert shlex.split(command) == ["python3.11", *script]


@pytest.mark.parametrize(
    ("kind", "number", "first"),
    [(OSError, errno.ENOSPC, True), (PermissionError, errno.EACCES, False)],
)
def test_a_disk_that_refuses_is_answered_with_the_command(
    script, tmp_path, monkeypatch, kind, number, first
):
    saved = []

    def refuse(path: Path, content: bytes) -> None:
        if first or saved:
            raise kind(number, "cannot write", str(path))
        saved.append(path)
        write_bytes(path, content)

    monkeypatch.setattr(checkpoint, "write_bytes", refuse)
    config = settings()
    with pytest.raises(kind) as caught:
        quietly(config, blob_tiles(config), tmp_path)
    assert caught.value.errno == number
    message, command = str(caught.value).split("\n")
    state = "starts again" if first else f"continues from {tmp_path / CURRENT}"
    assert "cannot write" in message
    assert f"After that, the same command {state}" in message
    assert shlex.split(command) == ["python3.11", *script]
