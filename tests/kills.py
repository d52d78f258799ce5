"""Processes that are killed (SIGKILL) at a chosen moment.

They are children of a fork server, which imports PyTorch once for all of them.
"""

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

FORKS = multiprocessing.get_context("forkserver")
# PyTorch imports its compiler, which takes seconds, when an optimiser is first made
FORKS.set_forkserver_preload(["tests.tiny", "torch._dynamo", "tests.reproduce.em_command"])


def kill_before(moment: int | None, folder: Path) -> None:
    """End this process without warning before file operation number `moment` in `folder`.

    None: never. Opening, the second half of a write, flushing to the disk, renaming and removing
    count.
    """
    tqdm.set_lock(threading.RLock())  # its own is a semaphore that a killed process leaves behind
    seen = 0

    def count() -> None:
        nonlocal seen
        if seen == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def audit(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
            count()

    class InHalves(io.FileIO):
        def write(self, content: bytes) -> int:  # type: ignore[override]
            half = len(content) // 2
            first = super().write(content[:half])
            count()
            return first + super().write(content[half:])

    def open_path(path: Path, mode: str = "r", *rest: object, **options: object) -> object:
        return InHalves(path, mode) if mode == "xb" else opened(path, mode, *rest, **options)

    def flush_to_disk(file: int) -> None:
        count()
        fsync(file)

    opened: Callable = Path.open
    fsync = os.fsync
    Path.open = open_path  # type: ignore[assignment]
    os.fsync = flush_to_disk
    sys.addaudithook(audit)
