"""The options of the engine reach the training, and what cannot be is refused before it begins."""

import os
from dataclasses import replace

import pytest
import torch

from tests.tiny import blob_tiles, quietly, settings
from unet2015.runtime import distributed
from unet2015.runtime.numerics import CUBLAS, CUBLAS_VALUES
from unet2015.training.checkpoint import load_checkpoint
from unet2015.training.engine import Engine
from unet2015.training.loop import train


def test_deterministic_prepares_cublas(monkeypatch):
    monkeypatch.setenv(CUBLAS, "")  # so that it is put back
    monkeypatch.delenv(CUBLAS)
    Engine().check()
    assert CUBLAS not in os.environ
    Engine(deterministic=True).check()
    assert os.environ[CUBLAS] in CUBLAS_VALUES


def test_a_loss_of_the_whole_batch_takes_one_process(tmp_path, monkeypatch):
    config = settings()
    config = replace(
        config,
        model=replace(config.model, classes=1),
        training=replace(config.training, loss="logistic_dice"),
    )
    monkeypatch.setattr(distributed, "count", lambda: 2)
    with pytest.raises(ValueError, match=r"logistic_dice.*one process"):
        quietly(config, blob_tiles(config), tmp_path)
    assert not list(tmp_path.iterdir())


def test_equal_bits_and_a_graph_exclude_each_other():
    with pytest.raises(ValueError, match=r"^--compile cuda_graph with --deterministic: .*none"):
        Engine(deterministic=True, compile="cuda_graph").check()


def test_the_check_knows_the_device_and_the_number_of_workers():
    Engine(device="cpu", workers=0, compile="compile").check()
    with pytest.raises(ValueError, match=r"^--compile cuda_graph on device cpu: needs a CUDA"):
        Engine(device="cpu", compile="cuda_graph").check()
    with pytest.raises(ValueError, match=r"^--workers -2: must be ≥ 0"):
        Engine(device="cpu", workers=-2).check()
    for seconds in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=r"^--checkpoint-every-s (-1|nan): must be ≥ 0"):
            Engine(device="cpu", checkpoint_every_s=seconds).check()


def test_a_state_after_every_step_can_be_had(tmp_path):
    config, options = settings(), Engine(checkpoint_every_s=0.0).options()
    found = []

    def look(step: int) -> None:
        found.append(load_checkpoint(tmp_path).step)

    train(config, blob_tiles(config), tmp_path, progress=False, on_step=look, **options)
    assert found == list(range(1, config.training.steps + 1))


def test_the_number_of_threads_is_set_and_its_rule_said():
    before = torch.get_num_threads()
    try:
        Engine(threads=before + 1).check()
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    Engine().check()
    assert torch.get_num_threads() == before
    for number in (0, 10**10):
        with pytest.raises(ValueError, match=f"--threads {number}: must be 1 … 1024"):
            Engine(threads=number).check()
