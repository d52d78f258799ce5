"""What is printed, wherever that leads: a lost display ends no run."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


class UntilLost:
    """A text stream that leads nowhere from the first write on that fails.

    A pipe whose reader has gone, a full disk, a closed terminal: what a run computes is worth more
    than what it says. The rest is the stream's own.
    """

    lost: Exception | None = None
    """What kept the stream from being written to."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeError:  # what is said is at fault, not the display
            raise
        except BlockingIOError:  # full for the moment
            return len(text)
        except (OSError, ValueError) as error:
            self._lead_nowhere(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BlockingIOError:
            pass
        except (OSError, ValueError) as error:
            self._lead_nowhere(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _lead_nowhere(self, error: Exception) -> None:
        """For what libraries print by themselves, and for Python's last flush, too."""
        self.lost = self.lost or error
        # a stream in memory has no descriptor
        with suppress(OSError, ValueError):
            _redirect(self._stream.fileno())


@contextmanager
def until_lost() -> Iterator[UntilLost]:
    """stdout and stderr as streams that may be lost; what stdout cannot show is an escape.

    Gives stdout, of which `UntilLost.lost` says afterwards whether it has shown everything.
    """
    before = sys.stdout, sys.stderr
    out, err = (stream or _nowhere(number) for number, stream in ((1, before[0]), (2, before[1])))
    # other handlers, PYTHONIOENCODING's say, lose nothing either; stderr is so from the start
    if isinstance(out, io.TextIOWrapper) and out.errors in ("strict", "surrogateescape"):
        out.reconfigure(errors="backslashreplace")
    shown = UntilLost(out)
    sys.stdout, sys.stderr = shown, UntilLost(err)  # type: ignore[assignment]
    try:
        yield shown
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _nowhere(number: int) -> TextIO:
    """A stream in the place of one that was closed before Python began (2>&-)."""
    try:
        os.fstat(number)
    except OSError:  # or the next file that is opened would get what is said
        _redirect(number)
    return Path(os.devnull).open("w", encoding="utf-8")


def _redirect(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
