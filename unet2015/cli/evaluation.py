"""python -m unet2015 evaluate: a prediction against its labels, by the challenge's metrics.

From two TIFF files to a table, a JSON file with every curve, and a figure of the errors.
"""

import json as json_format
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.ndimage import binary_dilation

from unet2015.cli.files import ImageFile, LabelFile
from unet2015.data.isbi2012 import pixel_sha256
from unet2015.data.labels import Annotation, binary_labels
from unet2015.metrics import (
    PROTOCOLS,
    ChallengeScores,
    Mismatches,
    Score,
    challenge_scores,
    check_stacks,
    chosen_slices,
    mismatches,
)
from unet2015.reports.figures import (
    BLUE,
    DPI,
    FONT,
    GREEN,
    PANEL_PX,
    SKY_BLUE,
    VERMILLION,
    write_png,
)
from unet2015.reports.words import spans
from unet2015.runtime.atomic import writable_outputs, write_text
from unet2015.runtime.record import versions
from unet2015.studies.own_data import images_in_words, labels_in_words

Protocol = Literal["2015", "2016"]
_AS_STATED, _LABELS_AS_STATED = ImageFile(), LabelFile()
METRICS = {
    "warping_error": ("warping error", 6),
    "rand_error": ("Rand error", 4),
    "pixel_error": ("pixel error", 4),
    "warping_error_guarded": ("warping error, guarded", 6),
    "v_rand_thinned": ("V^Rand, thinned", 4),
    "v_info_thinned": ("V^Info, thinned", 4),
}
"""Name and decimals: the paper's Table 1 in its order, then our addition and the later metrics."""
CLASS_COLOURS = {
    "merger": VERMILLION,
    "split": BLUE,
    "hole addition": GREEN,
    "hole deletion": SKY_BLUE,
    "object addition": "black",
    "object deletion": "#CC79A7",
}
"""The classes in the order of `Mismatches.pixels`; colours of Okabe and Ito."""
_CURVES_PX, _GAP_PX, _TITLE_PX, _LEGEND_PX = 420, 70, 36, 80


def evaluate(
    labels_path: Path,
    prediction_path: Path,
    *,
    protocol: Protocol = "2015",
    slices: tuple[int, ...] | None = None,
    json: Path | None = None,
    figure: Path | None = None,
    prediction_file: ImageFile = _AS_STATED,
    label_file: LabelFile = _LABELS_AS_STATED,
) -> str:
    """Score a prediction with the metrics of the ISBI 2012 challenge (paper §4, Table 1): a table.

    labels_path: TIFF, 0 = membrane and one other value = cell. prediction_path: TIFF as large,
    float in [0, 1], the probability of cell; scored as float32, as the challenge stores it.
    protocol: '2015', what Table 1 was scored with as far as the organisers' public scripts tell
    (default), or '2016', the script in today's archive. slices: indices from 0, each once;
    default: all, with '2016' every third from 2. json: file for all figures with their curves over
    the thresholds, and what was scored. figure: PNG with the curves, and the topological errors of
    the worst of the slices at the guarded warping error's threshold. prediction_file, label_file:
    axes and channel where the files do not say them. What was read is printed, a line a file.

    Returns the table as text. Raises FileNotFoundError for inputs that are not there; ValueError
    for inputs, slices and outputs that cannot be used, all before the long work; OSError as
    `write_atomically`.
    """
    inputs = {"labels": Path(labels_path), "prediction": Path(prediction_path)}
    writable_outputs({"--json": json, "--figure": figure}, inputs)
    stacks = {
        "labels": label_file.stack(inputs["labels"]),
        "prediction": prediction_file.stack(inputs["prediction"]),
    }
    cells, probability = _checked(inputs, stacks)
    chosen = _chosen(slices, len(cells), protocol)
    cells, probability = cells[chosen], probability[chosen]
    # the protocol's own choice of slices is made already
    scores = challenge_scores(cells, probability, protocol, slices=range(len(chosen)))
    if figure is not None:
        threshold = _threshold_shown(scores)
        found = mismatches(cells, probability, threshold, PROTOCOLS[protocol].radius_px)
        _draw(scores, found, probability > np.float64(threshold), chosen, figure)
    if json is not None:
        content = {
            "protocol": protocol,
            "slices": chosen,
            **{
                k: {"file": path.name, "sha256": pixel_sha256(stacks[k])}
                for k, path in inputs.items()
            },
            "version": versions()["unet2015"],
            **scores.as_dict(),
        }
        text = json_format.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(json, text + "\n")
    return f"{_heading(inputs, chosen, protocol)}\n\n{score_table(scores)}"


def _checked(
    inputs: dict[str, Path], stacks: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Labels as bool and prediction as float32, both (N, H, W); ValueError naming the file."""
    prediction, cells = stacks["prediction"], binary_labels(stacks["labels"], inputs["labels"])
    given = Annotation(cells, None, np.arange(len(cells)))
    print(labels_in_words(inputs["labels"], given, "binary", len(cells)))
    print(images_in_words(inputs["prediction"], prediction, "values"))
    if prediction.dtype.kind in "iu":
        raise ValueError(
            f"{inputs['prediction']}: has {prediction.dtype} values from {prediction.min()} to "
            f"{prediction.max()}; the challenge's thresholds need floats from 0 to 1 and nothing "
            "is rescaled unseen: convert it to 32-bit and divide by the value that means 1, "
            f"{np.iinfo(prediction.dtype).max} say (ImageJ: Image > Type > 32-bit, then "
            "Process > Math > Divide)"
        )
    try:
        return check_stacks(cells, prediction)
    except ValueError as error:
        raise ValueError(f"{inputs['prediction']}: {error}") from error


def _chosen(slices: tuple[int, ...] | None, count: int, protocol: Protocol) -> list[int]:
    """`chosen_slices`, whose argument is an option here; ValueError names it as it is typed."""
    if slices is not None and not slices:
        raise ValueError("--slices: name at least one, or leave it out for those of the protocol")
    try:
        return chosen_slices(slices, count, protocol)
    except ValueError as error:
        text = str(error).replace("slices=[0]", "--slices 0")
        raise ValueError(f"--{text}" if text.startswith("slices") else text) from error


def _threshold_shown(scores: ChallengeScores) -> float:
    """The guarded warping error's threshold, or the plain one's where none qualifies."""
    for score in (scores.warping_error_guarded, scores.warping_error):
        if score.threshold is not None:
            return score.threshold
    return 0.5


def _heading(inputs: dict[str, Path], slices: list[int], protocol: str) -> str:
    labels, prediction = (path.name for path in inputs.values())
    return f"{prediction} against {labels}: slices {spans(slices)}, protocol {protocol}"


def score_table(scores: ChallengeScores) -> str:
    """All figures with the thresholds at which they were reached, one a line, for a terminal."""
    lines = [f"{'metric':<24}{'value':>10}{'threshold':>11}{'split':>9}{'merge':>9}"]
    for key, (name, decimals) in METRICS.items():
        score: Score = getattr(scores, key)
        if score.value is None:
            lines.append(f"{name:<24}{'none':>10}  no threshold leaves about as much cell")
            continue
        line = f"{name:<24}{score.value:>10.{decimals}f}{score.threshold:>11.1f}"
        if score.split is not None:
            line += f"{score.split:>9.4f}{score.merge:>9.4f}"
        lines.append(line)
    if scores.warping_error.threshold not in scores.warping_error_guarded.thresholds:
        lines += [
            "",
            f"The warping error is least at threshold {scores.warping_error.threshold:.1f}, where "
            "the prediction has far more or fewer",
            "cell pixels than the labels: an artefact of the metric. Look at the guarded one.",
        ]
    return "\n".join(lines)


def _draw(
    scores: ChallengeScores,
    found: Mismatches,
    predicted: np.ndarray,
    slices: list[int],
    path: Path,
) -> None:
    """Left the curves of all metrics, right the slice with most splits and mergers."""
    worst = int(found.pixels[:, :2].sum(axis=1).argmax())
    longest = max(predicted.shape[1:])
    scale = PANEL_PX // longest if longest <= PANEL_PX else PANEL_PX / longest
    height, width = (max(1, round(size * scale)) for size in predicted.shape[1:])
    left = 2 * _GAP_PX + _CURVES_PX
    # in pixels; a small slice leaves room for the title and the legend all the same
    size = np.array([left + PANEL_PX + _GAP_PX // 4, _LEGEND_PX + PANEL_PX + _TITLE_PX])
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=tuple(size / DPI), dpi=DPI)
        FigureCanvasAgg(figure)
        _draw_curves(figure, scores)
        ax = _axes(
            figure, left + (PANEL_PX - width) // 2, _LEGEND_PX + PANEL_PX - height, width, height
        )
        ax.set_xticks([])
        ax.set_yticks([])
        ax.imshow(_colours(found.classes[worst], predicted[worst], scale), interpolation="nearest")
        guarded = scores.warping_error_guarded.threshold is not None
        words = "" if guarded else ", which the guard refuses"
        threshold = _threshold_shown(scores)
        ax.set_title(f"slice {slices[worst]} at threshold {threshold:.1f}{words}", fontsize=12)
        counts = zip(CLASS_COLOURS.items(), found.pixels[worst], strict=True)
        figure.legend(
            handles=[Patch(color=colour, label=f"{name}: {n} px") for (name, colour), n in counts],
            loc="center",
            bbox_to_anchor=((left + PANEL_PX / 2) / size[0], _LEGEND_PX / 2 / size[1]),
            title="white: predicted cell; in colour, enlarged: what cannot be warped away",
            title_fontsize=9,
            ncols=3,
            columnspacing=1.2,
            frameon=False,
            fontsize=9,
        )
        write_png(figure, path)


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in pixels."""
    across, up = figure.get_size_inches() * DPI
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _colours(classes: np.ndarray, predicted: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 3): the prediction in white and gray, what cannot be warped away in colour."""
    shown = np.where(predicted, 1.0, 0.75)[..., None].repeat(3, axis=-1)
    # a single pixel is hard to see; mergers and splits are drawn last
    around = np.ones((3, 3) if scale < 3 else (1, 1), bool)
    for index, colour in reversed(list(enumerate(CLASS_COLOURS.values(), start=1))):
        shown[np.asarray(binary_dilation(classes == index, around), bool)] = to_rgb(colour)
    return shown


def _draw_curves(figure: Figure, scores: ChallengeScores) -> None:
    """Three panels below one another: errors, warping errors, V^Rand and V^Info."""
    # errors reach from 0 to 1 within one curve: a logarithmic scale that is linear near 0
    parts = (
        (("v_rand_thinned", BLUE), ("v_info_thinned", VERMILLION), None),
        (("warping_error_guarded", SKY_BLUE), ("warping_error", "black"), 1e-5),
        (("pixel_error", BLUE), ("rand_error", VERMILLION), 1e-3),
    )
    step = (PANEL_PX + _GAP_PX / 4) / len(parts)
    for row, (first, second, linear_below) in enumerate(parts):
        ax = _axes(figure, _GAP_PX, _LEGEND_PX + row * step, _CURVES_PX, step - _GAP_PX / 4)
        for key, colour in (first, second):
            _draw_curve(ax, getattr(scores, key), key, colour)
        ax.set_xlim(-0.03, 1.03)
        if linear_below is not None:
            ax.set_yscale("symlog", linthresh=linear_below)
            ax.set_ylim(-linear_below / 2, 2)
        else:
            ax.set_ylim(-0.05, 1.08)
        ax.legend(frameon=False, fontsize=9)
        ax.tick_params(labelbottom=row == 0)
    figure.axes[0].set_xlabel("threshold")


def _draw_curve(ax: Axes, score: Score, key: str, colour: str) -> None:
    """A metric over the threshold, its best marked by a star."""
    name, decimals = METRICS[key]
    if score.value is None or score.threshold is None:
        ax.plot([], [], color=colour, label=f"{name}: no threshold qualifies")
        return
    label = f"{name}: {score.value:.{decimals}f} at {score.threshold:.1f}"
    # the guarded curve lies on the other one, where it exists
    wide = key == "warping_error_guarded"
    ax.plot(score.thresholds, score.curve, color=colour, linewidth=6 if wide else 1.5, label=label)
    ax.plot(
        [score.threshold],
        [score.value],
        marker="*",
        markersize=18 if wide else 12,
        color=colour,
        markeredgecolor="white",
        clip_on=False,
    )
