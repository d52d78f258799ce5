"""python -m unet2015 predict: the probability of 'cell' in a user's own images."""

import sys
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from unet2015.cli.files import ImageFile
from unet2015.cli.options import FLAT
from unet2015.data.tiff import write_stack
from unet2015.runtime.atomic import room_for, writable_outputs
from unet2015.runtime.numerics import resolve_device
from unet2015.studies.run_folder import refuse_kept
from unet2015.studies.trained import TrainedNetwork
from unet2015.training.checkpoint import Checkpoint, load_checkpoint


@dataclass(frozen=True)
class Predict:
    """Predict the probability of 'cell' for every pixel, by the overlap-tile strategy (Fig. 2)."""

    image: Path
    """TIFF with one or many images of any size, of the type the network was trained on (of another
    type: with --value-range)."""
    _: KW_ONLY
    checkpoint: Path
    """Folder of a run, or one of its .safetensors files."""
    output: Path
    """TIFF to write: float32, 0 = membrane or background, 1 = cell."""
    value_range: tuple[float, float] | None = None
    """Gray values of black and white in this file; default: those of the training. Values beyond
    are taken as black or white, which is said."""
    averaging: Literal["rotations7", "dihedral8", "flips4", "none"] | None = None
    """Views that are averaged; default: as in the run's settings. none: one, not 4-8."""
    largest_input_tile_px: int | None = None
    """Upper bound of an input tile's side, which bounds a tile's memory; default: the run's."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    image_file: Annotated[ImageFile, FLAT] = field(default_factory=ImageFile)

    def run(self) -> None:
        device = resolve_device(self.device)
        refuse_kept("--output", self.output, self.checkpoint)
        writable_outputs(
            {"--output": self.output}, {"image": self.image, "checkpoint": self.checkpoint}
        )
        checkpoint = load_checkpoint(self.checkpoint)
        _note_if_unfinished(self.checkpoint, checkpoint)
        try:
            network = TrainedNetwork.of(checkpoint, device)
        except ValueError as error:
            raise ValueError(f"{self.checkpoint}: {error}") from error
        stack = self.image_file.read(self.image)
        settings = checkpoint.config.prediction
        if self.averaging is not None:
            settings = replace(settings, averaging=self.averaging)
        if self.largest_input_tile_px is not None:
            settings = replace(settings, largest_input_tile_px=self.largest_input_tile_px)
        try:
            scale, remarks = network.scale_for(stack, self.value_range)
        except ValueError as error:
            raise ValueError(f"{self.image}: {error}") from error
        for kind, text in remarks:
            print(f"{kind}: {self.image}: {text}", file=sys.stderr)
        room_for(4 * stack.size, self.output, "--output")
        write_stack(self.output, network.probability(stack, scale, settings, progress=True))
        print(self.output)


def _note_if_unfinished(path: Path, checkpoint: Checkpoint) -> None:
    """Say on stderr that the weights are not those of the end of the training."""
    steps = checkpoint.config.training.steps
    if checkpoint.step < steps:
        what = f"the run in {path} is" if path.is_dir() else f"{path} is of a run"
        print(f"note: {what} at step {checkpoint.step} of {steps}", file=sys.stderr)
