"""The EM stack: where it is looked for, what is verified, how it is downloaded (from here only)."""

import http.server
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.offline import refused
from tests.real_data import real_data
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


def test_the_folder_given_may_lack_the_test_volume_and_its_labels(tmp_path):
    for count in (2, 3, 4):
        stack = load_isbi2012(fill(tmp_path / str(count), *NAMES[:count]))
        check(stack, *NAMES[:count])
        assert str(tmp_path) not in stack.source


def test_the_folder_given_goes_before_the_environment_and_that_before_the_cache(
    tmp_path, monkeypatch
):
    fill(tmp_path / "cache" / "isbi2012", *NAMES)
    monkeypatch.setenv("UNET2015_DATA", str(tmp_path / "root"))
    fill(tmp_path / "root" / "isbi2012", "train-volume.tif")
    check(load_isbi2012(), *NAMES)  # the environment has only half
    fill(tmp_path / "root" / "isbi2012", *NAMES[:3])
    stack = load_isbi2012()
    check(stack, *NAMES[:3])
    assert "$UNET2015_DATA/isbi2012" in stack.source
    assert str(tmp_path) not in stack.source
    check(load_isbi2012(fill(tmp_path / "data", *NAMES[:2])), *NAMES[:2])


def test_the_folder_given_must_have_the_training_files(tmp_path):
    fill(tmp_path / "cache" / "isbi2012", *NAMES)
    for k, there in enumerate(((), NAMES[:1], NAMES[1:2])):
        folder = fill(tmp_path / str(k), *there)
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


def test_another_pixel_is_found_out(tmp_path):
    for name in NAMES[:3]:
        folder = fill(tmp_path / name[:-4], *NAMES)
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
def test_another_size_or_dtype_is_named(tmp_path, change, message):
    for name in NAMES:
        folder = fill(tmp_path / name[:-4], *NAMES)
        write_stack(folder / name, change(arrays()[name]))
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            load_isbi2012(folder)


def test_test_labels_must_be_binary_and_a_damaged_file_is_no_missing_one(tmp_path):
    folder = fill(tmp_path / "data", *NAMES[:3])
    write_stack(folder / "test-labels.tif", arrays()["test-volume.tif"])
    with pytest.raises(ValueError, match=r"test-labels\.tif: slice 0 has the values"):
        load_isbi2012(folder)
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


@pytest.mark.parametrize(("prefix", "count"), [("", 4), ("ISBI-2012-challenge/", 2), ("../../", 4)])
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
def test_a_download_that_is_not_the_archive_does_not_reach_the_cache(tmp_path, monkeypatch, kind):
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
def test_the_archive_is_fetched_with_a_progress_bar(
    tmp_path, monkeypatch, capfd, loopback, progress
):
    archive(tmp_path, *NAMES)
    monkeypatch.setattr(isbi2012, "ARCHIVE_URL", f"{loopback}/archive.zip")
    check(load_isbi2012(progress=progress), *NAMES)
    assert ("100%" in capfd.readouterr().err) == progress


def test_an_archive_that_has_moved_and_a_server_that_is_not_there_are_named(
    tmp_path, monkeypatch, capfd, loopback
):
    for url, words in (
        (f"{loopback}/moved.zip", "download failed: 404"),
        ("http://127.0.0.1:1/archive.zip", r"cannot be reached .*no internet connection"),
    ):
        monkeypatch.setattr(isbi2012, "ARCHIVE_URL", url)
        with pytest.raises(FileNotFoundError, match=words):
            load_isbi2012()
        assert capfd.readouterr().err == ""
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


def test_folds_are_contiguous_complete_and_as_equal_as_can_be():
    for slices, folds in ((30, 5), (31, 5), (7, 3), (5, 5)):
        expected = [part.tolist() for part in np.array_split(np.arange(slices), folds)]
        assert [list(fold) for fold in five_folds(slices, folds)] == expected
    for slices, folds in ((30, 1), (30, 0), (4, 5), (1, 2)):
        with pytest.raises(ValueError, match=rf"folds = {folds} of {slices} slices: must be 2"):
            five_folds(slices, folds)


def test_the_real_membranes_are_darker_than_the_cells(monkeypatch):
    monkeypatch.undo()
    stack = load_isbi2012(real_data("isbi2012"), download=False)
    assert stack.train_images.shape == stack.train_labels.shape == (30, 512, 512)
    assert stack.train_images.mean() == pytest.approx(126.1632, abs=1e-4)
    assert 255 * stack.train_labels.mean() == pytest.approx(198.9940, abs=1e-4)
    interior = stack.train_images[stack.train_labels == 1].mean()
    membrane = stack.train_images[stack.train_labels == 0].mean()
    assert interior - membrane == pytest.approx(52, abs=2)
