"""Pictures of the ablations, from the records alone: paired differences, and learning curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from unet2015.data.cell_tracking import RELEASES
from unet2015.reports.figures import BLUE, DPI, FONT, VERMILLION, write_png
from unet2015.reports.statistics import CELL_METRICS, METRICS, Section

_DRAWN_OF_EM = ("warping_error", "rand_error", "pixel_error", "v_rand_thinned")
"""The paper's three metrics, and the one that later replaced them."""


def figure_stem(section: Section) -> str:
    """How the names of a section's figures begin: ablations_quick, …_quick_DIC-C2DH-HeLa."""
    cells = section.dataset in RELEASES  # the EM stack is not named
    return f"ablations_{section.preset}" + f"_{section.dataset}" * cells


def draw_section(section: Section, folder: Path) -> list[Path]:
    """Write ablations_<preset>_differences.png and …_curves.png; returns their paths.

    Of a cell tracking set, ablations_<preset>_<dataset>_….png; without its images.
    None without an arm. The same records give the same bytes.
    """
    if not section.arms:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    title = "preset " + figure_stem(section).removeprefix("ablations_").replace("_", ", ", 1)
    paths = []
    style: Any = {**sns.axes_style("whitegrid"), **FONT}
    with matplotlib.rc_context(style):
        for kind, draw in (("differences", _differences), ("curves", _curves)):
            paths.append(folder / f"{figure_stem(section)}_{kind}.png")
            write_png(draw(section, title), paths[-1])
    return paths


def _differences(section: Section, title: str) -> Figure:
    """Per metric: each pair's difference as a dot, the mean with its interval as a bar."""
    drawn = CELL_METRICS if section.dataset in RELEASES else _DRAWN_OF_EM
    size = (3.2 * len(drawn), 1.6 + 0.45 * len(section.arms))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(drawn), sharey=True)
    for ax, metric in zip(axes, drawn, strict=True):
        found = {arm.name: arm.difference(metric) for arm in section.arms}
        pairs = pd.DataFrame({arm: pd.Series(each.pairs) for arm, each in found.items()})
        sns.stripplot(pairs, orient="h", color=BLUE, alpha=0.6, jitter=False, ax=ax)
        for row, each in enumerate(found.values()):
            if each.mean is not None:
                low, high = each.interval.low, each.interval.high
                reach = (
                    None if low is None or high is None else [[each.mean - low], [high - each.mean]]
                )
                bar: Any = {"fmt": "D", "color": VERMILLION, "markersize": 5, "capsize": 4}
                ax.errorbar(each.mean, row + 0.18, xerr=reach, **bar)
        words, _, sign = METRICS[metric]
        ax.axvline(0, color="0.3", linewidth=1)
        ax.set(title=words, xlabel=f"arm − baseline ({'higher' if sign > 0 else 'lower'}: better)")
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 3))
        ax.locator_params(axis="x", nbins=5)
    count = max(arm.pairs for arm in section.arms)
    figure.suptitle(f"{title}: paired differences, {count} pairs or fewer an arm")
    return figure


def draw_lengths(lengths: Sequence[Section], folder: Path) -> Path:
    """Write <stem>_lengths.png: each arm's differences from the baseline against the steps.

    lengths: as `statistics.of_several_lengths`. The same records give the same bytes.
    """
    names = sorted({arm.name for section in lengths for arm in section.arms})
    drawn = CELL_METRICS if lengths[0].dataset in RELEASES else _DRAWN_OF_EM
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{figure_stem(lengths[0])}_lengths.png"
    style: Any = {**sns.axes_style("whitegrid"), **FONT}
    with matplotlib.rc_context(style):
        size = (3.2 * len(drawn), 1.2 + 1.7 * len(names))
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        # each panel on a scale of its own: one arm may differ ten times as much as the others
        axes = figure.subplots(len(names), len(drawn), sharex=True, squeeze=False)
        for row, name in zip(axes, names, strict=True):
            for ax, metric in zip(row, drawn, strict=True):
                _against_steps(ax, lengths, name, metric)
        for ax, metric in zip(axes[0], drawn, strict=True):
            words, _, sign = METRICS[metric]
            ax.set_title(f"{words}\n({'higher' if sign > 0 else 'lower'}: better)")
        for ax, name in zip(axes[:, 0], names, strict=True):
            ax.set_ylabel(name)
        for ax in axes[-1]:
            ax.set_xlabel("steps")
        what = "arm − baseline against steps, pairs and their mean with its interval"
        figure.suptitle(f"{lengths[0].dataset}: {what}")
        write_png(figure, path)
    return path


def _against_steps(ax: Any, lengths: Sequence[Section], name: str, metric: str) -> None:
    """One arm's differences in one metric: each pair a dot, the means joined, with intervals."""
    means, lows, highs = {}, {}, {}
    for section in lengths:
        for arm in (arm for arm in section.arms if arm.name == name):
            found, steps = arm.difference(metric), section.steps
            ax.plot([steps] * len(found.pairs), [*found.pairs.values()], ".", color=BLUE, alpha=0.4)
            if found.mean is not None:
                low, high = found.interval.low, found.interval.high
                means[steps] = found.mean
                lows[steps] = 0.0 if low is None else found.mean - low
                highs[steps] = 0.0 if high is None else high - found.mean
    reach = [[*lows.values()], [*highs.values()]]
    ax.errorbar([*means], [*means.values()], reach, fmt="D-", color=VERMILLION, capsize=4)
    ax.axhline(0, color="0.3", linewidth=1)
    steps = [section.steps for section in lengths]
    ax.set(xscale="log", xticks=steps, xticklabels=steps)
    ax.minorticks_off()
    ax.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3))


def _curves(section: Section, title: str) -> Figure:
    """Per arm: the loss of each of its runs, with the baseline's behind."""
    columns = min(4, len(section.arms))
    rows = -(-len(section.arms) // columns)
    figure = Figure(figsize=(3.2 * columns, 0.8 + 2.4 * rows), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, arm in zip(axes, section.arms, strict=False):
        for runs, colour in ((section.baseline.runs, "0.6"), (arm.runs, VERMILLION)):
            for curve in runs["curve"].dropna():
                ax.plot(curve["step"], curve["loss"], color=colour, linewidth=1.2)
        ax.set(title=arm.name, xlabel="step", ylabel="loss", ylim=(0, None))
        ax.label_outer()
    for ax in axes[len(section.arms) :]:
        ax.set_axis_off()
    figure.suptitle(
        f"{title}: training loss of every run, baseline in gray\n"
        "(other weights or pixels in the loss put it on another scale)",
        fontsize=11,
    )
    return figure
