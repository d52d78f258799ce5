"""Commands as a user types them, run in this process: much quicker than one process each."""

import importlib.util
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[1]

# a network of two levels, four steps: a few seconds from end to end
TINY = (
    *("--model.width", "2", "--model.depth", "1"),
    *("--training.input-tile-px", "40", "--training.steps", "4", "--training.warmup-steps", "2"),
    *("--prediction.averaging", "none"),
)


def run(*arguments: object) -> int:
    """The exit code of `python ARGUMENTS …`: a script of this repository, or -m package ….

    Of an option that is there twice, a helper's and a test's, the last is given.
    """
    first, *rest = last_of_each([str(argument) for argument in arguments])
    module = first == "-m"
    target, *argv = rest if module else (str(ROOT / first), *rest)
    try:
        with patch.object(sys, "argv", [target, *argv]), patch.dict(os.environ):
            os.environ.pop("UNET2015_TRACEBACK", None)
            if module:
                runpy.run_module(target, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(target, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


def loaded(script: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script as a module, in which the texts of its options can be found."""
    name = f"loaded_{Path(script).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def last_of_each(words: list[str]) -> list[str]:
    """The words without options, and their values, that come again later."""
    kept: list[str] = []
    skipped = False
    for place, word in enumerate(words):
        if word.startswith("--"):
            skipped = word in words[place + 1 :]
        if not skipped:
            kept.append(word)
    return kept


def records_in(folder: Path) -> list[dict[str, Any]]:
    """The records of `--results folder/results`, in the order of their names."""
    paths = sorted((folder / "results" / "runs").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one message with which a command has ended, and no traceback."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    message = captured.err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    return message


def files_below(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file below a folder: its bytes and when it was last changed."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
