import io
import os
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import tifffile
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from unet2015.reports.figures import (
    BLUE,
    SKY_BLUE,
    VERMILLION,
    YELLOW,
    learning_curve,
    overlap_tile_figure,
    prediction_panel,
    weight_map_figure,
)

CAPTION = "phantom"


def an_image(size=(64, 64), seed=0):
    return np.random.default_rng(seed).random(size).astype(np.float32)


def a_history(rows=60):
    step = np.arange(20, 20 * rows + 1, 20)
    return pd.DataFrame(
        {
            "step": step,
            "loss": 0.7 * np.exp(-step / 300),
            "learning_rate": 1e-3,
            "cell_fraction": 0.8,
            "accuracy": 0.9,
        }
    )


def pixels(path, colour):
    """How many pixels of a PNG have exactly this colour."""
    shown = np.round(imread(path)[..., :3] * 255).astype(int)
    return int((shown == np.round(np.multiply(to_rgb(colour), 255)).astype(int)).all(-1).sum())


def draw_all(folder):
    labels = np.zeros((64, 64), int)
    labels[4:30, 4:60], labels[33:60, 4:60] = 1, 2
    image, truth = an_image(), (labels > 0).astype(np.uint8) * 255
    overlap_tile_figure(image, (0, 0), 36, 60, folder / "tile.png", caption=CAPTION)
    prediction_panel(image, truth, image, folder / "panel.png", caption=CAPTION)
    learning_curve(a_history(), folder / "curve.png")
    weight_map_figure(image, labels, 1 + image, folder / "weights.png", caption=CAPTION)
    return sorted(folder.glob("*.png"))


def test_the_same_input_gives_the_same_bytes_and_leaves_no_state(tmp_path):
    (tmp_path / "again").mkdir()
    settings = dict(matplotlib.rcParams)
    first, again = draw_all(tmp_path), draw_all(tmp_path / "again")
    assert len(first) == 4
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert dict(matplotlib.rcParams) == settings
    for path in first:
        assert b"Software" not in path.read_bytes()


def test_no_figure_stays_open(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    draw_all(tmp_path)
    assert pyplot.get_fignums() == []


def test_the_panel_counts_its_errors_in_two_colours(tmp_path):
    truth = np.ones((560, 560), np.uint8)  # as large as a panel: one pixel is one pixel
    truth[:, 300:] = 0
    probability = truth * 0.9 + 0.05
    probability[100:140, 100:150] = 0.2  # 40 × 50 px of cell predicted as membrane
    probability[100:120, 400:450] = 0.7  # 20 × 50 px of membrane predicted as cell
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    prediction_panel(truth * 1.0, truth, probability, paths[0])
    prediction_panel(truth * 1.0, truth, truth * 1.0, paths[1])
    for colour, expected in ((BLUE, 40 * 50), (VERMILLION, 20 * 50)):
        # the legend has the colour too
        assert pixels(paths[0], colour) - pixels(paths[1], colour) == expected


def test_the_panel_treats_the_threshold_as_the_challenge_does(tmp_path):
    truth, probability = np.zeros((560, 560)), np.full((560, 560), 0.5)
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    prediction_panel(truth, truth, probability, paths[0])  # 0.5 > 0.5 is false: membrane
    prediction_panel(truth, truth, probability, paths[1], threshold=0.4)
    gained = pixels(paths[1], VERMILLION) - pixels(paths[0], VERMILLION)
    assert gained == pytest.approx(560 * 560, rel=0.02)  # the panel's frame covers its rim


@pytest.mark.parametrize("output_yx", [(0, 0), (12, 20), (28, 28)])
def test_the_tile_is_framed_wherever_it_lies(tmp_path, output_yx):
    path = tmp_path / "tile.png"
    overlap_tile_figure(np.zeros((64, 64)), output_yx, 36, 60, path)
    shown = np.round(imread(path)[..., :3] * 255).astype(int)
    for colour, side in ((YELLOW, 36), (SKY_BLUE, 60)):
        exact = (shown == np.round(np.multiply(to_rgb(colour), 255)).astype(int)).all(-1)
        rows, columns = exact.sum(1), exact.sum(0)
        # both horizontal and both vertical sides of the square are drawn whole
        for profile in (rows, columns):
            whole = np.flatnonzero(profile > 0.9 * profile.max())
            assert (np.diff(whole) > side).sum() == 1


def test_the_mirrored_border_is_numpys_reflection(tmp_path):
    image, path = an_image((33, 33), seed=1), tmp_path / "tile.png"
    overlap_tile_figure(image, (5, 5), 23, 47, path)
    border = 12 + 8  # margin of the tile, which reaches over by less, and room for its frame
    expected = np.pad(image, border, mode="reflect")
    scale = 560 // len(expected)
    gray = imread(path)[..., 0]
    # the centre of each image pixel, below the title and right of the gap
    shown = gray[30 + scale // 2 :: scale, 16 + scale // 2 :: scale][: len(expected)]
    right = np.abs(shown[:, : len(expected)] - expected) < 0.05  # half a gray level and rounding
    assert right.mean() > 0.85  # the frames hide the rest
    repeated = np.pad(image, border, mode="symmetric")
    assert (np.abs(shown[:, : len(expected)] - repeated) < 0.05).mean() < 0.5


@pytest.mark.parametrize("columns", [["step", "loss"], ["step", "loss", "learning_rate"]])
def test_a_learning_curve_of_the_columns_that_there_are(tmp_path, columns):
    history = tmp_path / "history.csv"
    a_history()[columns].to_csv(history, index=False)
    learning_curve(history, tmp_path / "file.png")
    learning_curve(a_history().filter(columns), tmp_path / "table.png")
    assert (tmp_path / "file.png").read_bytes() == (tmp_path / "table.png").read_bytes()


def test_a_learning_curve_of_a_run_that_has_just_begun(tmp_path):
    learning_curve(a_history(rows=1), tmp_path / "curve.png")
    assert pixels(tmp_path / "curve.png", BLUE) > 0


def test_weight_maps_without_image_and_of_nothing(tmp_path):
    nothing = np.zeros((9, 5), int)
    weight_map_figure(None, nothing, nothing.astype(float), tmp_path / "weights.png")
    two = imread(tmp_path / "weights.png").shape
    weight_map_figure(nothing * 0.0, nothing, nothing + 1.0, tmp_path / "weights3.png")
    assert imread(tmp_path / "weights3.png").shape[1] > two[1]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 8, 8)), r"\(2, 8, 8\)"),
        (np.zeros((0, 8)), r"\(0, 8\)"),
        (np.full((8, 8), 255, np.uint8), "255"),
        (np.full((8, 8), np.nan), "nan"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(tmp_path, image, message):
    with pytest.raises(ValueError, match=rf"image.*{message}"):
        overlap_tile_figure(image, (0, 0), 4, 8, tmp_path / "x.png")
    with pytest.raises(ValueError, match=rf"image.*{message}"):
        prediction_panel(image, image, image, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_the_image_is_refused(tmp_path):
    path, image = tmp_path / "x.png", an_image((8, 8))
    wrong = an_image((8, 9))
    with pytest.raises(ValueError, match="truth"):
        prediction_panel(image, wrong, image, path)
    with pytest.raises(ValueError, match="probability"):
        prediction_panel(image, image, wrong, path)
    with pytest.raises(ValueError, match="probability holds"):
        prediction_panel(image, image, image + 1, path)
    with pytest.raises(ValueError, match="segmentation"):
        overlap_tile_figure(image, (0, 0), 4, 8, path, segmentation=wrong)
    with pytest.raises(ValueError, match="input_px = 5"):
        overlap_tile_figure(image, (0, 0), 4, 5, path)
    with pytest.raises(ValueError, match="instances"):
        weight_map_figure(image, image, image, path)
    with pytest.raises(ValueError, match="weights"):
        weight_map_figure(image, np.ones((8, 8), int), -image, path)
    assert not path.exists()


def test_a_history_that_does_not_fit_is_refused(tmp_path):
    path, csv = tmp_path / "x.png", tmp_path / "history.csv"
    with pytest.raises(FileNotFoundError, match="history"):
        learning_curve(csv, path)
    csv.write_text("")
    with pytest.raises(ValueError, match="history"):
        learning_curve(csv, path)
    csv.write_text("step,accuracy\n1,0.5\n")
    with pytest.raises(ValueError, match="no column 'loss'"):
        learning_curve(csv, path)
    with pytest.raises(ValueError, match="no row"):
        learning_curve(a_history(0), path)


@pytest.mark.skipif("UNET2015_DATA" not in os.environ, reason="UNET2015_DATA is not set")
def test_figures_of_an_em_slice_are_small_enough_for_the_repository(tmp_path):
    folder = Path(os.environ["UNET2015_DATA"]) / "isbi2012"
    image = tifffile.imread(folder / "train-volume.tif", key=24) / np.float32(255)
    truth = tifffile.imread(folder / "train-labels.tif", key=24)
    overlap_tile_figure(image, (0, 0), 388, 572, tmp_path / "tile.png", caption=CAPTION)
    prediction_panel(image, truth, truth / np.float32(255), tmp_path / "panel.png", caption=CAPTION)
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 400 * 1024
        assert imread(io.BytesIO(path.read_bytes())).shape[0] > 512
