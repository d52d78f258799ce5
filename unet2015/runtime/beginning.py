"""What has to be done before PyTorch is loaded, which takes seconds.

In the project's own commands only; a program that imports the package is left as it is.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_OF_COMMANDS = (_PACKAGE, _PACKAGE.parent / "reproduce")


def _end_at_once(number: int, _frame: object) -> None:
    # nothing is open yet; an exception would be swallowed where PyTorch's C code imports NumPy
    with suppress(OSError):
        os.write(
            2, f"stopped by {signal.Signals(number).name} before anything was begun\n".encode()
        )
    os._exit(128 + number)


def _is_command() -> bool:
    started = Path(os.path.realpath(getattr(sys.modules["__main__"], "__file__", None) or "."))
    installed = started.stem == "unet2015" and started.parent.name in ("bin", "Scripts")
    return installed or started.parent in _OF_COMMANDS


def over() -> None:
    """What was loaded is loaded: Ctrl-C is again what it was."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end_at_once)
