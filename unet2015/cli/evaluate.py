"""python -m unet2015 evaluate: the challenge's metrics of a prediction."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from unet2015.cli.files import ImageFile, LabelFile
from unet2015.cli.options import FLAT


@dataclass(frozen=True)
class Evaluate:
    """Score a prediction with the metrics of the ISBI 2012 challenge."""

    labels: Path
    """TIFF with the true segmentation: 0 = membrane, one other value = cell."""
    prediction: Path
    """TIFF with the probability of 'cell', float in [0, 1], as large as the labels."""
    _: KW_ONLY
    protocol: Literal["2015", "2016"] = "2015"
    """2015: what the paper's Table 1 was scored with, as far as the organisers' public scripts
    tell. 2016: the script in today's archive."""
    slices: tuple[int, ...] | None = None
    """Slices to score, from 0; default: all (protocol 2016: 2, 5, 8, …)."""
    json: Path | None = None
    """JSON file for all figures with their curves over the thresholds."""
    figure: Path | None = None
    """PNG file: the curves, and one slice's topological errors in colour."""
    prediction_file: Annotated[ImageFile, FLAT] = field(default_factory=ImageFile)
    label_file: Annotated[LabelFile, FLAT] = field(default_factory=LabelFile)

    def run(self) -> None:
        from unet2015.cli.evaluation import evaluate  # matplotlib takes its time to load

        print(
            evaluate(
                *(self.labels, self.prediction),
                protocol=self.protocol,
                slices=self.slices,
                json=self.json,
                figure=self.figure,
                prediction_file=self.prediction_file,
                label_file=self.label_file,
            )
        )
