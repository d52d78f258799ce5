"""The options of every command that trains on how the machine computes (not what)."""

from dataclasses import asdict, dataclass
from typing import Any

from unet2015.cuda_step import Compile
from unet2015.numerics import prepare_deterministic
from unet2015.tile_place import AugmentOn


@dataclass(frozen=True)
class Engine:
    """How a training computes; results differ by rounding at most."""

    augment_on: AugmentOn = "auto"
    """Who makes the training tiles: host, --workers threads; device, a GPU itself; auto: the
    device that trains, if it is a GPU."""
    deterministic: bool = False
    """The same bits in every run on a GPU too, at some cost of speed; a CPU gives them anyway."""
    compile: Compile = "none"
    """How a step runs: none, operation by operation; compile, by torch.compile; cuda_graph,
    recorded once and replayed."""

    def prepare(self) -> None:
        """What must be done before a GPU is first used; ValueError as `prepare_deterministic`."""
        if self.deterministic:
            prepare_deterministic()

    def options(self) -> dict[str, Any]:
        """The arguments of `training.train`."""
        return asdict(self)
