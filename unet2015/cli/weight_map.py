"""python -m unet2015 weight-map: Eq. 2 of a segmentation, to look at."""

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np

from unet2015.augmentation.samples import cells_of, weight_maps
from unet2015.cli.files import LabelFile
from unet2015.cli.options import FLAT
from unet2015.config import WeightMapConfig
from unet2015.data.labels import LabelReading
from unet2015.data.tiff import write_stack
from unet2015.runtime.atomic import writable_outputs
from unet2015.weight_map import OneClass


@dataclass(frozen=True)
class WeightMap:
    """Write the pixel-wise loss weight w(x) of a segmentation (paper §3, Eq. 2, Fig. 3)."""

    labels: Path
    """TIFF with the labels."""
    _: KW_ONLY
    output: Path
    """TIFF to write, float32."""
    figure: Path | None = None
    """PNG file with the cells and the weights of the first slice (paper Fig. 3)."""
    label_file: Annotated[LabelFile, FLAT] = field(default_factory=LabelFile)
    reading: Annotated[LabelReading, FLAT] = field(default_factory=LabelReading)
    config: Annotated[WeightMapConfig, FLAT] = field(default_factory=WeightMapConfig)

    def run(self) -> None:
        writable_outputs(
            {"--output": self.output, "--figure": self.figure}, {"labels": self.labels}
        )
        separate, kind = self.config.separate_touching, self.reading.label_kind
        given = self.label_file.read(self.labels, self.reading, separate=separate)
        cells = [cells_of(plane, kind, self.config) for plane in given.labels]
        try:
            weights = weight_maps(cells, self.config, ignore=given.ignore)
        except OneClass as error:
            raise ValueError(f"{self.labels}: {error} (--class-weights none)") from error
        write_stack(self.output, np.stack(weights))
        if self.figure is not None:
            from unet2015.reports.figures import (
                weight_map_figure,  # matplotlib takes its time to load
            )

            weight_map_figure(None, cells[0], weights[0], self.figure)
        print(self.output)
