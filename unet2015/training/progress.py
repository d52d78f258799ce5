"""Where the user sees a training run: progress bar, warnings, TensorBoard, own function."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from unet2015.runtime.atomic import own_folder
from unet2015.training.history import COLUMNS, Row, dead_start_warning


@dataclass
class Report:
    """What is said of a run while it goes on."""

    bar: tqdm
    board: Any = None
    """TensorBoard's SummaryWriter, or None."""
    on_step: Callable[[int], None] | None = None

    def row(self, history: Sequence[Row]) -> None:
        """Report the last row of the history; a dead start is named once."""
        row = history[-1]
        self.bar.set_postfix(loss=f"{row['loss']:.4f}", accuracy=f"{row['accuracy']:.3f}")
        if message := dead_start_warning(history):
            self.bar.write(message, file=sys.stderr)
        if self.board is not None:
            for name in COLUMNS[1:]:
                self.board.add_scalar(name, row[name], int(row["step"]))
            self.board.flush()

    def step(self, step: int) -> None:
        """Report that `step` steps are done."""
        self.bar.update()
        if self.on_step is not None:
            self.on_step(step)


def tensorboard_writer(folder: Path) -> Any:
    """A TensorBoard SummaryWriter for a run's folder; ValueError if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--tensorboard needs the package tensorboard: pip install tensorboard"
        ) from error
    return SummaryWriter(str(own_folder(folder / "tensorboard")))
