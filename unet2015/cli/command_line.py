"""What every command of the project does the same way: options, errors, exit codes."""

import io
import os
import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NoReturn

import tyro

from unet2015.cli.option_errors import naming_options, options_in, refusal, unknown_command
from unet2015.runtime.distributed import one_voice
from unet2015.training.stopping import TrainingStopped, this_command

BAD_INPUT, STOPPED = 2, 1
ENDLESS, ONE_COLUMN = 100_000, 120
"""Widths of a terminal: one in which tyro wraps no line, one with no two lists side by side."""


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


def parse_options(
    kind: Any, argv: Sequence[str] | None, *, commands: Sequence[str] = (), **options: Any
) -> Any:
    """The options of `kind` in `argv` (None: the command line's), as `tyro.cli` reads them.

    kind and options: as `tyro.cli` takes them. commands: the names of the subcommands, if `kind`
    is a union of such. --help is printed as tyro does it. What tyro refuses, and what the settings
    refuse, raises ValueError with one line that names the option, its value, the rule and the
    --help of the command.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            found = tyro.cli(kind, args=given, **options)
    except SystemExit as end:
        if not end.code:
            raise
        reason = None
    except ValueError as error:
        reason = str(error)
    else:
        sys.stderr.write(said.getvalue())
        return found
    command = given[:1] if given[:1] and given[0] in commands else []
    program = options.get("prog") or f"python {sys.argv[0]}"
    where = f"see {' '.join([program, *command])} --help"
    if commands and not command:
        raise ValueError(f"{unknown_command(given[0] if given else None, commands)}; {where}")
    known = options_in(_said(kind, [*command, "--help"], options, ONE_COLUMN))
    if reason is not None:
        raise ValueError(f"{naming_options(reason, known, given)}; {where}")
    raise ValueError(f"{refusal(_said(kind, given, options, ENDLESS), given, known)}; {where}")


def _said(kind: Any, argv: Sequence[str], options: dict[str, Any], width: int) -> str:
    """What tyro prints before it ends, as for a terminal of that width without colours."""
    said = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(width)
    try:
        with redirect_stdout(said), redirect_stderr(said):
            tyro.cli(kind, args=argv, **options)
    except SystemExit:
        pass
    finally:
        if columns is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = columns
    return said.getvalue()


def option_before_others(option: str, choices: Sequence[str], argv: Sequence[str] | None) -> str:
    """The value of an option on which the defaults of all others depend.

    The first of `choices` if it is not given, or is none of them: the parser proper then refuses
    it with its own message.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(option, dest="value", nargs="?")
    value = parser.parse_known_args(argv)[0].value
    return value if value in choices else choices[0]
