"""Tiles of the host and of the device are the same; a run keeps to the ones it was begun with."""

from typing import Any

import pytest
import torch

from tests.tiny import (
    augmented_tiles,
    blob_tiles,
    contents,
    cut_off,
    quietly,
    same_weights,
    settings,
)
from unet2015.training.checkpoint import load_checkpoint
from unet2015.training.tile_place import AUGMENT_ON, place_of_tiles


def test_auto_is_the_device_on_cuda_where_the_tiles_allow_it(tmp_path):
    movable, fixed = augmented_tiles(settings()), blob_tiles(settings())
    assert place_of_tiles("auto", movable, "cuda:1") == "device"
    assert place_of_tiles("auto", movable, "cpu", tmp_path / "none") == "host"
    assert place_of_tiles("auto", fixed, "cuda") == "host"
    assert place_of_tiles("host", movable, "cuda") == "host"


def test_a_run_of_the_device_trains_as_one_of_the_host_and_says_so(tmp_path):
    config = settings({"dropout": 0.0}, batch_size=2)
    host = quietly(config, augmented_tiles(config), tmp_path / "host", augment_on="host")
    device = quietly(config, augmented_tiles(config), tmp_path / "device", augment_on="device")
    assert host.data == {}  # as in runs from before there was a choice
    assert device.data == {AUGMENT_ON: "device"}
    assert not same_weights(host, device)
    for name, tensor in host.model.items():
        torch.testing.assert_close(device.model[name], tensor, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("begun", "other", "finished"), [("host", "device", True), ("device", "host", False)]
)
def test_a_run_goes_on_where_it_was_begun_and_a_mix_is_refused(tmp_path, begun, other, finished):
    config, options = settings(), {"data": {"slices": [1]}}
    whole = quietly(config, augmented_tiles(config), tmp_path / "w", augment_on=begun, **options)
    if finished:
        quietly(config, augmented_tiles(config), tmp_path / "r", augment_on=begun, **options)
    else:
        cut_off(3, config, augmented_tiles(config), tmp_path / "r", augment_on=begun, **options)
    before = contents(tmp_path / "r")
    with pytest.raises(ValueError, match=f"were made on the {begun}, and augment_on = '{other}'"):
        quietly(config, augmented_tiles(config), tmp_path / "r", augment_on=other, **options)
    assert contents(tmp_path / "r") == before
    again = quietly(config, augmented_tiles(config), tmp_path / "r", **options)  # auto
    assert same_weights(again, whole)
    assert again.data == whole.data


def test_a_damaged_state_is_passed_over(tmp_path):
    config = settings()
    cut_off(3, config, augmented_tiles(config), tmp_path, augment_on="device")
    current = tmp_path / "checkpoint.safetensors"
    current.write_bytes(b"no checkpoint")
    assert place_of_tiles("auto", augmented_tiles(config), "cpu", tmp_path) == "device"
    assert load_checkpoint(tmp_path).data == {AUGMENT_ON: "device"}


def test_what_cannot_be_is_refused(tmp_path):
    config = settings()
    wrong: dict[str, Any] = {"augment_on": "gpu"}
    with pytest.raises(ValueError, match=r"augment_on = 'gpu': must be one of 'auto', 'host', "):
        quietly(config, augmented_tiles(config), tmp_path, **wrong)
    with pytest.raises(ValueError, match="tiles of type list are made on the host only"):
        quietly(config, blob_tiles(config), tmp_path, augment_on="device")
    assert contents(tmp_path) == {}
