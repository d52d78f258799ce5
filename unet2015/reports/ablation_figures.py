"""Pictures of the ablations, from the records alone: paired differences, and learning curves."""

from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unet2015.data.cell_tracking import RELEASES
from unet2015.reports.figures import BLUE, DPI, FONT, VERMILLION, write_png
from unet2015.reports.statistics import CELL_METRICS, METRICS, Arm, Section

_DRAWN_OF_EM = ("warping_error", "rand_error", "pixel_error", "v_rand_thinned")
"""The paper's three metrics, and the one that later replaced them."""
_GRAY = "0.6"


def figure_stem(section: Section) -> str:
    """How the names of a section's figures begin: ablations_quick, …_quick_DIC-C2DH-HeLa."""
    return "_".join(["ablations", section.preset, *_named(section)])


def _named(section: Section) -> list[str]:
    """The data set, where it is to be named: the EM stack is not."""
    return [section.dataset] if section.dataset in RELEASES else []


def _title(section: Section) -> str:
    return ", ".join([f"preset {section.preset}", *_named(section)])


def _drawn(section: Section) -> tuple[str, ...]:
    return tuple(CELL_METRICS) if section.dataset in RELEASES else _DRAWN_OF_EM


def draw_section(section: Section, folder: Path) -> list[Path]:
    """Write ablations_<preset>_differences.png and …_curves.png; returns their paths.

    Of a cell tracking set, ablations_<preset>_<dataset>_….png; without its images.
    None without an arm. The same records give the same bytes.
    """
    if not section.arms:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    start = figure_stem(section)
    paths = [folder / f"{start}_differences.png", folder / f"{start}_curves.png"]
    style: Any = {**sns.axes_style("whitegrid"), **FONT}
    with matplotlib.rc_context(style):
        _differences(section, paths[0])
        _curves(section, paths[1])
    return paths


def _differences(section: Section, path: Path) -> None:
    """Per metric: each pair's difference as a dot, the mean with its interval as a bar."""
    names, drawn = [arm.name for arm in section.arms], _drawn(section)
    height = 1.6 + 0.45 * len(names)
    figure = Figure(figsize=(3.2 * len(drawn), height), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(drawn), sharey=True)
    for ax, metric in zip(axes, drawn, strict=True):
        table = pd.DataFrame(
            [
                {"arm": arm.name, "value": value}
                for arm in section.arms
                for difference in arm.differences
                if difference.metric == metric
                for value in difference.pairs.values()
            ],
            columns=["arm", "value"],
        )
        sns.stripplot(
            table, x="value", y="arm", order=names, color=BLUE, alpha=0.6, jitter=False, ax=ax
        )
        _intervals(ax, section, metric)
        words, _, sign = METRICS[metric]
        ax.axvline(0, color="0.3", linewidth=1)
        ax.set(title=words, xlabel=f"arm − baseline ({'higher' if sign > 0 else 'lower'}: better)")
        ax.set_ylabel("")
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 3))
        ax.locator_params(axis="x", nbins=5)
    count = max((arm.pairs for arm in section.arms), default=0)
    figure.suptitle(f"{_title(section)}: paired differences, {count} pairs or fewer an arm")
    write_png(figure, path)


def _intervals(ax: Axes, section: Section, metric: str) -> None:
    for row, arm in enumerate(section.arms):
        (found,) = (d for d in arm.differences if d.metric == metric)
        if found.mean is None:
            continue
        low, high = found.interval.low, found.interval.high
        reach = None if low is None or high is None else [[found.mean - low], [high - found.mean]]
        ax.errorbar(
            found.mean, row + 0.18, xerr=reach, fmt="D", color=VERMILLION, markersize=5, capsize=4
        )


def _curves(section: Section, path: Path) -> None:
    """Per arm: the loss of each of its runs, with the baseline's behind."""
    columns = min(4, len(section.arms))
    rows = -(-len(section.arms) // columns)
    figure = Figure(figsize=(3.2 * columns, 0.8 + 2.4 * rows), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, arm in zip(axes, section.arms, strict=False):
        _draw_runs(ax, section.baseline, _GRAY)
        _draw_runs(ax, arm, VERMILLION)
        ax.set(title=arm.name, xlabel="step", ylabel="loss")
        ax.set_ylim(bottom=0)
    for ax in axes[len(section.arms) :]:
        ax.set_axis_off()
    figure.suptitle(
        f"{_title(section)}: training loss of every run, baseline in gray\n"
        "(other weights or pixels in the loss put it on another scale)",
        fontsize=11,
    )
    write_png(figure, path)


def _draw_runs(ax: Axes, arm: Arm, colour: str) -> None:
    for curve in arm.runs["curve"]:
        if curve is not None:
            table = pd.DataFrame(curve)
            sns.lineplot(table, x="step", y="loss", color=colour, linewidth=1.2, ax=ax)
