"""What every command of the project does the same way: errors, signals, exit codes."""

import errno
import os
import re
import signal
import struct
import sys
from collections.abc import Callable
from typing import NoReturn

from unet2015.runtime import beginning
from unet2015.runtime.distributed import one_voice
from unet2015.runtime.signals import ASKING, handled_by
from unet2015.runtime.streams import until_lost
from unet2015.training.stopping import TrainingStopped, this_command

BAD_INPUT, STOPPED = 2, 1
_NO_MEMORY = re.compile(
    "allocate memory|out of memory|bad_alloc|start new thread|could not create a primitive$", re.M
)
"""In the RuntimeErrors of PyTorch, its oneDNN and threading where there is no more memory."""
_BEYOND = (
    "a number of the options or of a file is beyond what can be computed with; take a smaller one "
    "(UNET2015_TRACEBACK=1 shows where)"
)


def run_command(command: Callable[[], object]) -> None:
    """Run `command`; bad input ends it with one message and exit code 2, without a traceback.

    A run that was stopped (signal, non-finite loss) exits with 1 and says how to go on. Elsewhere
    than in the training, Ctrl-C and the other `signals.ASKING` end the command with one message and
    exit code 130, 143 … Memory that does not suffice counts as bad input. Of several processes that
    torchrun started, the first one speaks. A lost display (`streams`) ends nothing; a file or disk
    that could not take what was said is told when the work is done, with exit code 1.
    UNET2015_TRACEBACK=1 shows the traceback, for whoever looks for a defect of ours.
    """
    beginning.over()
    with until_lost() as shown, one_voice():
        _run(command)
    # a reader that has seen enough is no loss, a full disk is one
    if isinstance(shown.lost, OSError) and not isinstance(shown.lost, BrokenPipeError):
        why = shown.lost.strerror
        print(f"error: not all that was said could be written ({why})", file=sys.stderr)
        raise SystemExit(STOPPED)


def _run(command: Callable[[], object]) -> None:
    try:
        # the training has handlers of its own (`signals.stop_signals`)
        with handled_by(_as_ctrl_c, ASKING):
            command()
    except TrainingStopped as error:
        _end(error, STOPPED)
    except (OverflowError, RecursionError, struct.error) as error:
        _end(error, BAD_INPUT, f"{type(error).__name__}: {error}; {_BEYOND}")
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


def _as_ctrl_c(number: int, _frame: object) -> NoReturn:
    """Raise KeyboardInterrupt with the signal's name, so that files are closed, parts removed."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def _end(error: Exception, code: int, said: str | None = None) -> NoReturn:
    if os.environ.get("UNET2015_TRACEBACK"):
        raise error
    print(f"error: {said or error}", file=sys.stderr)
    raise SystemExit(code) from None
