"""A checkpoint that somebody else has made is refused in one message, whatever is in it."""

import json
import math
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from tests.tiny import blob_tiles, quietly, settings
from tests.training.example_run import EXAMPLE
from unet2015.model import UNet
from unet2015.training import checkpoint
from unet2015.training.checkpoint import (
    WEIGHTS,
    DamagedCheckpoint,
    load_checkpoint,
    load_optimizer,
    load_weights,
    model_tensors,
    save_checkpoint,
)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ("not json", "not a checkpoint of this project"),
        ("[]", "not a checkpoint of this project"),
        ("5", "not a checkpoint of this project"),
        ("{}", "not a checkpoint of this project"),
        ('{"format": "another"}', "format 'another', expected"),
        ('{"format": "unet2015 checkpoint 1", "config": {}, "seed": 0}', "required field `step`"),
    ],
)
def test_neither_safetensors_nor_a_checksum_alone_make_a_checkpoint(tmp_path, about, words):
    path, tensors = tmp_path / "theirs.safetensors", {"model/weight": torch.ones(2)}
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(DamagedCheckpoint, match=r"theirs.*not a checkpoint of this project"):
        load_checkpoint(path)
    checksum = checkpoint._digest(about, tensors)
    safetensors.torch.save_file(tensors, path, {"about": about, "sha256": checksum})
    with pytest.raises(DamagedCheckpoint, match=f"theirs.*{words}"):
        load_checkpoint(path)


NESTED = "[" * 100_000


@pytest.mark.parametrize("field", ["config", *checkpoint._ABOUT, "code"])
@pytest.mark.parametrize("value", ["null", '"a"', "[1]", "-1", "1e999", "1" + 400 * "0", NESTED])
def test_a_field_of_another_shape_is_refused_though_the_checksum_is_right(tmp_path, field, value):
    save_checkpoint(tmp_path / WEIGHTS, EXAMPLE)
    with safetensors.safe_open(tmp_path / WEIGHTS, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del about["sha256"]
    text = json.dumps(about | {field: "here"}).replace('"here"', value)
    metadata = {"about": text, "sha256": checkpoint._digest(text, tensors)}
    safetensors.torch.save_file(tensors, tmp_path / WEIGHTS, metadata)
    with pytest.raises(DamagedCheckpoint, match=rf"{WEIGHTS}: .*of this project"):
        load_checkpoint(tmp_path / WEIGHTS)
    with pytest.raises(DamagedCheckpoint, match=rf"{WEIGHTS}: .*of this project"):
        quietly(EXAMPLE.config, blob_tiles(EXAMPLE.config), tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        {"gray_scale": None},
        {"gray_scale": {"low": 0, "high": 255, "dtype": "nonsense"}},
        {"gray_quantiles": {}},
        {"gray_quantiles": [1]},
    ],
)
def test_gray_values_of_another_shape_are_refused(tmp_path, data):
    save_checkpoint(tmp_path / WEIGHTS, replace(EXAMPLE, data=data))
    with pytest.raises(DamagedCheckpoint, match=rf"{WEIGHTS}: .*\$\.data\.{next(iter(data))}"):
        load_checkpoint(tmp_path / WEIGHTS)


def test_weights_that_are_no_numbers_make_no_network():
    model = {name: torch.full_like(t, math.nan) for name, t in EXAMPLE.model.items()}
    with pytest.raises(ValueError, match="has values that are not finite"):
        replace(EXAMPLE, model=model).network()


@pytest.mark.parametrize("name", ["foo|momentum_buffer", "nokey"])
def test_an_optimiser_s_state_of_no_parameter_is_refused(name):
    network = EXAMPLE.network()
    optimizer = torch.optim.SGD(network.parameters(), momentum=0.9)
    with pytest.raises(ValueError, match="no such parameter"):
        load_optimizer(network, optimizer, {name: torch.ones(2)})


@pytest.mark.parametrize(
    ("model", "difference"),
    [
        ({"width": 4}, r"contracting\.0\.0\.weight is \(2, 1, 3, 3\), the network has \(4, 1"),
        ({"depth": 2}, r"is missing \(\d+ tensors in all\)"),
        ({"in_channels": 3}, r"contracting\.0\.0\.weight is \(2, 1, 3, 3\)"),
        ({"normalization": "batch"}, r"contracting\.0\.1\.\w+ is missing"),
        ({"classes": 3}, r"score\.\w+ is \(2,"),
    ],
)
def test_weights_of_another_architecture_are_refused_by_name(model, difference):
    network = UNet(settings({"width": 2} | model).model)
    before = model_tensors(network)
    with pytest.raises(ValueError, match=f"another architecture: .*{difference}"):
        load_weights(network, EXAMPLE.model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model_tensors(network).items())
    own = model_tensors(network)
    with pytest.raises(ValueError, match=r"another architecture: .*spare is not part of this net"):
        load_weights(network, own | {"spare": torch.ones(1)})
    fitting = replace(EXAMPLE, config=settings({"width": 2} | model))
    with pytest.raises(ValueError, match=r"another architecture: .*build the network from their"):
        fitting.network()


def test_settings_of_another_version_are_named_with_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("unet2015.training.checkpoint.as_dict", lambda _: {"model": {"colour": 1}})
        save_checkpoint(path, EXAMPLE)
    with pytest.raises(ValueError, match=r"a\.safetensors: configuration model: unknown .*colour"):
        load_checkpoint(path)


@pytest.mark.parametrize("made_up", [{"width": 2**16}, {"depth": 2}, {"width": 3}])
def test_a_made_up_size_is_refused_before_memory_is_taken_for_it(made_up):
    config = replace(EXAMPLE.config, model=replace(EXAMPLE.config.model, **made_up))
    with pytest.raises(ValueError, match="weights of another architecture"):
        replace(EXAMPLE, config=config).network()
