"""Files that may be damaged, or made by somebody else: what is wrong with them is a ValueError."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_text(path: str | Path) -> str:
    """The text of a file, UTF-8; a pipe or a device, which may keep us waiting, is OSError."""
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(f"{path}: is no regular file (a pipe, a device); give the path of a file")
    return Path(path).read_text(encoding="utf-8")


def from_json(text: str, number: Callable[[str], float] = float) -> Any:
    """As `json.loads`, of a text that may be damaged or made up; number: what reads a float.

    ValueError also for what is nested too deeply and for integers of more than 64 bits.
    """
    try:
        return json.loads(text, parse_int=_of_64_bits, parse_float=number, parse_constant=number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _of_64_bits(text: str) -> int:
    if not -(2**63) <= (value := int(text)) < 2**64:
        raise ValueError(f"{text[:20]}… is an integer of more than 64 bits")
    return value
