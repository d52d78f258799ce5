"""What every command of the project does the same way: errors, signals, exit codes."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from unet2015.runtime.distributed import one_voice
from unet2015.training.stopping import TrainingStopped, this_command

BAD_INPUT, STOPPED = 2, 1


def run_command(command: Callable[[], object]) -> None:
    """Run `command`; bad input ends it with one message and exit code 2, without a traceback.

    A run that was stopped (signal, non-finite loss) exits with 1 and says how to go on. Elsewhere
    than in the training, Ctrl-C and SIGTERM end the command with one message and exit code 130 and
    143. Of several processes that torchrun started, the first one speaks.
    UNET2015_TRACEBACK=1 shows the traceback, for whoever looks for a defect of ours.
    """
    with one_voice():
        _run(command)


def _run(command: Callable[[], object]) -> None:
    try:
        with _sigterm_as_ctrl_c():
            command()
    except BrokenPipeError:  # whoever read what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(STOPPED) from None
    except (ValueError, OSError, ImportError) as error:
        _end(error, BAD_INPUT)
    except TrainingStopped as error:
        _end(error, STOPPED)
    except KeyboardInterrupt as asked:
        name = asked.args[0] if asked.args else signal.SIGINT.name
        typed = this_command()
        again = f":\n{typed}" if typed else ""
        print(
            f"\nstopped by {name}; the same command goes on with what is finished{again}",
            file=sys.stderr,
        )
        raise SystemExit(128 + signal.Signals[name]) from None


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


def _end(error: Exception, code: int) -> None:
    if os.environ.get("UNET2015_TRACEBACK"):
        raise error
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(code) from None
