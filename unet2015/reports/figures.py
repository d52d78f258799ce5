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
    _check(image, "image")
    if not 1 <= output_px <= input_px or (input_px - output_px) % 2:
        raise ValueError(
            f"output_px = {output_px}, input_px = {input_px}: the output tile must fit into "
            "the input tile with an even number of pixels to spare (paper: 388 in 572)"
        )
    margin = (input_px - output_px) // 2
    # how far the input tile reaches over the border, on the side where it reaches farthest
    ends = [start + output_px - size for start, size in zip(output_yx, image.shape, strict=True)]
    # … and a little more, so that the tile's frame is seen
    border = margin + max(0, *ends, -output_yx[0], -output_yx[1]) + _GAP_PX // 2
    height, width = (size + 2 * border for size in image.shape)
    mirrored = mirror_window(image, -border, -border, height, width)
    shown = [("image, mirrored at its border", mirrored)]
    if segmentation is not None:
        _check(segmentation, "segmentation", image.shape)
        around = np.pad(np.asarray(segmentation, float), border, constant_values=np.nan)
        shown.append(("segmentation", around))
    with matplotlib.rc_context(FONT):
        figure, axes = _panels(len(shown), (height, width), columns=2, legend=True)
        for ax, (title, plane) in zip(axes, shown, strict=False):
            _show(ax, plane, title)
            ax.set_facecolor("0.9")
        top, left = (start + border for start in output_yx)
        _outline(
            axes[0], border, border, image.shape, edgecolor="white", linestyle="--", linewidth=1.2
        )
        tile = (input_px, input_px)
        _outline(axes[0], top - margin, left - margin, tile, edgecolor=SKY_BLUE, linewidth=3)
        for ax in axes:
            _outline(ax, top, left, (output_px, output_px), edgecolor=YELLOW, linewidth=3)
        handles = [
            Line2D([], [], color=YELLOW, linewidth=3, label=f"output tile, {output_px} px"),
            Line2D([], [], color=SKY_BLUE, linewidth=3, label=f"input tile, {input_px} px"),
            Line2D([], [], color="white", linestyle="--", label="border of the image"),
        ]
        _legend(figure, handles, frameon=True, facecolor="0.35", labelcolor="white")
        _finish(figure, path, caption)


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
    cell, predicted = np.asarray(truth) > 0, np.asarray(probability) > threshold
    _check(image, "image")
    _check(cell, "truth", image.shape)
    _check(probability, "probability", image.shape)
    colours = np.where(cell, 1.0, 0.75)[..., None].repeat(3, axis=-1)
    colours[predicted & ~cell], colours[cell & ~predicted] = to_rgb(VERMILLION), to_rgb(BLUE)
    wrong = f"errors at threshold {threshold:g}: {(cell != predicted).mean():.1%} of the pixels"
    with matplotlib.rc_context(FONT):
        figure, axes = _panels(4, image.shape, columns=2, legend=True)
        _show(axes[0], image, title or "raw image")
        _show(axes[1], cell, "truth")
        _show(axes[2], probability, "probability of 'cell'", levels=32)
        _show(axes[3], colours, wrong)
        handles = [
            Patch(color=VERMILLION, label="false cell"),
            Patch(color=BLUE, label="false membrane"),
            Patch(facecolor="white", edgecolor="0.5", label="cell, right"),
            Patch(color="0.75", label="membrane, right"),
        ]
        _legend(figure, handles, frameon=False)
        _finish(figure, path, caption)


def learning_curve(history: pd.DataFrame | Path, path: Path, *, title: str | None = None) -> None:
    """The course of a training run: loss, share predicted cell and accuracy, learning rate.

    history: a table or a CSV file with the columns step and loss, and of learning_rate,
    cell_fraction and accuracy those that there are. Raises FileNotFoundError for a missing file
    and ValueError for a missing column or an empty table.
    """
    source = "history" if isinstance(history, pd.DataFrame) else str(history)
    try:
        table = history if isinstance(history, pd.DataFrame) else pd.read_csv(history)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{source}: not a CSV table ({error})") from error
    if missing := [column for column in ("step", "loss") if column not in table]:
        raise ValueError(f"{source}: no column {missing[0]!r}; has {', '.join(table)}")
    if table.empty:
        raise ValueError(f"{source}: has no row to draw")
    parts = {
        "loss": {"loss": "loss"},
        "share of pixels": {"accuracy": "accuracy", "cell_fraction": "share predicted cell"},
        "learning rate": {"learning_rate": "learning rate"},
    }
    parts = {words: part for words, part in parts.items() if part.keys() & {*table}}
    style: Any = {**sns.axes_style("ticks"), **FONT}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 1 + 2 * len(parts)), dpi=DPI, layout="constrained")
        axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (words, part) in zip(axes, parts.items(), strict=True):
            for (column, label), colour in zip(part.items(), (BLUE, VERMILLION), strict=False):
                if column in table:
                    _draw_course(ax, table["step"], table[column], colour=colour, label=label)
            ax.set_ylabel(words)
        axes[0].set(title=title or "learning curve", ylim=(0, None))
        if "share of pixels" in parts:
            axes[1].legend(frameon=False, loc="lower right")
        axes[-1].set_xlabel("step")
        sns.despine(figure)
        write_png(figure, path)


def _draw_course(ax: Axes, step: Any, values: Any, *, colour: str, label: str) -> None:
    """A line; of a long course that is noisy its running mean, with the course itself behind."""
    if len(step) >= 40 and values.name != "learning_rate":
        ax.plot(step, values, color=colour, alpha=0.3, linewidth=1)
        values = values.rolling(max(5, len(step) // 20), center=True, min_periods=1).mean()
    marker = "o" if len(step) == 1 else ""
    ax.plot(step, values, color=colour, label=label, linewidth=2, marker=marker)


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
    labels = np.asarray(instances)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer) or not labels.size:
        raise ValueError(f"instances of shape {labels.shape}, {labels.dtype}: must be (H, W) int")
    _check(weights, "weights", labels.shape, largest=np.inf)
    if image is not None:
        _check(image, "image", labels.shape)
    count = 2 if image is None else 3
    with matplotlib.rc_context(FONT):
        figure, axes = _panels(count, labels.shape, columns=count, colour_bar=True)
        if image is not None:
            _show(axes[0], image, "raw image")
        palette = sns.color_palette("colorblind", 10)
        colours = label2rgb(labels, colors=palette, bg_label=0, bg_color=(0, 0, 0))
        _show(axes[-2], colours, f"cells ({len(np.unique(labels[labels > 0]))})")
        # an all-zero map (everything ignored) would have a scale of no length
        top = float(np.max(weights)) or 1.0
        w = _show(axes[-1], weights, "loss weight w(x)", colours="viridis", largest=top, levels=32)
        gap = _GAP_PX / axes[-1].bbox.width
        figure.colorbar(w, cax=axes[-1].inset_axes((1 + gap / 2, 0, gap, 1)))
        _finish(figure, path, caption)


def _panels(
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
    scale = PANEL_PX / max(image_hw)
    height, width = (max(1, round(size * (int(scale) or scale))) for size in image_hw)
    below = _CAPTION_PX + legend * _LEGEND_PX + _GAP_PX // 2
    across = columns * (width + _GAP_PX) + _GAP_PX + colour_bar * 4 * _GAP_PX
    up = rows * (height + _TITLE_PX) + below
    figure = Figure(figsize=(across / DPI, up / DPI), dpi=DPI)
    axes = figure.subplots(
        *(rows, columns),
        squeeze=False,
        subplot_kw={"xticks": [], "yticks": []},
        gridspec_kw={
            "left": _GAP_PX / across,
            "right": (columns * (width + _GAP_PX)) / across,
            "bottom": below / up,
            "top": 1 - _TITLE_PX / up,
            "wspace": _GAP_PX / width,
            "hspace": _TITLE_PX / height,
        },
    )
    return figure, list(axes.ravel())


def _show(
    ax: Axes,
    image: np.ndarray,
    title: str,
    *,
    colours: str = "gray",
    largest: float = 1.0,
    levels: int = GRAY_LEVELS,
) -> AxesImage:
    """An image in colours, or a plane in `levels` of them from 0 to `largest`."""
    ax.set_title(title, fontsize=12)
    smaller = ax.bbox.width < image.shape[1] - 0.5 and image.ndim == 2
    return ax.imshow(
        image,
        cmap=matplotlib.colormaps[colours].resampled(levels),
        vmin=0,
        vmax=largest,
        interpolation="hanning" if smaller else "nearest",
        interpolation_stage="data",
    )


def _outline(ax: Axes, top: int, left: int, hw: tuple[int, ...], **style: Any) -> None:
    """The outline of a window of the image, given in its pixels."""
    ax.add_patch(Rectangle((left - 0.5, top - 0.5), hw[1], hw[0], fill=False, **style))


def _legend(figure: Figure, handles: list[Any], **style: Any) -> None:
    middle = (_CAPTION_PX + _LEGEND_PX / 2) / figure.bbox.height
    place: Any = {"loc": "center", "bbox_to_anchor": (0.5, middle), "ncols": len(handles)}
    figure.legend(handles=handles, fontsize=10, **place, **style)


def _finish(figure: Figure, path: Path, caption: str | None) -> None:
    """The caption, and the file."""
    middle = _CAPTION_PX / 2 / figure.bbox.height
    figure.text(0.5, middle, caption or "", ha="center", va="center", fontsize=8, color="0.3")
    write_png(figure, path)


def write_png(figure: Figure, path: Path) -> None:
    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=DPI, **_PNG)
    write_bytes(path, memory.getvalue())


def _check(
    plane: np.ndarray, name: str, shape: tuple[int, ...] | None = None, largest: float = 1.0
) -> None:
    """Raise ValueError for what is no plane in [0, largest], or not of the shape of the others."""
    values = np.asarray(plane)
    if shape is not None and values.shape != shape:
        raise ValueError(f"{name} of shape {values.shape}: must be {shape}, as the image is")
    if values.ndim != 2 or not values.size:
        raise ValueError(f"{name} of shape {values.shape}: must be (H, W), one slice")
    # written so that NaN fails too
    if not (values.min() >= 0 and values.max() <= largest and np.isfinite(values).all()):
        raise ValueError(
            f"{name} holds values from {values.min()} to {values.max()}: must be in "
            f"[0, {largest:g}]; divide 8-bit gray values by 255"
        )
