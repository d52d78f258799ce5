"""The command line: one file for each command, and what all of them do the same way."""

import signal
import sys
from pathlib import Path


def _end_at_once(number: int, _frame: object) -> None:
    print(f"stopped by {signal.Signals(number).name} before anything was begun", file=sys.stderr)
    raise SystemExit(128 + number)


def _is_command() -> bool:
    """Whether a command of the project was started, and not a program that imports it."""
    started = Path(getattr(sys.modules["__main__"], "__file__", None) or ".")
    return started.stem == "unet2015" or started.parent.name in ("unet2015", "reproduce")


# what follows loads PyTorch, which takes seconds; `run.run_command` then has handlers of its own
if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end_at_once)
