"""The nuclei: both layouts give the same, the first mask can be left out, the 12 + 6 split."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.real_data import real_data
from unet2015.data.nuclei import SPLIT, load_nuclei, read_nuclei, read_split
from unet2015.data.pairs import choose, read_pair

NUCLEI = {"0aa1": ["c0", "a1", "b2"], "0aa0": ["ff"]}
"""ImageId → file names of the masks, in the order in which this test draws them."""


pytestmark = pytest.mark.usefixtures("no_pairs_elsewhere")


def nucleus(image: str, name: str) -> np.ndarray:
    """A column of its own for each nucleus, (6, 9) bool."""
    mask = np.zeros((6, 9), dtype=bool)
    mask[:, 2 * NUCLEI[image].index(name)] = True
    return mask


@pytest.fixture
def official(tmp_path) -> Path:
    folder = tmp_path / "official"
    for image, names in NUCLEI.items():
        place = folder / "stage1_train" / image
        for part in ("images", "masks"):
            (place / part).mkdir(parents=True)
        rgba = np.dstack([np.full((6, 9, 3), len(names)), np.full((6, 9), 255)])
        Image.fromarray(rgba.astype(np.uint8)).save(place / "images" / f"{image}.png")
        for name in names:
            mask = nucleus(image, name) * np.uint8(255)
            Image.fromarray(mask).save(place / "masks" / f"{name}.png")
    return folder


@pytest.fixture
def lossless(official, tmp_path) -> Path:
    """The same in the layout with labels.png."""
    folder = tmp_path / "lossless"
    shutil.copytree(official, folder, ignore=shutil.ignore_patterns("masks"))
    lines = ["# ImageId: mask file names"]
    for image, names in NUCLEI.items():
        labels = sum(
            nucleus(image, name) * np.uint8(k) for k, name in enumerate(sorted(names), start=1)
        )
        Image.fromarray(np.asarray(labels)).save(folder / "stage1_train" / image / "labels.png")
        lines.append(f"{image}\t{' '.join(sorted(names))}")
    (folder / "mask_names.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("layout", ["official", "lossless"])
def test_nuclei_are_numbered_in_the_order_of_file_names(layout, request):
    found = load_nuclei(request.getfixturevalue(layout))
    assert [pair.name for pair in found.pairs] == ["0aa0", "0aa1"]
    assert "2 of 670 pairs" in found.source
    assert found.groups == ()
    assert set(found.hashes) - {"images", "masks"} == (
        {"mask names"} if layout == "lossless" else set()
    )
    for pair in found.pairs:
        image, labels = read_nuclei(pair)
        names = sorted(NUCLEI[pair.name])
        assert (image == len(names)).all()
        assert labels.dtype == np.int32
        for k, name in enumerate(names, start=1):
            np.testing.assert_array_equal(labels == k, nucleus(pair.name, name))
        whole = np.any([nucleus(pair.name, name) for name in names], axis=0)
        np.testing.assert_array_equal(read_pair(pair)[1], whole)
        without_first = whole & ~nucleus(pair.name, names[0])
        np.testing.assert_array_equal(labels > 1, without_first)


def test_masks_that_overlap_or_are_damaged_or_of_another_size_are_named(official):
    masks = official / "stage1_train" / "0aa1" / "masks"
    pair = load_nuclei(official).pairs[1]
    shutil.copy(masks / "a1.png", masks / "b9.png")
    with pytest.raises(ValueError, match=r"b9\.png: overlaps another nucleus"):
        read_nuclei(load_nuclei(official).pairs[1])
    content = (masks / "a1.png").read_bytes()
    (masks / "a1.png").write_bytes(content[:40])
    for read in (read_nuclei, read_pair):  # also where the first mask is left out
        with pytest.raises(ValueError, match=r"a1\.png: cannot be read"):
            read(pair)
    (masks / "a1.png").write_bytes(content)
    Image.new("L", (6, 9)).save(masks / "b2.png")
    with pytest.raises(ValueError, match=r"0aa1\.png is 6 × 9 px .*b2\.png is 9 × 6 px"):
        read_nuclei(pair)


def test_labels_that_do_not_fit_their_names_are_named(lossless):
    for names in ("", "a1 b2", "b2 a1 c0", "a1 a1 c0", "a1 b2 c0 d3"):
        (lossless / "mask_names.tsv").write_text(f"0aa0\tff\n0aa1\t{names}\n")
        with pytest.raises(ValueError, match=r"mask_names\.tsv.* names for (the|this) image"):
            read_nuclei(load_nuclei(lossless).pairs[1])
    (lossless / "mask_names.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"mask_names\.tsv: no such file; the layout"):
        load_nuclei(lossless)


def test_what_is_not_whole_is_named(official):
    place = official / "stage1_train"
    shutil.rmtree(place / "0aa0" / "masks")
    (place / "0aa1" / "images" / "0aa1.png").unlink()
    with pytest.raises(ValueError, match=r"2 file\(s\).*\n.*0aa0\.png\n.*a1\.png$"):
        load_nuclei(official)
    shutil.rmtree(place / "0aa0" / "images")
    with pytest.raises(ValueError, match=r"0aa0: has neither images/0aa0\.png nor masks"):
        load_nuclei(official)


def test_without_the_set_its_sources_are_named():
    with pytest.raises(
        FileNotFoundError, match=r"download -c data-science-bowl-2018(.|\n)*BBBC038"
    ):
        load_nuclei()


def test_a_split_is_read_in_its_order_and_what_is_wrong_with_it_is_named(tmp_path):
    path = tmp_path / "split.txt"
    with pytest.raises(FileNotFoundError, match=r"split\.txt: no such file; write one line"):
        read_split(path)
    path.write_text("# remark\ntrain\tb\nvalidation\tc\n\ntrain\ta\n")
    assert read_split(path) == {"train": ("b", "a"), "validation": ("c",)}
    for text, named in (
        ("train\ta\ntest\tb\n", r"line 2 is 'test\\tb'"),
        ("train a\n", "line 1 is 'train a'"),
        ("train\ta\nvalidation\ta\n", "line 2 is"),
        ("train\ta\n", "has no image for validation"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=named):
            read_split(path)


@pytest.fixture
def real():
    return load_nuclei(real_data("dsb2018", "stage1_train").parent)


def test_the_real_nuclei_unite_to_the_masks(real):
    if "504 of 670 pairs" in real.source and "mask names" in real.hashes:
        assert sum(len(pair.mask_names) for pair in real.pairs) == 17757
        assert real.hashes == {
            "images": "aaed9a863c006e5013435cd776d12e25e045d9f138ae26f217447b391755581c",
            "masks": "5baedb79d09c6cd3abfe28bb610b67214ef5cc442430ce6cad61986dc2acbcbd",
            "mask names": "56484485585c64c02afa1f39a1c6f9fb67cdbe6297cdfa21355aa346abc76152",
        }
    for pair in real.pairs[::25]:
        image, labels = read_nuclei(pair)
        np.testing.assert_array_equal(labels > 0, read_pair(pair)[1])
        assert image.shape == (*labels.shape, 3)


def test_the_real_split_is_of_12_and_6_images(real):
    split = read_split(real_data("dsb2018", SPLIT))
    assert {part: len(names) for part, names in split.items()} == {"train": 12, "validation": 6}
    for names in split.values():
        for pair in choose(real.pairs, names):
            labels = read_nuclei(pair)[1]
            first = labels == 1
            assert first.any()
            np.testing.assert_array_equal((labels > 1) | first, read_pair(pair)[1])
