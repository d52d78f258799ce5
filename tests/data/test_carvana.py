"""The Carvana set: pairs by name, grouped by car; a part of it says so; the real one if there."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.real_data import real_data
from unet2015.data.carvana import load_carvana
from unet2015.data.pairs import read_pair

NAMES = ("00087a6bd4dc_02", "00087a6bd4dc_01", "f00905abd3d7_16")


@pytest.fixture
def folder(tmp_path, no_pairs_elsewhere) -> Path:
    """Three pairs in the official layout; no other place has the set."""
    for part in ("train", "train_masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    for k, name in enumerate(NAMES):
        image = np.full((8, 12, 3), 40 * k, dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / "set" / "train" / f"{name}.jpg")
        mask = Image.fromarray(np.where(np.arange(12) <= k, 255, 0).astype(np.uint8)[None])
        mask.resize((12, 8), 0).save(tmp_path / "set" / "train_masks" / f"{name}_mask.gif")
    return tmp_path / "set"


def test_pairs_are_by_name_and_grouped_by_car(folder):
    found = load_carvana(folder)
    assert found.name == "carvana"
    assert [pair.name for pair in found.pairs] == sorted(NAMES)
    assert [pair.group for pair in found.pairs] == ["00087a6bd4dc", "00087a6bd4dc", "f00905abd3d7"]
    assert found.groups == ("00087a6bd4dc", "f00905abd3d7")
    assert "3 of 5088 pairs, 2 of 318 cars" in found.source
    assert str(folder) not in found.source
    for k, name in enumerate(NAMES):
        pair = next(pair for pair in found.pairs if pair.name == name)
        image, mask = read_pair(pair)
        assert image.shape == (8, 12, 3)
        assert abs(int(image[0, 0, 0]) - 40 * k) <= 2
        assert mask.sum(axis=1).tolist() == [k + 1] * 8


def test_without_the_set_kaggle_is_named(folder):
    command = re.escape("kaggle competitions download -c carvana-image-masking-challenge")
    for data in (None, folder / "train"):
        with pytest.raises(FileNotFoundError, match=command):
            load_carvana(data)


def test_the_real_set_is_grouped_by_car():
    found = load_carvana(real_data("carvana", "train").parent)
    cars = {car: sum(pair.group == car for pair in found.pairs) for car in found.groups}
    if "96 of 5088 pairs" in found.source:
        assert len(found.pairs) == 96
        assert sorted(cars.values()) == [4] * 16 + [16, 16]
        assert found.hashes == {
            "images": "48cb8811cc9052101ad70ae6b864d3a8804fbd2e5ea5607e05d84106c9338bd4",
            "masks": "b0cf9cdb4e09774cfc01b40bf26494d7dd6e7b4c1225aaf7ef952eb712ff1139",
        }
    assert max(cars.values()) == 16
    for pair in (found.pairs[0], found.pairs[-1]):
        image, mask = read_pair(pair)
        assert image.shape == (1280, 1918, 3)
        assert 0.09 <= mask.mean() <= 0.36
