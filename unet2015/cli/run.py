"""What every command of the project does the same way: errors, signals, exit codes."""

import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from unet2015.runtime.distributed import one_voice
from unet2015.training.stopping import TrainingStopped, this_command

BAD_INPUT, STOPPED = 2, 1
_NO_MEMORY = re.compile(
    "allocate memory|out of memory|bad_alloc|start new thread|could not create a primitive$", re.M
)
"""In the RuntimeErrors of PyTorch, its oneDNN and threading where there is no more memory."""


def run_command(command: Callable[[], object]) -> None:
    """Run `command`; bad input ends it with one message and exit code 2, without a traceback.

    A run that was stopped (signal, non-finite loss) exits with 1 and says how to go on. Elsewhere
    than in the training, Ctrl-C and SIGTERM end the command with one message and exit code 130 and
    143. Memory that does not suffice counts as bad input. Of several processes that torchrun
    started, the first one speaks. What stdout cannot show is printed as an escape.
    UNET2015_TRACEBACK=1 shows the traceback, for whoever looks for a defect of ours.
    """
    _print_anything()
    with one_voice():
        _run(command)


def _run(command: Callable[[], object]) -> None:
    try:
        with _sigterm_as_ctrl_c():
            command()
    except BrokenPipeError:  # whoever read what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(STOPPED) from None
    except TrainingStopped as error:
        _end(error, STOPPED)
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        if _short_of_memory(error):
            _end(error, BAD_INPUT, _out_of_memory(error))
        if isinstance(error, RuntimeError):
            raise
        _end(error, BAD_INPUT)
    except KeyboardInterrupt as asked:
        name = asked.args[0] if asked.args else signal.SIGINT.name
        typed = this_command()
        again = f":\n{typed}" if typed else ""
        print(
            f"\nstopped by {name}; the same command goes on with what is finished{again}",
            file=sys.stderr,
        )
        raise SystemExit(128 + signal.Signals[name]) from None


def _print_anything() -> None:
    """Let no character end the command for the terminal's sake; stderr is so from the start."""
    out = sys.stdout
    # other handlers, PYTHONIOENCODING's say, lose nothing either
    if isinstance(out, io.TextIOWrapper) and out.errors in ("strict", "surrogateescape"):
        out.reconfigure(errors="backslashreplace")


def _short_of_memory(error: Exception) -> bool:
    """Whether the system gave no more memory, or no thread, which takes memory too."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))
    return isinstance(error, MemoryError) or bool(told)


def _out_of_memory(error: Exception) -> str:
    said = str(error).partition("\n")[0].rstrip(".")
    return (
        f"not enough memory{f' ({said})' if said else ''}: raise the limit (ulimit -v, or the "
        "memory asked of a cluster), or take fewer or smaller slices at a time, smaller tiles "
        "(predict: --largest-input-tile-px) or fewer threads (train: --workers 0; OMP_NUM_THREADS)"
    )


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt('SIGTERM'), so that files are closed and parts removed.

    The training has handlers of its own (`signals.stop_signals`). Nothing is changed outside the
    main thread, and where another language has set the handler, which could not be put back.
    """

    def raise_it(number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.getsignal(signal.SIGTERM)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, raise_it)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(error: Exception, code: int, said: str | None = None) -> NoReturn:
    if os.environ.get("UNET2015_TRACEBACK"):
        raise error
    print(f"error: {said or error}", file=sys.stderr)
    raise SystemExit(code) from None
