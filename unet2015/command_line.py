"""What every command of the project does the same way: errors, exit codes, the device."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence

import torch

from unet2015.distributed import one_voice
from unet2015.training import TrainingStopped

BAD_INPUT, STOPPED = 2, 1


def run_command(command: Callable[[], object]) -> None:
    """Run `command`; bad input ends it with one message and exit code 2, without a traceback.

    A run that was stopped (signal, non-finite loss) exits with 1 and says how to go on. Of several
    processes that torchrun started, the first one speaks.
    UNET2015_TRACEBACK=1 shows the traceback, for whoever looks for a defect of ours.
    """
    with one_voice():
        _run(command)


def _run(command: Callable[[], object]) -> None:
    try:
        command()
    except BrokenPipeError:  # whoever read what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(STOPPED) from None
    except (ValueError, OSError, ImportError) as error:
        _end(error, BAD_INPUT)
    except TrainingStopped as error:
        _end(error, STOPPED)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None


def _end(error: Exception, code: int) -> None:
    if os.environ.get("UNET2015_TRACEBACK"):
        raise error
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(code) from None


def resolve_device(device: str) -> str:
    """'auto' as 'cuda' or 'cpu'; a device that PyTorch cannot use raises ValueError."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"--device {device}: PyTorch {torch.__version__} cannot use it here "
            f"({str(error).splitlines()[0]}); use 'auto' or 'cpu'"
        ) from error
    return device


def option_before_others(option: str, choices: Sequence[str], argv: Sequence[str] | None) -> str:
    """The value of an option on which the defaults of all others depend.

    The first of `choices` if it is not given, or is none of them: the parser proper then refuses
    it with its own message.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(option, dest="value", nargs="?")
    value = parser.parse_known_args(argv)[0].value
    return value if value in choices else choices[0]
