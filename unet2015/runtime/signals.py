"""A clean stop: SIGINT and SIGTERM are noted, and the run ends where its state is whole."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signals(received: list[str], *, urgent_if_repeated: bool = True) -> Iterator[None]:
    """Put the name of the signal into `received` once SIGINT or SIGTERM has asked to stop.

    A second signal raises KeyboardInterrupt if `urgent_if_repeated`, else only the first counts.
    Outside the main thread nothing is noted: signals are then somebody else's business.
    """

    def note(number: int, _frame: object) -> None:
        if not received:
            received.append(signal.Signals(number).name)
            again = "; again: at once, without saving" if urgent_if_repeated else ""
            print(f"\nstopping after this step{again}", file=sys.stderr, flush=True)
        elif urgent_if_repeated:
            raise KeyboardInterrupt(signal.Signals(number).name)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
