"""The Penn-Fudan set: instances become one foreground; the download is counted, then kept."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.offline import refused
from tests.real_data import real_data
from unet2015.data import pairs, penn_fudan
from unet2015.data.image_file import read_instances
from unet2015.data.pairs import read_pair
from unet2015.data.penn_fudan import count_persons, load_penn_fudan

PERSONS = {"PennPed00002": 3, "FudanPed00001": 2}


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    """An empty cache, and no way to the network."""
    monkeypatch.setattr(pairs, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(penn_fudan, "fetch", refused)
    monkeypatch.setattr(penn_fudan, "OFFICIAL_PAIRS", len(PERSONS))
    monkeypatch.setattr(penn_fudan, "OFFICIAL_PERSONS", sum(PERSONS.values()))
    monkeypatch.delenv("UNET2015_DATA", raising=False)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two pairs in the official layout; person k is row k, which is k pixels long."""
    place = tmp_path / "set" / "PennFudanPed"
    for part in ("PNGImages", "PedMasks"):
        (place / part).mkdir(parents=True)
    for name, persons in PERSONS.items():
        Image.new("RGB", (7, 5), (9, 8, persons)).save(place / "PNGImages" / f"{name}.png")
        ids = np.zeros((5, 7), dtype=np.uint8)
        for k in range(1, persons + 1):
            ids[k, :k] = k
        Image.fromarray(ids).save(place / "PedMasks" / f"{name}_mask.png")
    return place


@pytest.fixture
def server(folder, tmp_path, monkeypatch) -> Path:
    """The archive of the set, which takes the place of what the server sends."""
    archive = tmp_path / "PennFudanPed.zip"

    def send(url: str, target: Path, *, progress: bool) -> None:
        shutil.copy(archive, target)

    monkeypatch.setattr(penn_fudan, "fetch", send)
    pack(folder, archive)
    return archive


def pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.png")):
            file.write(path, path.relative_to(folder.parent))


def test_persons_become_one_foreground(folder):
    found = load_penn_fudan(folder)
    assert [pair.name for pair in found.pairs] == sorted(PERSONS)
    assert found.groups == ()
    assert "2 of 2 pairs, other files than the copy known here" in found.source
    for pair in found.pairs:
        persons = PERSONS[pair.name]
        image, mask = read_pair(pair)
        assert image[0, 0].tolist() == [9, 8, persons]
        assert mask.sum(axis=1).tolist() == [k if k <= persons else 0 for k in range(5)]
        assert count_persons(pair) == persons


def test_without_the_set_the_archive_is_named():
    for download in (True, False):
        with pytest.raises(FileNotFoundError, match=r"www\.cis\.upenn\.edu.*Ped\.zip") as caught:
            load_penn_fudan(download=download)
        assert ("the download failed: the server cannot be" in str(caught.value)) == download


def test_a_download_is_kept_in_the_cache(server, tmp_path):
    first = load_penn_fudan(progress=False)
    assert "downloaded from https://" in first.source
    assert first.folder == tmp_path / "cache" / "PennFudanPed"
    server.unlink()
    second = load_penn_fudan()
    assert "the per-user cache" in second.source
    assert second.hashes == first.hashes
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["PennFudanPed"]


def test_an_archive_that_is_damaged_or_another_or_incomplete_is_not_kept(folder, server, tmp_path):
    server.write_bytes(b"no zip file")
    with pytest.raises(FileNotFoundError, match="the download failed: "):
        load_penn_fudan(progress=False)
    with zipfile.ZipFile(server, "w") as file:
        file.writestr("other/readme.txt", "nothing")
    with pytest.raises(FileNotFoundError, match="the download failed: "):
        load_penn_fudan(progress=False)
    mask = folder / "PedMasks" / "PennPed00002_mask.png"
    Image.fromarray(np.minimum(read_instances(mask), 2).astype(np.uint8)).save(mask)
    pack(folder, server)
    with pytest.raises(ValueError, match="has 2 images and 4 persons, expected 2 and 5; nothing"):
        load_penn_fudan(progress=False)
    assert not list((tmp_path / "cache").iterdir())


def test_files_in_the_cache_are_never_replaced(server, tmp_path):
    (tmp_path / "cache" / "PennFudanPed").mkdir(parents=True)
    kept = tmp_path / "cache" / "PennFudanPed" / "notes.txt"
    kept.write_text("mine")
    with pytest.raises(FileNotFoundError, match="has some of the files but not all; remove"):
        load_penn_fudan(progress=False)
    assert kept.read_text() == "mine"


def test_the_real_set_has_170_pairs_and_423_persons(monkeypatch):
    monkeypatch.undo()
    folder = real_data("PennFudanPed", "PNGImages").parent
    found = load_penn_fudan(folder)
    assert "170 of 170 pairs, the files of the copy known here" in found.source
    assert sum(pair.name.startswith("Fudan") for pair in found.pairs) == 74
    assert sum(pair.name.startswith("Penn") for pair in found.pairs) == 96
    assert sum(map(count_persons, found.pairs)) == 423
    for pair in found.pairs[::17]:
        image, mask = read_pair(pair)
        assert image.shape[:2] == mask.shape
        # one line for each person in PASCAL's annotation, with a box that holds a part of the mask
        boxes = boxes_of(folder / "Annotation" / f"{pair.name}.txt")
        assert len(boxes) == count_persons(pair)
        assert all(mask[y0 - 1 : y1, x0 - 1 : x1].any() for x0, y0, x1, y1 in boxes)


def boxes_of(path: Path) -> list[list[int]]:
    lines = [line for line in path.read_text().splitlines() if line.startswith("Bounding box")]
    numbers = [line.split(":")[1] for line in lines]
    return [
        [int(n) for n in "".join(c if c.isdigit() else " " for c in line).split()]
        for line in numbers
    ]
