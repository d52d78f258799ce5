"""On a GPU: every way to step, and the tiles made beside it, are the plain ones.

Tests with 'compile' in their names take half a minute each: `-k "not compile"` leaves them out.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import augmented_tiles, cut_off, quietly, same_weights, settings
from tests.training.test_cuda_step import assert_same_training, steps
from unet2015.runtime.cuda_streams import made_aside
from unet2015.runtime.numerics import numerics
from unet2015.training.batches import batches
from unet2015.training.cuda_step import WARM_UP_STEPS, fast_step
from unet2015.training.loop import new_run, train, train_step

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ROOT = Path(__file__).resolve().parents[2]
ROUNDING = {"rtol": 1e-3, "atol": 1e-3}
"""What two runs may differ by in which cuDNN has chosen its algorithms by their time. A rate that
is a tenth off, or the drop-out of another step, is ten times as much in these few steps."""
EXTRAS: list[dict[str, Any]] = [
    {},
    {"gradient_clip": 0.05, "weight_decay": 0.1},
    {"optimizer": "adam", "learning_rate": 0.01},
]


@pytest.mark.parametrize("extra", EXTRAS)
def test_cuda_graphs_are_eager_steps(extra):
    with numerics("cuda"):
        run = new_run(settings(**extra), 0, torch.device("cuda"), {})
        assert_same_training(run, fast_step(run, "cuda_graph"), **ROUNDING)


@pytest.mark.parametrize("way", ["compile", "compiled_graph"])
def test_cuda_compiled_steps_are_eager_steps(way):
    with numerics("cuda"):
        run = new_run(settings(gradient_clip=0.05), 0, torch.device("cuda"), {})
        assert_same_training(run, fast_step(run, way), **ROUNDING)


@pytest.mark.parametrize("extra", EXTRAS)
def test_cuda_s_fused_optimiser_is_the_plain_one(extra):
    """The same gradients, the same weights."""
    with numerics("cuda"):
        run, plain = (new_run(settings(**extra), 0, torch.device("cuda"), {}) for _ in range(2))
        for group in plain.optimizer.param_groups:
            assert group["fused"] is True
            group["fused"] = group["foreach"] = False
        plain.optimizer.defaults["fused"] = False
        expected = steps(plain, train_step)
        figures = torch.stack(steps(run, train_step))
        torch.testing.assert_close(figures, torch.stack(expected), **ROUNDING)
        for name, tensor in plain.checkpoint().model.items():
            torch.testing.assert_close(run.checkpoint().model[name], tensor, **ROUNDING)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_cuda_run_goes_on_in_another_way(tmp_path, optimizer):
    config = settings(optimizer=optimizer, learning_rate=0.01)
    options: dict[str, Any] = {"device": "cuda"}
    whole = quietly(config, augmented_tiles(config), tmp_path / "whole", **options)
    cut_off(3, config, augmented_tiles(config), tmp_path / "cut", **options)
    graph = options | {"compile": "cuda_graph"}
    continued = quietly(config, augmented_tiles(config), tmp_path / "cut", **graph)
    for name, tensor in whole.model.items():
        torch.testing.assert_close(continued.model[name], tensor, **ROUNDING)


@pytest.mark.parametrize("way", ["none", "cuda_graph", "compiled_graph"])
def test_cuda_steps_do_not_wait_for_the_device(way):
    """Nor the tiles made beside them; compiled_graph needs torch.compile."""
    config = settings(steps=40)
    device = torch.device("cuda")
    run = new_run(config, 0, device, {})
    take = fast_step(run, way)
    ahead = made_aside(batches(augmented_tiles(config).on(device), 0, 40, 1, 0), device)
    for _ in range(WARM_UP_STEPS + 1):  # libraries that are set up at their first use do wait
        take(run, next(ahead))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(8):
            take(run, next(ahead))
            run.step += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    ahead.close()


@pytest.mark.parametrize("way", ["none", "cuda_graph"])
def test_tiles_made_beside_cuda_steps_are_the_same(way):
    """While steps keep the device busy, so that what does not wait for its tile is seen."""
    config, device = settings({"width": 32}, steps=30), torch.device("cuda")
    tiles = augmented_tiles(config)
    expected = list(batches(tiles.on(device), 0, 30, 1, 0))
    run = new_run(config, 0, device, {})
    take, unlike = fast_step(run, way), []
    for batch, like in zip(
        made_aside(batches(tiles.on(device), 0, 30, 1, 0), device), expected, strict=True
    ):
        take(run, batch)
        unlike.append(torch.stack([(a != b).any() for a, b in zip(batch, like, strict=True)]))
        del batch  # its memory is free for the next ones, while the step may still read it
    assert not torch.stack(unlike).any()


def test_deterministic_cuda_runs_are_equal_to_the_bit(tmp_path):
    """In a process of its own: cuBLAS must not have been used before. Graphs promise no such bits
    (`engine`), and are not asked for them."""
    code = (
        "import sys; from pathlib import Path; from tests.tiny import *\n"
        "from unet2015.runtime.numerics import prepare_deterministic; prepare_deterministic()\n"
        "c, folder = settings(steps=10), Path(sys.argv[1])\n"
        "runs = [quietly(c, augmented_tiles(c), folder / name, device='cuda', deterministic=True,\n"
        "    checkpoint_every_s=NEVER) for name in 'ab']\n"
        "assert runs[0].data == {'augment_on': 'device'}\n"
        "sys.exit(not same_weights(*runs))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=environment, check=False
    )
    assert ended.returncode == 0


def test_cuda_trains_as_the_cpu_does(tmp_path):
    config = settings({"dropout": 0.0})
    one, two = (
        train(config, augmented_tiles(config), tmp_path / d, device=d, progress=False)
        for d in ("cpu", "cuda")
    )
    assert not same_weights(one, two)
    for name, tensor in one.model.items():
        torch.testing.assert_close(two.model[name], tensor, **ROUNDING)
