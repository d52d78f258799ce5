"""A user's files at every command: one reader, one line of what was read, honest advice."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.measure import label

from tests.commands import TINY, run
from tests.tiny import same_weights
from unet2015.cli.main import parse
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import read_stack, write_stack
from unet2015.training.checkpoint import load_checkpoint

STACK = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)
IMAGES, LABELS = STACK.train_images, STACK.train_labels * np.uint8(255)
GRAY = {"photometric": "minisblack"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_stack(tmp_path / "images.tif", IMAGES)
    write_stack(tmp_path / "labels.tif", LABELS)
    return tmp_path


def train(folder: Path, images: str, labels: str, output: str, *options: object) -> int:
    where = ("--images", folder / images, "--labels", folder / labels, "--output", folder / output)
    return run("-m", "unet2015", "train", *where, *TINY, *options)


def shuffled(path: Path, gray: np.ndarray) -> None:
    """The same picture with indexed colours, whose indices are in no order."""
    place = np.random.default_rng(1).permutation(256).astype(np.uint8)
    table = np.zeros((3, 256), np.uint16)
    table[:, place] = np.arange(256) * 257
    tifffile.imwrite(path, place[gray], photometric="palette", colormap=table)


def slices_last(path: Path, stack: np.ndarray) -> None:
    tifffile.imwrite(path, np.moveaxis(stack, 0, -1).copy(), **GRAY)


def second_channel(path: Path, stack: np.ndarray) -> None:
    channels = np.stack([stack[::-1], stack], axis=1)
    tifffile.imwrite(path, channels, ome=True, metadata={"axes": "ZCYX"}, **GRAY)


def alternating(path: Path, stack: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as tiff:
        for k, image in enumerate(stack):
            tiff.write(image, compression="zlib" if k % 2 else None, metadata=None, **GRAY)


ENCODINGS: dict[str, tuple[Callable[[Path, np.ndarray], None], dict[str, object]]] = {
    "indexed grays": (shuffled, {}),
    "slices last": (slices_last, {"axes": "YXZ"}),
    "the second channel": (second_channel, {"channel": 1}),
    "pages that differ": (alternating, {}),
}


@pytest.mark.parametrize(("write", "said"), ENCODINGS.values(), ids=ENCODINGS)
def test_every_command_reads_what_another_encoding_means(files, capsys, write, said):
    """Trained, predicted, weighed and scored as from the plain files, to the bit."""
    write(files / "images-2.tif", IMAGES)
    write(files / "labels-2.tif", LABELS)
    of_images = [part for name, value in said.items() for part in (f"--{name}", value)]
    of_labels = [part for name, value in said.items() for part in (f"--label-{name}", value)]
    assert train(files, "images.tif", "labels.tif", "run") == 0
    assert train(files, "images-2.tif", "labels-2.tif", "run-2", *of_images, *of_labels) == 0
    assert same_weights(load_checkpoint(files / "run"), load_checkpoint(files / "run-2"))
    lines = {}
    for again, options in (("", []), ("-2", of_images)):
        where = ("--checkpoint", files / "run", "--output", files / f"p{again}.tif")
        image = files / f"images{again}.tif"
        assert run("-m", "unet2015", "predict", image, *where, *options) == 0
    predicted = read_stack(files / "p.tif")
    np.testing.assert_array_equal(read_stack(files / "p-2.tif"), predicted)
    write_stack(files / "q.tif", np.stack([predicted[1], predicted[0]]))
    for again, options in (("", []), ("-2", of_labels)):
        labels = files / f"labels{again}.tif"
        where = ("--output", files / f"w{again}.tif")
        assert run("-m", "unet2015", "weight-map", labels, *where, *options) == 0
        capsys.readouterr()
        assert run("-m", "unet2015", "evaluate", labels, files / "p.tif", *options) == 0
        lines[again] = capsys.readouterr().out.replace(f"labels{again}.tif", "labels.tif")
    assert (files / "w.tif").read_bytes() == (files / "w-2.tif").read_bytes()
    assert lines[""] == lines["-2"]


def test_a_prediction_with_other_axes_is_scored_by_them(files, capsys):
    probability = LABELS / np.float32(255)
    write_stack(files / "p.tif", probability)
    slices_last(files / "p-2.tif", probability)
    said = []
    for name, options in (("p.tif", ()), ("p-2.tif", ("--axes", "YXZ"))):
        assert run("-m", "unet2015", "evaluate", files / "labels.tif", files / name, *options) == 0
        said.append(capsys.readouterr().out.replace(name, "p.tif"))
    assert said[0] == said[1]


def test_every_command_says_what_it_has_read(files, capsys):
    image, labels = files / "images.tif", files / "labels.tif"
    share = f"binary, cell on {100 * (LABELS > 0).mean():.1f} % of the pixels, "
    low, high = IMAGES.min(), IMAGES.max()
    size = "2 slices of 64 × 64 px (height × width)"
    of_image = f"{image}: {size}, uint8, gray values {low} to {high}\n"
    assert train(files, "images.tif", "labels.tif", "run") == 0
    assert capsys.readouterr().out.startswith(f"{of_image}{labels}: {share}")
    output = ("--output", files / "x.tif")
    assert run("-m", "unet2015", "predict", image, "--checkpoint", files / "run", *output) == 0
    assert of_image in capsys.readouterr().out
    assert run("-m", "unet2015", "weight-map", labels, *output) == 0
    assert capsys.readouterr().out.startswith(f"{labels}: {share}")
    write_stack(files / "p.tif", LABELS / np.float32(255))
    assert run("-m", "unet2015", "evaluate", labels, files / "p.tif") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{labels}: {share}")
    assert f"{files / 'p.tif'}: {size}, float32, values 0 to 1\n" in said


def test_pixels_that_nobody_annotated_have_no_weight(files, capsys):
    labels = LABELS.copy()
    labels[0, :20] = 128
    write_stack(files / "partial.tif", labels)
    options = ("--ignore-label", 128, "--output", files / "w.tif")
    assert run("-m", "unet2015", "weight-map", files / "partial.tif", *options) == 0
    share = f"{100 * 20 / 128:.1f} % ignored"
    assert share in capsys.readouterr().out
    weights = read_stack(files / "w.tif")
    np.testing.assert_array_equal(weights == 0, labels == 128)
    assert train(files, "images.tif", "partial.tif", "run", "--ignore-label", 128) == 0
    assert share in capsys.readouterr().out
    other = labels.copy()
    other[0, :20] = 0  # what stands there does not matter: it is no cell and has no weight
    assert "ignore" in load_checkpoint(files / "run").data
    write_stack(files / "other.tif", other)
    assert train(files, "images.tif", "other.tif", "run") == 2
    assert "other data" in capsys.readouterr().err


def test_slices_without_a_cell_are_warned_of_or_left_out(files, capsys):
    labels = LABELS.copy()
    labels[1] = 0
    write_stack(files / "half.tif", labels)
    assert train(files, "images.tif", "half.tif", "a") == 0
    warned = capsys.readouterr().err
    assert f"warning: {files / 'half.tif'}: no cell in slice(s) 1: learnt as background" in warned
    assert train(files, "images.tif", "half.tif", "b", "--skip-empty") == 0
    said = capsys.readouterr()
    assert "without the empty slice(s) 1" in said.out
    assert "no cell" not in said.err
    write_stack(files / "images-1.tif", IMAGES[:1])
    write_stack(files / "labels-1.tif", LABELS[:1])
    assert train(files, "images-1.tif", "labels-1.tif", "c") == 0
    assert same_weights(load_checkpoint(files / "b"), load_checkpoint(files / "c"))


def test_indexed_colours_are_instances_for_every_command(files, capsys):
    table = np.random.default_rng(1).integers(0, 65536, (3, 256)).astype(np.uint16)
    ids = np.stack([label(plane, connectivity=1) for plane in LABELS]).astype(np.uint8)
    tifffile.imwrite(files / "colours.tif", ids, photometric="palette", colormap=table)
    write_stack(files / "ids.tif", ids)
    for name in ("colours", "ids"):
        options = ("--label-kind", "instances", "--output", files / f"w-{name}.tif")
        assert run("-m", "unet2015", "weight-map", files / f"{name}.tif", *options) == 0
    assert (files / "w-colours.tif").read_bytes() == (files / "w-ids.tif").read_bytes()
    assert run("-m", "unet2015", "weight-map", files / "colours.tif", *options[2:]) == 2
    assert "page 0 has indexed colours" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "weight-map"])
def test_cells_that_are_lost_are_told_only_where_cells_are_separated(files, capsys, command):
    lines = np.zeros(LABELS.shape, np.uint16)
    lines[:, 5:12, 3:60] = np.arange(5, 12)[:, None]
    write_stack(files / "lines.tif", lines)
    for separate in (True, False):
        options = ("--label-kind", "instances", *([] if separate else [NOT_SEPARATED[command]]))
        if command == "train":
            assert train(files, "images.tif", "lines.tif", f"run-{separate}", *options) == 0
        else:
            where = (files / "lines.tif", "--output", files / "w.tif")
            assert run("-m", "unet2015", "weight-map", *where, *options) == 0
        assert ("12 of 14 cells are lost" in capsys.readouterr().err) == separate


NOT_SEPARATED = {
    "train": "--weight-map.no-separate-touching",
    "weight-map": "--no-separate-touching",
}


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(files, capsys):
    (files / "file").write_text("")
    assert train(files, "none.tif", "none.tif", "file/run") == 2
    assert f"--output {files / 'file/run'}: {files / 'file'} is a file" in capsys.readouterr().err


def test_a_mask_that_is_trained_as_instances_is_warned_of(files, capsys):
    assert train(files, "images.tif", "labels.tif", "run", "--label-kind", "instances") == 0
    assert "look like a mask or classes: --label-kind binary" in capsys.readouterr().err


BAD: dict[str, tuple[np.ndarray, dict[str, object]]] = {
    "channels": (np.stack([IMAGES[0]] * 2), {"imagej": True}),
    "colours": (np.stack([IMAGES[0]] * 3, -1), {"photometric": "rgb"}),
    "times": (IMAGES[None].repeat(2, 0), GRAY),
    "slices last": (np.moveaxis(IMAGES, 0, -1), GRAY),
    "ids": (IMAGES.astype(np.int16) - 100, GRAY),
    "int32": (IMAGES.astype(np.int32), GRAY),
    "floats": (IMAGES.astype(np.float32), GRAY),
    "nan": (np.full((2, 64, 64), np.nan, np.float32), GRAY),
    "complex": (IMAGES.astype(np.complex64), GRAY),
    "inverted": (IMAGES, {"photometric": "miniswhite"}),
    "empty": (np.zeros((2, 64, 64), np.uint8), GRAY),
    "small": (IMAGES[:, :32], GRAY),
    "sixteen": (IMAGES.astype(np.uint16) * 16, GRAY),
}


@pytest.mark.parametrize("command", ["train", "labels", "predict", "evaluate", "weight-map"])
def test_no_message_names_an_option_that_the_command_lacks(files, capsys, monkeypatch, command):
    """Whatever is wrong with a file, what is told to do about it can be typed."""
    monkeypatch.setenv("COLUMNS", "300")
    assert train(files, "images.tif", "labels.tif", "run") == 0
    typed = {
        "train": ("train", "--images", "{}", "--labels", files / "labels.tif", "--output"),
        "labels": ("train", "--images", files / "images.tif", "--labels", "{}", "--output"),
        "predict": ("predict", "{}", "--checkpoint", files / "run", "--output"),
        "evaluate": ("evaluate", files / "labels.tif", "{}", "--json"),
        "weight-map": ("weight-map", "{}", "--label-kind", "instances", "--output"),
    }[command]
    with pytest.raises(SystemExit):
        parse([str(typed[0]), "--help-all"])
    # what the help's lines begin with
    column = re.findall(r"^│[ *]*(?:[A-Z]+ )?((?:--[\w.-]+ ?)+)", capsys.readouterr().out, re.M)
    known = set(" ".join(column).split())
    for name, (stack, options) in BAD.items():
        path = files / "bad.tif"
        tifffile.imwrite(path, stack, **options)
        words = [str(path) if word == "{}" else word for word in typed]
        output = files / ("out" if typed[0] == "train" else "out.tif")
        code = run("-m", "unet2015", *words, output, *(TINY if typed[0] == "train" else ()))
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert code in (0, 2), name
        named = set(re.findall(r"--[a-z][\w.-]*[a-z]", said))
        assert named <= known, f"{name}: {said}"
