"""How a run that has stopped says what to do next, with the command to type."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unet2015.runtime import distributed
from unet2015.training.checkpoint import CURRENT


class TrainingStopped(RuntimeError):
    """A run that cannot go on or was asked to stop; its last good checkpoint is kept."""


def this_command() -> str | None:
    """The command that started this process, to be typed again in the same folder.

    Exact, with the paths as they were typed: it is for the person at this terminal, who must be
    able to paste it. (`record.command_line` renders it for others, without the paths of this
    machine, and so cannot be pasted.) The interpreter is the one that was called; under torchrun,
    whose own command the processes do not see, its options are put together again from what it
    told them. None where no command was typed: in a notebook, an interactive session, `python -c`.
    """
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package, whose sys.argv[0] is the path of a file
        script = ["-m", spec.name.removesuffix(".__main__")]
    elif getattr(main, "__file__", None) and Path(sys.argv[0]).is_file():
        script = [sys.argv[0]]
    else:
        return None
    return shlex.join([*_launcher(), *script, *sys.argv[1:]])


def _launcher() -> list[str]:
    if distributed.count() == 1:
        return [sys.orig_argv[0]]
    told = os.environ
    launcher = ["torchrun"]
    machines = int(told.get("GROUP_WORLD_SIZE", "1"))
    if machines > 1:
        launcher += ["--nnodes", str(machines), "--node-rank", told.get("GROUP_RANK", "0")]
        launcher += ["--master-addr", told["MASTER_ADDR"], "--master-port", told["MASTER_PORT"]]
    each = told.get("LOCAL_WORLD_SIZE", str(distributed.count()))
    return [*launcher, "--nproc-per-node", each]


def how_to_continue(output: Path) -> str:
    """'the same command continues from …', with that command; 'starts again' without a state."""
    state = output / CURRENT
    does = f"continues from {state}" if state.exists() else "starts again, as none was saved yet"
    command = this_command()
    return f"the same command {does}" + (f":\n{command}" if command else "")


@contextmanager
def continued_after_refusal(output: Path) -> Iterator[None]:
    """Where the disk is full or a folder closed, add to the message how the run goes on then.

    The error stays of its kind (PermissionError …) and keeps its errno.
    """
    try:
        yield
    except OSError as error:
        refused = type(error)(f"{error}. After that, {how_to_continue(output)}")
        refused.errno = error.errno
        raise refused from error
