"""The course of a training run: its rows, its CSV file, and what a dead start looks like in it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from unet2015.runtime.atomic import write_text

HISTORY = "history.csv"
COLUMNS = ("step", "loss", "learning_rate", "cell_fraction", "accuracy")
EVERY_STEPS = 20
"""Steps that one row averages over (our choice)."""
DEAD_START_AFTER_STEPS = 300
"""Steps with a constant prediction after which a dead start is reported (our choice)."""
_CONSTANT = 0.999  # share of one class in a prediction that counts as constant

Row = dict[str, float]


def row_due(step: int, steps: int) -> bool:
    """Whether a row of the history ends with this step (counted from 1)."""
    return step % EVERY_STEPS == 0 or step == steps


def history_row(step: int, measured: Sequence[Sequence[float]], learning_rate: float) -> Row:
    """The row of the steps up to `step`: means of (loss, share predicted cell, accuracy)."""
    loss, cells, right = (sum(column) / len(measured) for column in zip(*measured, strict=True))
    return dict(zip(COLUMNS, (step, loss, learning_rate, cells, right), strict=True))


def dead_start_steps(history: Sequence[Row]) -> int:
    """Steps from the start during which every pixel was predicted as one class.

    On the EM stack a dead start shows as an accuracy frozen at 0.78, the share of cell pixels.
    """
    last = 0.0
    for row in history:
        if 1 - _CONSTANT < row["cell_fraction"] < _CONSTANT:
            break
        last = row["step"]
    return int(last)


def dead_start_warning(history: Sequence[Row]) -> str | None:
    """The message that is due when a run has just become a dead start, else None."""
    steps = dead_start_steps(history)
    if not history or int(history[-1]["step"]) != steps or steps < DEAD_START_AFTER_STEPS:
        return None
    if len(history) > 1 and int(history[-2]["step"]) >= DEAD_START_AFTER_STEPS:
        return None  # it has been said
    row = history[-1]
    side = "cell" if row["cell_fraction"] > 0.5 else "membrane or background"
    return (
        f"dead start? After {steps} steps every pixel is still predicted as {side} (accuracy "
        f"{row['accuracy']:.2f}). If this lasts, stop and try another --seed, a lower "
        "training.learning_rate or a longer training.warmup_steps."
    )


def write_history(folder: Path, history: Sequence[Row]) -> None:
    """Write history.csv of a run's folder, atomically; floats with 9 significant digits."""
    write_text(folder / HISTORY, _as_csv(history))


def restore_history(folder: Path, history: Sequence[Row]) -> None:
    """The same, where history.csv is missing or says something else, which is told."""
    path, text = folder / HISTORY, _as_csv(history)
    found = path.read_bytes() if path.is_file() else None
    if found == text.encode():
        return
    if found is not None:
        print(
            f"warning: {path}: was changed since the training; written anew from the weights",
            file=sys.stderr,
        )
    write_text(path, text)


def _as_csv(history: Sequence[Row]) -> str:
    lines = [",".join(COLUMNS)]
    lines += [",".join(f"{row[name]:.9g}" for name in COLUMNS) for row in history]
    return "\n".join(lines) + "\n"
