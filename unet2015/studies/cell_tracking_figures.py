"""Pictures of a cell tracking run. They show images that may not be passed on: for the run's folder
only, never committed."""

from pathlib import Path

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from skimage.color import label2rgb
from skimage.segmentation import find_boundaries

from unet2015.augmentation.samples import cells_of, weight_maps
from unet2015.reports import figures
from unet2015.studies.cell_tracking import Direction
from unet2015.training.history import HISTORY

CITATION = (
    "Cell Tracking Challenge (Ulman et al. 2017, doi:10.1038/nmeth.4473); not to be passed on"
)
PICTURES = ("cells.png", "weight_map.png", "learning_curve.png")


def draw(direction: Direction) -> None:
    """Paper Fig. 4 for a middling scored frame, Fig. 3 for the first training frame, the course."""
    split, settings = direction.split, direction.checkpoint.config
    picture, weights, curve = (direction.folder / name for name in PICTURES)
    k = _median_frame(direction)
    index = split.scored_index[k]
    cells_figure(
        split.scored.images[index],
        split.scored.instances[index],
        direction.instances[k],
        picture,
        title=f"sequence {split.scored.name}, frame {split.scored.frames[index]}",
    )
    trained = list(split.train_index)
    labels, ignore = split.train.instances[trained], split.train.ignore[trained]
    cells = [cells_of(plane, "instances", settings.weight_map) for plane in labels]
    figures.weight_map_figure(
        split.train.images[trained[0]] / np.float32(255),
        cells[0],
        weight_maps(cells, settings.weight_map, ignore=ignore)[0],
        weights,
        caption=CITATION,
    )
    figures.learning_curve(direction.folder / HISTORY, curve)


def cells_figure(
    image: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    path: Path,
    *,
    title: str = "input image",
) -> None:
    """Input image | predicted cells in random colours, gold masks with yellow border (Fig. 4).

    image: (H, W) uint8. truth, predicted: (H, W) integers, 0 = background.
    """
    gray = image / 255
    colours = sns.color_palette("colorblind", 10)
    shown = np.asarray(label2rgb(predicted, gray, colors=colours, alpha=0.4, bg_label=0))
    shown[find_boundaries(truth, mode="inner")] = (1.0, 0.93, 0.0)
    height, width = image.shape
    with matplotlib.rc_context(figures.FONT):
        figure = Figure(figsize=(10, 0.9 + 5 * height / width), dpi=figures.DPI)
        axes = figure.subplots(1, 2)
        found = f"{predicted.max()} cells found; yellow: {len(np.unique(truth)) - 1} gold masks"
        for ax, plane, words in zip(axes, (gray, shown), (title, found), strict=True):
            ax.imshow(plane, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_title(words, fontsize=11)
            ax.set_axis_off()
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.06, top=0.93, wspace=0.02)
        figure.text(0.5, 0.02, CITATION, ha="center", fontsize=8, color="0.3")
        figures.write_png(figure, path)


def _median_frame(direction: Direction) -> int:
    """The scored frame that stands in the middle of them by its share of right pixels."""
    index = list(direction.split.scored_index)
    truth = direction.split.scored.instances[index] > 0
    right = (truth == (direction.instances > 0)).mean(axis=(1, 2))
    return int(np.argsort(right, kind="stable")[len(index) // 2])
