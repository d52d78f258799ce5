"""Commands as a user types them, run in this process: much quicker than one process each."""

import os
import runpy
import sys
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]

# a network of two levels, four steps: a few seconds from end to end
TINY = (
    *("--model.width", "2", "--model.depth", "1"),
    *("--training.input-tile-px", "40", "--training.steps", "4", "--training.warmup-steps", "2"),
    *("--prediction.averaging", "none"),
)


def run(*arguments: object) -> int:
    """The exit code of `python ARGUMENTS …`: a script of this repository, or -m package …."""
    first, *rest = (str(argument) for argument in arguments)
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
