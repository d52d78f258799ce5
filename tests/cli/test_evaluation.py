"""python -m unet2015 evaluate, as a function: files in; table, JSON and figure out."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from skimage.measure import label

from unet2015.benchmarks.metrics import NOISY, a_prediction
from unet2015.cli.evaluation import CLASS_COLOURS, evaluate
from unet2015.data.isbi2012 import pixel_sha256
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import write_stack
from unet2015.metrics import MISMATCH_CLASSES, PROTOCOLS, challenge_scores, mismatches
from unet2015.runtime.record import versions

LABELS = phantom_stack(seed=3, slices=4, size_px=72, test_slices=0).train_labels
PREDICTION = a_prediction(LABELS, *NOISY)
METRICS = ("pixel_error", "rand_error", "warping_error", "warping_error_guarded")
METRICS += ("v_rand_thinned", "v_info_thinned")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Labels and prediction as a user has them."""
    write_stack(tmp_path / "labels.tif", LABELS * np.uint8(255))
    write_stack(tmp_path / "p.tif", PREDICTION)
    return tmp_path / "labels.tif", tmp_path / "p.tif"


def scores_of(files, tmp_path, **options):
    table = evaluate(*files, json=tmp_path / "scores.json", **options)
    return table, json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))


def shown(path: Path, colour: str) -> np.ndarray:
    """Where a PNG has exactly this colour."""
    image = np.round(imread(path)[..., :3] * 255).astype(int)
    return (image == np.round(np.multiply(to_rgb(colour), 255)).astype(int)).all(-1)


def test_json_holds_every_score_and_what_was_scored(files, tmp_path):
    _, found = scores_of(files, tmp_path)
    expected = challenge_scores(LABELS, PREDICTION).as_dict()
    assert {metric: found[metric] for metric in METRICS} == expected
    for metric in METRICS:
        assert len(found[metric]["curve"]) == len(found[metric]["thresholds"])
    assert found["v_rand_thinned"].keys() >= {"split", "merge"}
    assert found["protocol"] == "2015"
    assert found["slices"] == [0, 1, 2, 3]
    hashes = pixel_sha256(LABELS * np.uint8(255)), pixel_sha256(PREDICTION)
    assert found["labels"] == {"file": "labels.tif", "sha256": hashes[0]}
    assert found["prediction"] == {"file": "p.tif", "sha256": hashes[1]}
    assert found["version"] == versions()["unet2015"]
    assert str(tmp_path) not in (tmp_path / "scores.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("protocol", "slices", "scored"),
    [("2015", (1, 3), [1, 3]), ("2016", None, [2]), ("2016", (3, 0), [3, 0])],
)
def test_slices_and_protocol(files, tmp_path, protocol, slices, scored):
    table, found = scores_of(files, tmp_path, protocol=protocol, slices=slices)
    assert found["slices"] == scored
    assert f"protocol {protocol}" in table
    # from the whole stack; the function scores stacks from which the slices are cut out
    expected = challenge_scores(LABELS, PREDICTION, protocol, slices=scored).as_dict()
    assert {metric: found[metric] for metric in METRICS} == expected


def test_the_table_has_the_figures_of_the_json(files, tmp_path):
    table, found = scores_of(files, tmp_path)
    rows = {line[:24].strip(): line[24:].split() for line in table.splitlines()[3:9]}
    names = ("pixel error", "Rand error", "warping error", "warping error, guarded")
    names += ("V^Rand, thinned", "V^Info, thinned")
    assert set(rows) == set(names)
    for name, metric in zip(names, METRICS, strict=True):
        assert float(rows[name][0]) == pytest.approx(found[metric]["value"], abs=5.1e-5)
        assert float(rows[name][1]) == pytest.approx(found[metric]["threshold"])
    assert float(rows["V^Rand, thinned"][3]) == pytest.approx(
        found["v_rand_thinned"]["merge"], abs=5.1e-5
    )


def test_float64_is_scored_as_float32(files, tmp_path):
    _, expected = scores_of(files, tmp_path)
    double = tmp_path / "double.tif"
    # 0.5 becomes more than 0.5, were it not rounded
    shifted = np.minimum(PREDICTION * np.float64(1 + 1e-12), 1)
    tifffile.imwrite(double, shifted, photometric="minisblack")
    _, found = scores_of((files[0], double), tmp_path)
    assert all(found[metric] == expected[metric] for metric in METRICS)
    assert found["prediction"]["sha256"] != expected["prediction"]["sha256"]


def test_an_empty_prediction_is_not_praised(files, tmp_path):
    """The challenge's warping error is then 0; the table says what to think of it."""
    write_stack(files[1], np.zeros(LABELS.shape, np.float32))
    table, found = scores_of(files, tmp_path, figure=tmp_path / "empty.png")
    assert found["warping_error"]["value"] == 0
    assert found["warping_error_guarded"]["value"] is None
    assert "artefact" in table
    assert shown(tmp_path / "empty.png", CLASS_COLOURS["object deletion"]).any()


def test_a_good_prediction_gets_no_warning(files):
    write_stack(files[1], a_prediction(LABELS, 12, 0))
    assert "artefact" not in evaluate(*files)


@pytest.mark.parametrize("protocol", ["2015", "2016"])
def test_the_figure_classifies_as_the_score_does(protocol):
    scores = challenge_scores(LABELS, PREDICTION, protocol, slices=range(4))
    threshold = scores.warping_error.threshold
    assert threshold is not None
    found = mismatches(LABELS, PREDICTION, threshold, PROTOCOLS[protocol].radius_px)
    assert found.pixels[:, :2].sum() / LABELS.size == scores.warping_error.value
    # the same six classes in the same order ('merger', 'object addition')
    for ours, theirs in zip(CLASS_COLOURS, MISMATCH_CLASSES, strict=True):
        assert ours.upper().replace(" ", "_").startswith(theirs)


def a_merger_and_a_split(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Labels of two cells in each of two slices; in slice 1 a gap merges, and a wall splits."""
    labels = np.zeros((2, size, size), np.uint8)
    labels[:, 4:30, 4:60], labels[:, 34:60, 4:60] = 1, 1
    prediction = labels.astype(np.float32)
    prediction[1, 30:34, 20:24] = 1
    prediction[1, 34:60, 40:42] = 0
    assert np.max(np.asarray(label(prediction[1] > 0, connectivity=1))) == 2
    return labels, prediction


def test_the_figure_shows_the_worst_slice_in_colour(tmp_path):
    labels, prediction = a_merger_and_a_split()
    write_stack(tmp_path / "labels.tif", labels)
    write_stack(tmp_path / "p.tif", prediction)
    files = tmp_path / "labels.tif", tmp_path / "p.tif"
    evaluate(*files, figure=tmp_path / "both.png")
    found = mismatches(labels, prediction, 0.0)
    assert found.pixels[0].sum() == 0
    scale = 560 // 64
    # the legend's patch of the class is shown in every figure: count what is there beyond it
    evaluate(*files, figure=tmp_path / "right.png", slices=(0,))
    for index, (name, colour) in enumerate(CLASS_COLOURS.items()):
        if name == "object addition":
            continue  # black, as the axes and the letters
        beyond = [shown(tmp_path / f"{f}.png", colour)[:-80, 500:].sum() for f in ("both", "right")]
        assert beyond[1] == 0
        assert beyond[0] == pytest.approx(found.pixels[1, index] * scale**2, rel=0.1, abs=2)
    assert found.pixels[1, :2].min() > 0


def test_the_same_input_gives_the_same_bytes_and_leaves_nothing_open(files, tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    for name in ("first", "again"):
        evaluate(*files, json=tmp_path / f"{name}.json", figure=tmp_path / f"{name}.png")
    for suffix in ("json", "png"):
        first, again = (tmp_path / f"{name}.{suffix}" for name in ("first", "again"))
        assert first.read_bytes() == again.read_bytes()
    assert pyplot.get_fignums() == []
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"labels.tif", "p.tif", "first.json", "first.png", "again.json", "again.png"}


@pytest.mark.parametrize("size", [(1, 40), (40, 3), (600, 24), (24, 900)])
def test_figures_of_any_size(tmp_path, size):
    rng = np.random.default_rng(0)
    labels = (rng.random((1, *size)) > 0.3).astype(np.uint8)
    write_stack(tmp_path / "labels.tif", labels)
    write_stack(tmp_path / "p.tif", rng.random((1, *size), np.float32))
    files = tmp_path / "labels.tif", tmp_path / "p.tif"
    evaluate(*files, figure=tmp_path / "figure.png")
    height, width = imread(tmp_path / "figure.png").shape[:2]
    assert 560 < height < 800
    assert 1000 < width < 1300


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (
            (PREDICTION * 255).astype(np.uint8),
            r"uint8 values from 0 to 255.*32-bit and divide.* 255 say",
        ),
        ((PREDICTION * 65535).astype(np.uint16), "uint16 .* means 1, 65535 say"),
        (PREDICTION * 255, r"\[0, 1\]"),
        (np.where(PREDICTION > 0.9, np.nan, PREDICTION).astype(np.float32), "NaN"),
        (PREDICTION[:2], r"\(2, 72, 72\)"),
        (PREDICTION[:, :, :60], r"\(4, 72, 60\)"),
    ],
    ids=["8-bit", "16-bit", "0-255", "NaN", "fewer slices", "narrower"],
)
def test_predictions_that_cannot_be_scored(files, tmp_path, prediction, words):
    write_stack(tmp_path / "bad.tif", prediction)
    with pytest.raises(ValueError, match=words) as caught:
        evaluate(files[0], tmp_path / "bad.tif", json=tmp_path / "scores.json")
    assert "bad.tif" in str(caught.value)
    assert not (tmp_path / "scores.json").exists()


def test_labels_that_cannot_be_scored(files, tmp_path):
    instances = np.asarray(label(LABELS[0], connectivity=1), np.uint16)
    write_stack(tmp_path / "instances.tif", instances)
    with pytest.raises(ValueError, match=r"instances\.tif.*binary"):
        evaluate(tmp_path / "instances.tif", files[1])
    with pytest.raises(FileNotFoundError, match=r"none\.tif"):
        evaluate(tmp_path / "none.tif", files[1])
    with pytest.raises(FileNotFoundError, match=r"none\.tif"):
        evaluate(files[0], tmp_path / "none.tif")


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ((0, 4), "^--slices: 4 is not a slice of the stack; indices go from 0 to 3"),
        ((-1,), "^--slices: -1 is not"),
        ((2, 0, 2), "^--slices = .*named twice"),
        ((), "^--slices: name at least one"),
    ],
)
def test_slices_that_are_not_there(files, slices, words):
    with pytest.raises(ValueError, match=words):
        evaluate(*files, slices=slices)


def test_protocol_2016_needs_three_slices(files, tmp_path):
    write_stack(tmp_path / "labels.tif", LABELS[:2])
    write_stack(tmp_path / "p.tif", PREDICTION[:2])
    with pytest.raises(
        ValueError, match=r"protocol 2016 scores none.*name them, for instance --slices 0"
    ):
        evaluate(*files, protocol="2016")
    with pytest.raises(ValueError, match="protocol = '2014': must be one of 2015, 2016"):
        evaluate(*files, protocol="2014")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["json", "figure"])
def test_outputs_are_refused_before_anything_is_read(files, tmp_path, option):
    missing = tmp_path / "none.tif"  # would be the error if the inputs came first
    with pytest.raises(ValueError, match=f"--{option} .*is a folder"):
        evaluate(files[0], missing, **{option: tmp_path})
    blocked = files[0] / "below-a-file" / "scores.png"
    with pytest.raises(ValueError, match=f"--{option} .*cannot be written to"):
        evaluate(files[0], missing, **{option: blocked})
    with pytest.raises(ValueError, match=f"--{option} .*is the file of the labels"):
        evaluate(files[0], missing, **{option: files[0].parent / "." / "labels.tif"})


def test_nothing_is_left_of_an_evaluation_that_fails(files, tmp_path):
    write_stack(tmp_path / "labels.tif", np.zeros_like(LABELS[:1]))
    outputs = {"json": tmp_path / "new" / "x.json", "figure": tmp_path / "other" / "x.png"}
    with pytest.raises(ValueError, match=r"labels\.tif: slice 0 has the one value 0;"):
        evaluate(*files, **outputs)
    assert {path.name for path in tmp_path.iterdir()} == {"labels.tif", "p.tif"}


def test_outputs_may_lie_in_new_folders(files, tmp_path):
    evaluate(*files, json=tmp_path / "a" / "x.json", figure=tmp_path / "b" / "c" / "x.png")
    assert (tmp_path / "a" / "x.json").is_file()
    assert (tmp_path / "b" / "c" / "x.png").is_file()


def test_a_figure_is_a_png(files, tmp_path):
    with pytest.raises(ValueError, match=r"--figure .*scores.jpg: must end in .png"):
        evaluate(*files, figure=tmp_path / "scores.jpg")


def test_one_path_for_two_outputs_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match=r"--figure .*is the file of --json"):
        evaluate(*files, json=tmp_path / "out", figure=tmp_path / "out")
