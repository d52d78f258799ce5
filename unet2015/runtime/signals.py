"""A clean stop: what asks for it is noted, and the run ends where its state is whole."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGUSR1", "SIGUSR2")
ASKING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""Ctrl-C, a scheduler's end, a closed terminal, a used-up time limit, and the two signals that
schedulers send before theirs (SLURM: --signal)."""
_ALWAYS = (signal.SIGINT, signal.SIGTERM)
_OURS: set[object] = set()
"""The handlers that commands and trainings have set here."""


@contextmanager
def stop_signals(received: list[str], *, urgent_if_repeated: bool = True) -> Iterator[None]:
    """Put the name of the signal into `received` once one of `ASKING` has asked to stop.

    A second signal raises KeyboardInterrupt if `urgent_if_repeated`, else only the first counts.
    One that is ignored, as `nohup` has SIGHUP, stays so. Outside the main thread nothing is noted:
    signals are then somebody else's business.
    """

    def note(number: int, _frame: object) -> None:
        if not received:
            received.append(signal.Signals(number).name)
            again = "; again: at once, without saving" if urgent_if_repeated else ""
            with suppress(RuntimeError):  # in the middle of another line
                print(f"\nstopping after this step{again}", file=sys.stderr, flush=True)
        elif urgent_if_repeated:
            raise KeyboardInterrupt(signal.Signals(number).name)

    with handled_by(note, ASKING):
        yield


@contextmanager
def handled_by(
    handler: Callable[[int, FrameType | None], object], numbers: tuple[signal.Signals, ...]
) -> Iterator[None]:
    """Let `handler` have these signals; those that are ignored stay so.

    Of SIGINT and SIGTERM alone another program's own handler is replaced for a while. Nothing is
    changed outside the main thread, nor where another language has set the handler, which could
    not be put back.
    """
    _OURS.add(handler)
    before = {number: signal.getsignal(number) for number in numbers}
    free = (None, signal.SIG_IGN)
    mine = [
        number
        for number, old in before.items()
        if old not in free and (number in _ALWAYS or old is signal.SIG_DFL or old in _OURS)
    ]
    try:
        for number in mine:
            signal.signal(number, handler)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
