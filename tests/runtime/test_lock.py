"""Two processes never work in one folder at a time, and a dead one holds nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.commands import ROOT
from unet2015.runtime.lock import HOLDER, held

HOLDS = """
import sys
from pathlib import Path
from unet2015.runtime.lock import held

with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holding(folder: Path) -> subprocess.Popen:
    """A process that holds `folder` until it is written to."""
    running = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"held\n"
    return running


def test_the_second_is_told_who_is_there_and_since_when(tmp_path):
    folder = tmp_path / "runs" / "mine"
    with holding(folder) as running:
        with pytest.raises(ValueError, match="is at work there; wait") as caught, held(folder):
            raise AssertionError("two of them")
        told = rf"{folder}: process {running.pid} on \S+ \(since 20\d\d-.* UTC: python -c"
        assert re.match(told, str(caught.value))
        # as it may be when it is only just being written, or made up
        for text in ("[", "[" * 100_000, "[1]"):
            (folder / HOLDER).write_text(text)
            with pytest.raises(ValueError, match="another process is at work there"), held(folder):
                raise AssertionError("two of them")
        made_up = {"process": "1\n\x1b[2J", "host": "é", "since": "", "command": ""}
        (folder / HOLDER).write_text(json.dumps(made_up))
        with pytest.raises(ValueError, match=r"process 1\?\?\[2J on \?"), held(folder):
            raise AssertionError("two of them")
        running.communicate(b"\n")
    with held(folder):
        assert f'"process": {os.getpid()}' in (folder / HOLDER).read_text()
        with held(folder):  # a command, and the training within it
            pass
        assert (folder / HOLDER).exists()
    assert not (folder / HOLDER).exists()


def test_what_was_killed_holds_nothing(tmp_path):
    with holding(tmp_path) as running:
        running.send_signal(signal.SIGKILL)
        running.wait()
        with held(tmp_path):
            pass


def test_pages_wait_for_one_another(tmp_path, capsys):
    entered = threading.Event()

    def write_pages() -> None:
        with held(tmp_path, wait=True):
            entered.set()

    with holding(tmp_path) as running:
        second = threading.Thread(target=write_pages, daemon=True)
        second.start()
        deadline = time.monotonic() + 60
        while not (said := capsys.readouterr().err):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert said.endswith("is at work there; waiting\n")
        assert not entered.is_set()
        running.communicate(b"\n")
        second.join(60)
    assert entered.is_set()


def test_a_folder_that_is_waited_for_must_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), held(tmp_path / "nowhere", wait=True):
        raise AssertionError("there is none")
    assert not list(tmp_path.iterdir())


def test_a_link_to_a_file_of_somebody_else_is_not_locked_through(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "theirs")
    with held(tmp_path / "run"):
        assert not (tmp_path / "run" / ".lock").is_symlink()
    assert (tmp_path / "theirs").read_text() == "theirs"
