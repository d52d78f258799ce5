"""The LGG set: slices by number, masks by name and not by place; the real one if there."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.real_data import real_data
from unet2015.data.lgg import load_lgg
from unet2015.data.pairs import read_pair

PATIENTS = ("TCGA_HT_0002_20000101", "TCGA_CS_0001_19990101")
SLICES = (1, 2, 10, 11)


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, compression="zlib" if "HT" in path.name else None)


@pytest.fixture
def folder(tmp_path, no_pairs_elsewhere) -> Path:
    """Two patients in the official layout, slice n with n pixels of tumour; nowhere else."""
    for patient in PATIENTS:
        for n in SLICES:
            place = tmp_path / "set" / "kaggle_3m" / patient
            write(place / f"{patient}_{n}.tif", np.full((6, 5, 3), n, dtype=np.uint8))
            mask = (np.arange(30) < n).reshape(6, 5) * np.uint8(255)
            write(place / f"{patient}_{n}_mask.tif", mask)
    (tmp_path / "set" / "kaggle_3m" / "data.csv").touch()
    return tmp_path / "set"


def test_slices_are_in_numerical_order_with_their_own_masks(folder):
    found = load_lgg(folder)
    expected = [f"{patient}_{n}" for patient in sorted(PATIENTS) for n in SLICES]
    assert [pair.name for pair in found.pairs] == expected
    assert found.groups == tuple(sorted(PATIENTS))
    assert "8 of 3929 pairs, 2 of 110 patients" in found.source
    for pair, n in zip(found.pairs, SLICES * 2, strict=True):
        assert pair.group == pair.name.removesuffix(f"_{n}")
        image, mask = read_pair(pair)
        assert (image == n).all()
        assert mask.sum() == n


def test_a_slice_of_another_patient_is_named(folder):
    one, other = (folder / "kaggle_3m" / patient for patient in PATIENTS)
    (one / f"{one.name}_1.tif").rename(other / f"{one.name}_1.tif")
    with pytest.raises(ValueError, match=rf"{one.name}_1\.tif: is not named as in the set"):
        load_lgg(folder)


def test_without_the_set_kaggle_is_named():
    with pytest.raises(FileNotFoundError, match="kaggle datasets download -d mateuszbuda/lgg-mri"):
        load_lgg("nowhere")


@pytest.fixture
def real():
    return load_lgg(real_data("LGG-kaggle_3m", "kaggle_3m").parent)


def test_the_real_sets_sorted_images_and_masks_are_in_different_orders(real):
    images = sorted(pair.image for pair in real.pairs)
    masks = sorted(pair.mask for pair in real.pairs)
    partner = {pair.image: pair.mask for pair in real.pairs}
    wrong = sum(partner[image] != mask for image, mask in zip(images, masks, strict=True))
    # 84 % of the whole set
    assert 0.7 < wrong / len(images) < 0.95
    for pair in real.pairs:
        assert isinstance(pair.mask, Path)
        assert pair.mask.name == f"{pair.image.stem}_mask.tif"
    for patient in real.groups:
        numbers = [int(p.name.split("_")[-1]) for p in real.pairs if p.group == patient]
        assert numbers == sorted(numbers)


def test_the_real_set_has_tumours_on_a_third_of_its_slices(real):
    with_tumour = 0
    for pair in real.pairs:
        image, mask = read_pair(pair)
        assert image.shape == (256, 256, 3)
        with_tumour += mask.any()
    if "317 of 3929 pairs, 12 of 110 patients" in real.source:
        assert with_tumour == 105
        assert real.hashes == {
            "images": "65259e686958972f8b793f5581dfa5d27b7198af7371c2a5b6a259976a79f534",
            "masks": "b0e73c73eb0f86f47aa5bf7bc0d35abe5d0bf98e403d59a322e0e5399527de35",
        }
    if "3929 of 3929" in real.source:
        assert with_tumour == 1373
