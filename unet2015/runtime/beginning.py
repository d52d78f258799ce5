"""What has to be done before PyTorch is loaded, which takes seconds.

In the project's own commands only; a program that imports the package is left as it is.
"""

import signal
import sys
from pathlib import Path


def _end_at_once(number: int, _frame: object) -> None:
    print(f"stopped by {signal.Signals(number).name} before anything was begun", file=sys.stderr)
    raise SystemExit(128 + number)


def _is_command() -> bool:
    started = Path(getattr(sys.modules["__main__"], "__file__", None) or ".")
    return started.stem == "unet2015" or started.parent.name in ("unet2015", "reproduce")


if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end_at_once)  # `cli.run` then has handlers of its own
