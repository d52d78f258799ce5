"""The memory of a training, as it is stated before it starts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tiny import settings
from unet2015.augmentation.tile import COEFFICIENT_BYTES
from unet2015.config import ExperimentConfig, ModelConfig
from unet2015.model import UNet
from unet2015.training.loop import new_run
from unet2015.training.memory import (
    INDEX_BYTES,
    feature_values,
    memory_statement,
    parameter_count,
    step_memory_bytes,
)

PAPER = ExperimentConfig()


@pytest.mark.parametrize("model", [ModelConfig(), ModelConfig(width=8, depth=2, in_channels=3)])
def test_parameters_are_those_of_the_network_but_for_biases(model):
    with torch.device("meta"):
        network = UNet(model)
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    assert parameter_count(model) == sum(p.numel() for p in weights)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_feature_maps_are_those_that_the_way_back_needs(padding):
    """Against what autograd keeps, each storage once."""
    config = settings({"width": 3, "depth": 2, "dropout": 0.0, "padding": padding})
    config = replace(config, training=replace(config.training, input_tile_px=60))
    run = new_run(config, 0, torch.device("cpu"), {})
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in run.network.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    image = torch.rand(1, 1, 60, 60)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scores = run.network(image)
        torch.nn.functional.cross_entropy(scores, scores.argmax(1))
    values, indices, _ = feature_values(config.model, 60)
    stated = 4 * values + INDEX_BYTES * indices
    assert sum(kept.values()) == pytest.approx(stated, rel=0.1)


def test_a_step_takes_more_for_each_tile_and_less_in_half_precision():
    def of(**changes):
        return step_memory_bytes(replace(PAPER, training=replace(PAPER.training, **changes)))

    assert of(precision="float32") > of(precision="bfloat16") > of(precision="float32") / 2
    parameters = 12 * parameter_count(PAPER.model)
    assert of(batch_size=3) - parameters == 3 * (of() - parameters)


def test_the_statement_counts_images_labels_weights_and_splines():
    small, large = (np.broadcast_to(np.uint8(0), (n, 1024, 1024)) for n in (64, 4096))
    assert "0.5 GiB for images, labels and weights" in memory_statement(PAPER, small)
    bounded = (4096 * 2**20 * 4 + COEFFICIENT_BYTES) / 2**30
    assert f"{bounded:.2g} GiB for images" in memory_statement(PAPER, large)
