"""The command line for one's own stacks: python -m unet2015 train | predict | evaluate | …"""

from dataclasses import dataclass
from typing import Any

from unet2015.cli.benchmark import Benchmark
from unet2015.cli.evaluate import Evaluate
from unet2015.cli.options import Defaults, Shell, completion_script, no_defaults, parse_command
from unet2015.cli.overfit import OverfitSearch, defaults_of_search
from unet2015.cli.predict import Predict
from unet2015.cli.run import run_command
from unet2015.cli.train import Train, defaults_of_experiment
from unet2015.cli.weight_map import WeightMap

ABOUT = """The U-Net (Ronneberger, Fischer and Brox 2015) on one's own stacks.

    python -m unet2015 train --images stack.tif --labels labels.tif --output runs/mine
    python -m unet2015 predict other.tif --checkpoint runs/mine --output probability.tif
    python -m unet2015 evaluate other-labels.tif probability.tif --figure errors.png

Every command has a --help of its own.
"""


@dataclass(frozen=True)
class Completion:
    """Print a script that lets a shell complete commands, options and choices of `unet2015`."""

    shell: Shell
    """Which shell's; bash: put the script into ~/.local/share/bash-completion/completions/unet2015
    (zsh: a file _unet2015 in a folder of $fpath)."""

    def run(self) -> None:
        print(completion_script(COMMANDS, "unet2015", self.shell))


COMMANDS: dict[str, tuple[Any, Defaults]] = {
    "train": (Train, defaults_of_experiment),
    "predict": (Predict, no_defaults),
    "evaluate": (Evaluate, no_defaults),
    "weight-map": (WeightMap, no_defaults),
    "benchmark": (Benchmark, no_defaults),
    "overfit": (OverfitSearch, defaults_of_search),
    "completion": (Completion, no_defaults),
}


def parse(argv: list[str] | None = None) -> Any:
    """The command that `argv` (None: the command line's) asks for, with its options."""
    return parse_command(COMMANDS, argv, ABOUT)


def main() -> None:
    """What `unet2015` and `python -m unet2015` do."""
    run_command(lambda: parse().run())
