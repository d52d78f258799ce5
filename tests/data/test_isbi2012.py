"""The EM stack: where it is looked for, what is verified, how it is downloaded (from here only)."""

import http.server
import os
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from unet2015.data import download, isbi2012
from unet2015.data.isbi2012 import five_folds, load_isbi2012, pixel_sha256
from unet2015.data.tiff import write_stack

SHAPE = (30, 8, 9)
NAMES = ("train-volume.tif", "train-labels.tif", "test-volume.tif", "test-labels.tif")


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    values = [rng.integers(0, 256, SHAPE).astype(np.uint8) for _ in NAMES]
    return {
        name: (value // 128 * 255 if "labels" in name else value)
        for name, value in zip(NAMES, values, strict=True)
    }


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        write_stack(folder / name, arrays()[name])
    return folder


@pytest.fixture(autouse=True)
def _small_and_offline(tmp_path, monkeypatch):
    """A small stack takes the challenge's place; an empty cache; no way to the network."""

    def refused(url: str, target: Path, *, progress: bool) -> None:
        raise ConnectionError("the server cannot be reached")

    hashes = {name: pixel_sha256(pixels) for name, pixels in arrays().items()}
    del hashes["test-labels.tif"]
    monkeypatch.setattr(isbi2012, "SHAPE", SHAPE)
    monkeypatch.setattr(isbi2012, "PIXEL_SHA256", hashes)
    monkeypatch.setattr(isbi2012, "_cache", lambda: tmp_path / "cache" / "isbi2012")
    monkeypatch.setattr(isbi2012, "fetch", refused)
    monkeypatch.delenv("UNET2015_DATA", raising=False)


def check(stack: isbi2012.EMStack, *names: str) -> None:
    """The stack has the pixels and the hashes of the named files, and of no others."""
    found = (stack.train_images, stack.train_labels, stack.test_images, stack.test_labels)
    for name, pixels in zip(NAMES, found, strict=True):
        if name in names:
            expected = arrays()[name]
            expected = expected // 255 if "labels" in name else expected
            assert pixels is not None
            assert pixels.dtype == np.uint8
            np.testing.assert_array_equal(pixels, expected)
        else:
            assert pixels is None
    assert stack.name == "isbi2012"
    assert stack.hashes == {name: pixel_sha256(arrays()[name]) for name in names}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_from_the_folder_given(tmp_path, count):
    folder = fill(tmp_path / "data", *NAMES[:count])
    stack = load_isbi2012(folder)
    check(stack, *NAMES[:count])
    assert str(tmp_path) not in stack.source


def test_the_folder_given_goes_before_all_others(tmp_path, monkeypatch):
    fill(tmp_path / "cache" / "isbi2012", *NAMES)
    fill(tmp_path / "root" / "isbi2012", *NAMES[:3])
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    check(load_isbi2012(fill(tmp_path / "data", *NAMES[:2])), *NAMES[:2])


def test_the_environment_goes_before_the_cache(tmp_path, monkeypatch):
    fill(tmp_path / "cache" / "isbi2012", *NAMES)
    fill(tmp_path / "root" / "isbi2012", *NAMES[:3])
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    stack = load_isbi2012()
    check(stack, *NAMES[:3])
    assert "$UNET2015_DATA/isbi2012" in stack.source
    assert str(tmp_path) not in stack.source


def test_the_cache_is_used_when_the_environment_has_only_half(tmp_path, monkeypatch):
    fill(tmp_path / "cache" / "isbi2012", *NAMES)
    fill(tmp_path / "root" / "isbi2012", "train-volume.tif")
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    check(load_isbi2012(), *NAMES)


@pytest.mark.parametrize("there", [(), ("train-volume.tif",), ("train-labels.tif",)])
def test_the_folder_given_must_have_the_training_files(tmp_path, there):
    fill(tmp_path / "cache" / "isbi2012", *NAMES)
    folder = fill(tmp_path / "data", *there)
    folder.mkdir(exist_ok=True)
    missing = [name for name in NAMES[:2] if name not in there]
    with pytest.raises(FileNotFoundError, match=f"has no {' and no '.join(missing)}"):
        load_isbi2012(folder)


def test_the_folder_above_is_pointed_out(tmp_path):
    fill(tmp_path / "isbi2012", *NAMES[:2])
    with pytest.raises(FileNotFoundError, match=r"they are in .*isbi2012: give that folder"):
        load_isbi2012(tmp_path)


@pytest.mark.parametrize("download", [True, False])
def test_nothing_anywhere_names_the_three_ways(tmp_path, monkeypatch, download):
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    with pytest.raises(FileNotFoundError) as caught:
        load_isbi2012(download=download)
    message = str(caught.value)
    for part in ("--data DIR", "UNET2015_DATA", "internet", isbi2012.ARCHIVE_URL, "cache"):
        assert part in message
    assert ("cannot be reached" in message) == download
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", NAMES[:3])
def test_another_pixel_is_found_out(tmp_path, name):
    folder = fill(tmp_path / "data", *NAMES)
    pixels = arrays()[name]
    pixels[29, 7, 8] = 255 - pixels[29, 7, 8]
    write_stack(folder / name, pixels)
    message = f"{name}: SHA-256 of the pixels {pixel_sha256(pixels)}, expected .*; take the"
    with pytest.raises(ValueError, match=message):
        load_isbi2012(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pixels: pixels[:29], "slices 29, expected 30"),
        (lambda pixels: pixels[:, :7], r"shape \(30, 7, 9\), expected \(30, 8, 9\)"),
        (lambda pixels: pixels.astype(np.uint16), "dtype uint16, expected uint8"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_another_size_or_dtype(tmp_path, name, change, message):
    folder = fill(tmp_path / "data", *NAMES)
    write_stack(folder / name, change(arrays()[name]))
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        load_isbi2012(folder)


def test_test_labels_must_be_binary(tmp_path):
    folder = fill(tmp_path / "data", *NAMES[:3])
    write_stack(folder / "test-labels.tif", arrays()["test-volume.tif"])
    with pytest.raises(ValueError, match=r"test-labels\.tif: slice 0 has the values"):
        load_isbi2012(folder)


def test_a_damaged_file_is_not_taken_for_a_missing_one(tmp_path):
    folder = fill(tmp_path / "data", *NAMES[:3])
    content = (folder / "test-volume.tif").read_bytes()
    (folder / "test-volume.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"test-volume\.tif: .*truncated"):
        load_isbi2012(folder)


def archive(folder: Path, *names: str, prefix: str = "") -> Path:
    """A zip file like the challenge's, with members that must not be unpacked."""
    with zipfile.ZipFile(folder / "archive.zip", "w") as file:
        for name in names:
            file.write(fill(folder / "packed", name) / name, f"{prefix}{name}")
            file.writestr(f"__MACOSX/{prefix}._{name}", "no image")
        file.writestr(f"{prefix}challenge-error-metrics.bsh", "no image")
        file.writestr("../../outside.tif", "must not be unpacked")
        file.writestr("/absolute.tif", "must not be unpacked")
    return folder / "archive.zip"


def serve(path: Path):
    """A stand-in for the download that copies a file."""

    def copy(url: str, target: Path, *, progress: bool) -> None:
        target.write_bytes(path.read_bytes())

    return copy


@pytest.mark.parametrize("prefix", ["", "ISBI-2012-challenge/", "../../"])
@pytest.mark.parametrize("count", [2, 4])
def test_download_fills_the_cache_with_the_stack_and_nothing_else(
    tmp_path, monkeypatch, prefix, count
):
    path = archive(tmp_path, *NAMES[:count], prefix=prefix)
    monkeypatch.setattr(isbi2012, "fetch", serve(path))
    stack = load_isbi2012()
    check(stack, *NAMES[:count])
    assert isbi2012.ARCHIVE_URL in stack.source
    cached = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "cache").rglob("*.*"))
    assert cached == sorted(f"cache/isbi2012/{name}" for name in NAMES[:count])
    assert list(tmp_path.parent.rglob("outside.tif")) == []
    monkeypatch.undo()
    monkeypatch.setattr(isbi2012, "SHAPE", SHAPE)
    hashes = {name: pixel_sha256(pixels) for name, pixels in arrays().items()}
    monkeypatch.setattr(isbi2012, "PIXEL_SHA256", hashes)
    check(load_isbi2012(tmp_path / "cache" / "isbi2012"), *NAMES[:count])


def test_a_download_with_other_pixels_does_not_reach_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(isbi2012, "fetch", serve(archive(tmp_path, *NAMES)))
    monkeypatch.setitem(isbi2012.PIXEL_SHA256, "train-volume.tif", "0" * 64)
    with pytest.raises(ValueError, match=r"train-volume\.tif: SHA-256 of the pixels"):
        load_isbi2012()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_goes_on_without_test_labels_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(isbi2012, "fetch", serve(archive(tmp_path, *NAMES)))
    monkeypatch.setitem(isbi2012.PIXEL_SHA256, "test-labels.tif", "0" * 64)
    with pytest.warns(UserWarning, match="test labels of .* left out"):
        check(load_isbi2012(), *NAMES[:3])


@pytest.mark.parametrize("kind", ["no zip", "half a zip", "damaged", "no training files"])
def test_a_download_that_is_not_the_archive(tmp_path, monkeypatch, kind):
    path = archive(tmp_path, *(NAMES[2:] if kind == "no training files" else NAMES))
    if kind == "no zip":
        path.write_text("<html>sign in first</html>")
    if kind == "half a zip":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if kind == "damaged":
        content = bytearray(path.read_bytes())
        content[60:160] = bytes(100)
        path.write_bytes(content)
    monkeypatch.setattr(isbi2012, "fetch", serve(path))
    with pytest.raises(FileNotFoundError, match=r"download failed: .*\n.*three ways"):
        load_isbi2012()
    assert list((tmp_path / "cache").iterdir()) == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def loopback(tmp_path, monkeypatch):
    """This machine's own address serves `tmp_path`; the true `fetch` is back in its place."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(isbi2012, "fetch", FETCH)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


FETCH = isbi2012.fetch


@pytest.mark.parametrize("progress", [True, False])
def test_pooch_fetches_with_a_progress_bar(tmp_path, monkeypatch, capfd, loopback, progress):
    archive(tmp_path, *NAMES)
    monkeypatch.setattr(isbi2012, "ARCHIVE_URL", f"{loopback}/archive.zip")
    check(load_isbi2012(progress=progress), *NAMES)
    assert ("100%" in capfd.readouterr().err) == progress


def test_an_archive_that_has_moved(tmp_path, monkeypatch, capfd, loopback):
    monkeypatch.setattr(isbi2012, "ARCHIVE_URL", f"{loopback}/moved.zip")
    with pytest.raises(FileNotFoundError, match="download failed: 404"):
        load_isbi2012()
    assert capfd.readouterr().err == ""
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_server_there(tmp_path, monkeypatch, loopback):
    monkeypatch.setattr(isbi2012, "ARCHIVE_URL", "http://127.0.0.1:1/archive.zip")
    with pytest.raises(FileNotFoundError, match=r"cannot be reached .*no internet connection"):
        load_isbi2012()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch, loopback):
    """The look-up of a name may hang longer than any time limit of the request."""
    released = threading.Event()
    monkeypatch.setattr(download, "SECONDS_TO_ANSWER", -1.9)
    monkeypatch.setattr(
        download.pooch.HTTPDownloader, "__call__", lambda *_, **__: released.wait(20)
    )
    with pytest.raises(FileNotFoundError, match="no answer in time"):
        load_isbi2012()
    released.set()


@pytest.mark.parametrize(
    ("slices", "folds", "lengths"),
    [(30, 5, [6] * 5), (31, 5, [7, 6, 6, 6, 6]), (7, 3, [3, 2, 2]), (5, 5, [1] * 5)],
)
def test_folds_are_contiguous_and_complete(slices, folds, lengths):
    ranges = five_folds(slices, folds)
    assert [len(fold) for fold in ranges] == lengths
    assert [k for fold in ranges for k in fold] == list(range(slices))
    expected = [part.tolist() for part in np.array_split(np.arange(slices), folds)]
    assert [list(fold) for fold in ranges] == expected


@pytest.mark.parametrize(("slices", "folds"), [(30, 1), (30, 0), (4, 5), (1, 2)])
def test_folds_that_cannot_be(slices, folds):
    with pytest.raises(ValueError, match=rf"folds = {folds} of {slices} slices: must be 2"):
        five_folds(slices, folds)


REAL = os.environ.get("UNET2015_DATA")


@pytest.mark.skipif(REAL is None, reason="UNET2015_DATA is not set")
def test_the_real_stack(monkeypatch):
    monkeypatch.undo()
    stack = load_isbi2012(download=False)
    assert stack.train_images.shape == stack.train_labels.shape == (30, 512, 512)
    assert stack.train_images.mean() == pytest.approx(126.1632, abs=1e-4)
    assert 255 * stack.train_labels.mean() == pytest.approx(198.9940, abs=1e-4)
    interior = stack.train_images[stack.train_labels == 1].mean()
    membrane = stack.train_images[stack.train_labels == 0].mean()
    assert interior - membrane == pytest.approx(52, abs=2)
