"""Pictures of what was computed: overlap-tile, prediction, learning curve, weight map.

Every function writes one PNG, atomically; the same input gives the same bytes. Images up
to PANEL_PX are shown pixel by pixel. The colours are those of Okabe and Ito, which colour-blind
readers can tell apart.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from skimage.color import label2rgb

from unet2015.inference.tiling import mirror_window
from unet2015.runtime.atomic import write_bytes

YELLOW, BLUE = "#F0E442", "#0072B2"
VERMILLION, SKY_BLUE, GREEN = "#D55E00", "#56B4E9", "#009E73"
PANEL_PX = 560
"""Longest side of an image in a figure; an EM slice (512) is shown one to one (our choice)."""
GRAY_LEVELS = 20
"""Gray levels of raw images as shown: their noise hides the steps, and it makes most of a file."""
DPI = 100
_GAP_PX, _TITLE_PX, _LEGEND_PX, _CAPTION_PX = 16, 30, 34, 24
# without the version of Matplotlib: the same picture gives the same bytes
_PNG: dict[str, Any] = {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 9}}
FONT: Any = {"font.family": "DejaVu Sans", "font.size": 11.0}


def overlap_tile_figure(
    image: np.ndarray,
    output_yx: tuple[int, int],
    output_px: int,
    input_px: int,
    path: Path,
    *,
    segmentation: np.ndarray | None = None,
    caption: str | None = None,
) -> None:
    """The overlap-tile strategy (paper Fig. 2): the output tile and the input tile it needs.

    image: (H, W) float in [0, 1]. output_yx: first row and column of the output tile (yellow), a
    square of output_px pixels; input_px: side of the input tile around it (blue). The image is
    shown with as much mirrored border as the tile needs, at least the network's context.
    segmentation: (H, W) in [0, 1], shown on the right as in the paper; caption: last line.
    Raises ValueError for an image that is not as above and for tiles that do not nest.
    """
    _check_image(image, "image")
    if not 1 <= output_px <= input_px or (input_px - output_px) % 2:
        raise ValueError(
            f"output_px = {output_px}, input_px = {input_px}: the output tile must fit into "
            "the input tile with an even number of pixels to spare (paper: 388 in 572)"
        )
    _check_shape(segmentation, image.shape, "segmentation")
    margin = (input_px - output_px) // 2
    # how far the input tile reaches over the border, on the side where it reaches farthest
    ends = [start + output_px - size for start, size in zip(output_yx, image.shape, strict=True)]
    # … and a little more, so that the tile's frame is seen
    border = margin + max(0, *ends, -output_yx[0], -output_yx[1]) + _GAP_PX // 2
    height, width = (size + 2 * border for size in image.shape)
    shown = [mirror_window(np.asarray(image), -border, -border, height, width)]
    titles = ["image, mirrored at its border"]
    if segmentation is not None:
        shown.append(np.pad(np.asarray(segmentation, float), border, constant_values=np.nan))
        titles.append("segmentation")
    with matplotlib.rc_context(FONT):
        figure, axes = _image_panels(len(shown), (height, width), columns=2, legend=True)
        for ax, plane, title in zip(axes, shown, titles, strict=True):
            _show_gray(ax, plane, title)
        height, width = image.shape
        _rectangle(axes[0], (border, border), (height, width), "white", dashed=True)
        top_left = (output_yx[0] + border, output_yx[1] + border)
        input_yx = (top_left[0] - margin, top_left[1] - margin)
        _rectangle(axes[0], input_yx, (input_px, input_px), SKY_BLUE)
        for ax in axes:
            ax.set_facecolor("0.9")
            _rectangle(ax, top_left, (output_px, output_px), YELLOW)
        _finish(figure, path, caption, _tile_legend(output_px, input_px), dark=True)


def _tile_legend(output_px: int, input_px: int) -> list[Line2D]:
    return [
        Line2D([], [], color=YELLOW, linewidth=3, label=f"output tile, {output_px} px"),
        Line2D([], [], color=SKY_BLUE, linewidth=3, label=f"input tile, {input_px} px"),
        Line2D([], [], color="white", linestyle="--", label="border of the image"),
    ]


def prediction_panel(
    image: np.ndarray,
    truth: np.ndarray,
    probability: np.ndarray,
    path: Path,
    *,
    threshold: float = 0.5,
    title: str | None = None,
    caption: str | None = None,
) -> None:
    """Raw image | truth | probability of 'cell' | errors at one threshold, for one slice.

    image: (H, W) float in [0, 1]. truth: (H, W), > 0 = cell, 0 = membrane. probability: (H, W) in
    [0, 1]; cell where it is > threshold (as the challenge does; 0.5: argmax). title: above the
    raw image; caption: last line. Raises ValueError for shapes or ranges that do not fit.
    """
    _check_image(image, "image")
    _check_shape(truth, image.shape, "truth")
    _check_shape(probability, image.shape, "probability")
    _check_image(probability, "probability")
    cell, predicted = np.asarray(truth) > 0, np.asarray(probability) > threshold
    with matplotlib.rc_context(FONT):
        figure, axes = _image_panels(4, image.shape, columns=2, legend=True)
        _show_gray(axes[0], image, title or "raw image")
        _show_gray(axes[1], cell.astype(float), "truth")
        _show_gray(axes[2], probability, "probability of 'cell'", levels=32)
        wrong = f"errors at threshold {threshold:g}: {(cell != predicted).mean():.1%} of the pixels"
        _show(axes[3], _error_colours(cell, predicted), wrong)
        handles = [
            Patch(color=VERMILLION, label="false cell"),
            Patch(color=BLUE, label="false membrane"),
            Patch(facecolor="white", edgecolor="0.5", label="cell, right"),
            Patch(color="0.75", label="membrane, right"),
        ]
        _finish(figure, path, caption, handles)


def learning_curve(history: pd.DataFrame | Path, path: Path, *, title: str | None = None) -> None:
    """The course of a training run: loss, share predicted cell and accuracy, learning rate.

    history: a table or a CSV file with the columns step and loss, and of learning_rate,
    cell_fraction and accuracy those that there are. Raises FileNotFoundError for a missing file
    and ValueError for a missing column or an empty table.
    """
    table = history if isinstance(history, pd.DataFrame) else _read_history(history)
    source = "history" if isinstance(history, pd.DataFrame) else str(history)
    missing = [column for column in ("step", "loss") if column not in table.columns]
    if missing:
        raise ValueError(f"{source}: no column {missing[0]!r}; has {', '.join(table.columns)}")
    if table.empty:
        raise ValueError(f"{source}: has no row to draw")
    parts = [["loss"], ["accuracy", "cell_fraction"], ["learning_rate"]]
    parts = [present for part in parts if (present := [c for c in part if c in table.columns])]
    style: Any = {**sns.axes_style("ticks"), **FONT}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 1 + 2 * len(parts)), dpi=DPI, layout="constrained")
        axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
        for ax, columns in zip(axes, parts, strict=True):
            _draw_course(ax, table, columns)
        axes[0].set_title(title or "learning curve")
        axes[-1].set_xlabel("step")
        sns.despine(figure)
        write_png(figure, path)


def weight_map_figure(
    image: np.ndarray | None,
    instances: np.ndarray,
    weights: np.ndarray,
    path: Path,
    *,
    caption: str | None = None,
) -> None:
    """The pixel-wise loss weight beside its cells (paper Fig. 3): image | instances | w(x).

    image: (H, W) float in [0, 1], or None where there are labels only. instances: (H, W) int,
    0 = background. weights: (H, W) float ≥ 0. caption: last line. Raises ValueError for shapes or
    ranges that do not fit.
    """
    labels, heights = np.asarray(instances), np.asarray(weights)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer) or not labels.size:
        raise ValueError(f"instances of shape {labels.shape}, {labels.dtype}: must be (H, W) int")
    _check_shape(heights, labels.shape, "weights")
    if not np.isfinite(heights).all() or heights.min() < 0:
        raise ValueError("weights: must be finite and ≥ 0")
    _check_shape(image, labels.shape, "image")
    if image is not None:
        _check_image(image, "image")
    count = 2 if image is None else 3
    with matplotlib.rc_context(FONT):
        figure, axes = _image_panels(count, labels.shape, columns=count, colour_bar=True)
        if image is not None:
            _show_gray(axes[0], image, "raw image")
        cells = len(np.unique(labels[labels > 0]))
        palette = sns.color_palette("colorblind", 10)
        colours = label2rgb(labels, colors=palette, bg_label=0, bg_color=(0, 0, 0))
        _show(axes[-2], colours, f"cells ({cells})")
        # an all-zero map (everything ignored) would have a scale of no length
        top = float(heights.max()) or 1.0
        title = "loss weight w(x)"
        shown = _show_plane(axes[-1], heights, title, colours="viridis", largest=top, levels=32)
        _colour_bar(figure, axes[-1], shown)
        _finish(figure, path, caption, [])


def _read_history(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: not a CSV table ({error})") from error


def _draw_course(ax: Axes, table: pd.DataFrame, columns: list[str]) -> None:
    """One panel of the learning curve: each column, and its running mean where it is noisy."""
    names = {"cell_fraction": "share predicted cell", "learning_rate": "learning rate"}
    for column, colour in zip(columns, (BLUE, VERMILLION), strict=False):
        smooth = column != "learning_rate" and len(table) >= 40
        step, values = table["step"], table[column]
        label = names.get(column, column)
        faint: dict[str, Any] = {"alpha": 0.3, "linewidth": 1} if smooth else {"label": label}
        marker = "o" if len(table) == 1 else ""
        ax.plot(step, values, color=colour, marker=marker, **faint)
        if smooth:
            mean = values.rolling(max(5, len(table) // 20), center=True, min_periods=1).mean()
            ax.plot(step, mean, color=colour, linewidth=2, label=label)
    ax.set_ylabel(names.get(columns[0], columns[0]) if len(columns) == 1 else "share of pixels")
    if columns == ["loss"]:
        ax.set_ylim(bottom=0)
    if len(columns) > 1:
        ax.legend(frameon=False, loc="lower right")


def _error_colours(cell: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(H, W, 3) float: what is right in white and gray, the two kinds of error in colour."""
    colours = np.where(cell, 1.0, 0.75)[..., None].repeat(3, axis=-1)
    for wrong, colour in ((predicted & ~cell, VERMILLION), (cell & ~predicted, BLUE)):
        colours[wrong] = to_rgb(colour)
    return colours


def _image_panels(
    count: int,
    image_hw: tuple[int, ...],
    *,
    columns: int,
    legend: bool = False,
    colour_bar: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure with panels that show an image of (H, W) pixels by whole pixels, if it fits."""
    columns = min(columns, count)
    rows = -(-count // columns)
    longest = max(image_hw)
    scale = PANEL_PX // longest if longest <= PANEL_PX else PANEL_PX / longest
    height, width = (max(1, round(size * scale)) for size in image_hw)
    below = _CAPTION_PX + legend * _LEGEND_PX + _GAP_PX // 2
    total_width = columns * (width + _GAP_PX) + _GAP_PX + colour_bar * 4 * _GAP_PX
    total_height = rows * (height + _TITLE_PX) + below
    figure = Figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = []
    for k in range(count):
        left = _GAP_PX + k % columns * (width + _GAP_PX)
        bottom = below + (rows - 1 - k // columns) * (height + _TITLE_PX)
        ax = figure.add_axes(
            (left / total_width, bottom / total_height, width / total_width, height / total_height)
        )
        ax.set_xticks([])
        ax.set_yticks([])
        axes.append(ax)
    return figure, axes


def _show_gray(ax: Axes, plane: np.ndarray, title: str, *, levels: int = GRAY_LEVELS) -> None:
    _show_plane(ax, plane, title, colours="gray", largest=1.0, levels=levels)


def _show_plane(
    ax: Axes, plane: np.ndarray, title: str, *, colours: str, largest: float, levels: int
) -> AxesImage:
    """One plane in `levels` colours from 0 to `largest`."""
    smaller = ax.bbox.width < plane.shape[1] - 0.5
    shown = ax.imshow(
        plane,
        cmap=matplotlib.colormaps[colours].resampled(levels),
        vmin=0,
        vmax=largest,
        interpolation="hanning" if smaller else "nearest",
        interpolation_stage="data",
    )
    ax.set_title(title, fontsize=12)
    return shown


def _show(ax: Axes, colours: np.ndarray, title: str) -> None:
    ax.imshow(colours, interpolation="nearest")
    ax.set_title(title, fontsize=12)


def _rectangle(
    ax: Axes, top_left: tuple[int, int], hw: tuple[int, int], colour: str, *, dashed: bool = False
) -> None:
    """The outline of a window of the image, given in its pixels."""
    (top, left), (height, width) = top_left, hw
    frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour)
    frame.set_linestyle("--" if dashed else "-")
    frame.set_linewidth(1.2 if dashed else 3)
    ax.add_patch(frame)


def _colour_bar(figure: Figure, ax: Axes, shown: AxesImage) -> None:
    """A colour bar in the room that `_image_panels` leaves on the right."""
    box = ax.get_position()
    bar_width = _GAP_PX / (figure.get_figwidth() * DPI)
    bar = figure.add_axes((box.x1 + bar_width / 2, box.y0, bar_width, box.height))
    figure.colorbar(shown, cax=bar)


def _finish(
    figure: Figure,
    path: Path,
    caption: str | None,
    handles: list,
    *,
    dark: bool = False,
) -> None:
    """Legend and caption below the panels, then the file."""
    height = figure.get_figheight() * DPI
    if handles:
        figure.legend(
            handles=handles,
            loc="center",
            bbox_to_anchor=(0.5, (_CAPTION_PX + _LEGEND_PX / 2) / height),
            ncols=len(handles),
            frameon=dark,
            facecolor="0.35" if dark else "white",
            labelcolor="white" if dark else "black",
            fontsize=10,
        )
    if caption:
        figure.text(
            0.5,
            _CAPTION_PX / 2 / height,
            caption,
            ha="center",
            va="center",
            fontsize=8,
            color="0.3",
        )
    write_png(figure, path)


def write_png(figure: Figure, path: Path) -> None:
    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=DPI, **_PNG)
    write_bytes(path, memory.getvalue())


def _check_image(image: np.ndarray, name: str) -> None:
    values = np.asarray(image)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{name} of shape {values.shape}: must be (H, W), one slice")
    # written so that NaN fails too
    if not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"{name} holds values from {values.min()} to {values.max()}: must be in [0, 1]; "
            "divide 8-bit gray values by 255"
        )


def _check_shape(plane: np.ndarray | None, expected: tuple[int, ...], name: str) -> None:
    if plane is not None and np.shape(plane) != expected:
        raise ValueError(f"{name} of shape {np.shape(plane)}: must be {expected}, as the image is")
