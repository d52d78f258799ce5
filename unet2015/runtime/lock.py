"""One process at a time in a folder: a run's, or that of the pages."""

import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from unet2015.runtime.atomic import remove_parts, write_text
from unet2015.runtime.read_back import from_json, read_text
from unet2015.runtime.record import command_line

LOCK, HOLDER = ".lock", ".lock-holder.json"
"""In the folder: what the system locks, and who has it, for people."""


@contextmanager
def held(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """`folder` for this process alone; from within, it can be held again.

    The system lets go of it when the process ends, however that ends, so that nothing has to be
    removed by hand; half-written files of a killed one are removed here. wait: until nobody else
    has it, with a line that says who has; the folder must be there (FileNotFoundError). Otherwise
    it is made, and ValueError says who has it. OSError for a file system that locks nothing.
    """
    if wait and not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give another one")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / LOCK).is_symlink():  # it may lead to a file of somebody's
        (folder / LOCK).unlink(missing_ok=True)
    lock = FileLock(folder / LOCK, is_singleton=True, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        busy = f"{folder}: {_holder(folder)} is at work there"
        if not wait:
            remedy = "wait until it has ended, or give another folder"
            raise ValueError(f"{busy}; {remedy}") from None
        print(f"{busy}; waiting", file=sys.stderr, flush=True)
        lock.acquire()
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            remove_parts(folder)
            about = {"process": os.getpid(), "host": socket.gethostname()}
            about |= {"since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
            write_text(folder / HOLDER, json.dumps(about | {"command": command_line()}) + "\n")
        yield
    finally:
        if outermost:
            (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        found = from_json(read_text(folder / HOLDER))
        found = {k: re.sub(r"[^ -~]", "?", str(v)) for k, v in found.items()}
        return "process {process} on {host} (since {since}: {command})".format(**found)
    # it has only just begun, or it has ended
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "another process"
