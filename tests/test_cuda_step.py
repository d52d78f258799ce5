"""Compiled and graphed steps do what the eager step does, drop-out included.

Without a GPU, a graph's logic is tested with a recording that does its work again when replayed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import augmented_tiles, blob_tiles, quietly, same_weights, settings
from unet2015 import cuda_step, distributed
from unet2015.batches import collate
from unet2015.cuda_step import WARM_UP_STEPS, fast_step, graph_safe
from unet2015.numerics import numerics
from unet2015.optimization import make_optimizer
from unet2015.training import Run, new_run, train, train_step

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def steps(run: Run, take: Callable[..., Tensor], count: int = 6) -> list[Tensor]:
    """The figures of the first steps on fixed tiles."""
    batch, figures = run.config.training.batch_size, []
    tiles = blob_tiles(run.config, count * batch)
    for k in range(count):
        figures.append(take(run, collate(tiles[k * batch : (k + 1) * batch])))
        run.step += 1
    return figures


def assert_same_training(run: Run, take: Callable[..., Tensor]) -> None:
    """`take` on `run` against the eager step on a twin: figures, weights, optimiser's state."""
    twin = new_run(run.config, 0, run.device, {})
    expected = steps(twin, train_step)
    # losses of different steps must differ, or mixed up figures would not be seen
    assert len({float(figures[0]) for figures in expected}) == len(expected)
    torch.testing.assert_close(torch.stack(steps(run, take)), torch.stack(expected))
    ours, theirs = run.checkpoint(), twin.checkpoint()
    assert ours.optimizer.keys() == theirs.optimizer.keys() != set()
    for name, tensor in (theirs.model | theirs.optimizer).items():
        torch.testing.assert_close((ours.model | ours.optimizer)[name], tensor)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Recordings that are functions, and how often each thing was done."""
    done: list[str] = []

    def recorded(work: Callable[[], None], _device: torch.device) -> Callable[[], None]:
        done.append("recorded")
        return lambda: (done.append("replayed"), work())[0]

    def aside(work: Callable[[], None], _device: torch.device) -> None:
        done.append("aside")
        work()

    monkeypatch.setattr(cuda_step, "recorded", recorded)
    monkeypatch.setattr(cuda_step, "aside", aside)
    return done


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_compiled_steps_are_eager_steps():
    run = new_run(settings(batch_size=2), 0, CPU, {})
    assert_same_training(run, fast_step(run, "compile"))


@pytest.mark.parametrize(
    "extra",
    [{}, {"weight_decay": 0.1}, {"gradient_clip": 0.05, "batch_size": 2}, {"momentum": 0.0}],
    ids=["plain", "decay", "clip", "no momentum"],
)
def test_recorded_steps_are_eager_steps(pretended, extra):
    run = new_run(settings(**extra), 0, CPU, {})
    if extra.get("momentum") == 0:  # no state of the optimiser to compare
        twin = new_run(run.config, 0, CPU, {})
        expected = torch.stack(steps(twin, train_step))
        torch.testing.assert_close(torch.stack(steps(run, cuda_step.GraphedStep(run))), expected)
    else:
        assert_same_training(run, cuda_step.GraphedStep(run))
    replays = ["replayed"] * (6 - WARM_UP_STEPS)
    assert pretended == ["aside"] * WARM_UP_STEPS + ["recorded", *replays]


def test_a_recording_refuses_tiles_of_another_size(pretended):
    run = new_run(settings(), 0, CPU, {})
    step = cuda_step.GraphedStep(run)
    steps(run, step, 1)
    other = settings(input_tile_px=28)
    with pytest.raises(ValueError, match=r"tiles of shape \(1, 1, 28, 28\) after \(1, 1, 20, 20"):
        step(run, collate(blob_tiles(other, 1)))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_is_made_to_count_on_the_device(optimizer):
    config = settings(optimizer=optimizer)
    run = new_run(config, 0, CPU, {})
    steps(run, train_step, 1)
    rate = torch.zeros((), device="meta")
    graph_safe(run.optimizer, rate)
    (group,) = run.optimizer.param_groups
    assert group["lr"] is rate
    assert group["capturable"] is True
    assert {str(state["step"].device) for state in run.optimizer.state.values()} == {"meta"}


def test_the_rate_of_sgd_is_read_when_the_step_is_taken():
    config = settings(momentum=0.0)
    run = new_run(config, 0, CPU, {})
    optimizer, rate = make_optimizer(run.network, config.training), torch.zeros(())
    graph_safe(optimizer, rate)
    bias = run.network.score.bias
    assert bias is not None
    bias.grad = torch.ones_like(bias)
    before = bias.detach().clone()
    for lr in (0.5, 0.25):
        rate.fill_(lr)
        optimizer.step()
    torch.testing.assert_close(bias.detach(), before - 0.75)


def test_ways_that_there_are_not_are_refused_before_anything_is_made(tmp_path, monkeypatch):
    config, tiles = settings(), blob_tiles(settings())
    for way, words in (("cuda_graph", "on device cpu: needs a CUDA"), ("fast", "one of 'none', ")):
        options: dict[str, Any] = {"compile": way}
        with pytest.raises(ValueError, match=words):
            quietly(config, tiles, tmp_path / "run", **options)
    monkeypatch.setattr(distributed, "count", lambda: 2)
    with pytest.raises(ValueError, match="in 2 processes: a graph holds the step of one"):
        cuda_step.check_compile("cuda_graph", "cuda")
    assert not (tmp_path / "run").exists()


# On a GPU


@pytest.mark.parametrize(
    "way", [pytest.param("compile", marks=cuda), pytest.param("cuda_graph", marks=cuda)]
)
@pytest.mark.parametrize(
    "extra", [{}, {"gradient_clip": 0.05}, {"optimizer": "adam", "learning_rate": 0.01}]
)
def test_cuda_ways_are_eager_steps(way, extra):
    with numerics("cuda"):
        run = new_run(settings(**extra), 0, torch.device("cuda"), {})
        assert_same_training(run, fast_step(run, way))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("way", ["none", "cuda_graph"])
def test_cuda_steps_do_not_wait_for_the_device(way):
    config = settings(steps=40)
    tiles = augmented_tiles(config).on("cuda")
    run = new_run(config, 0, torch.device("cuda"), {})
    take = train_step if way == "none" else fast_step(run, way)
    for k in range(WARM_UP_STEPS + 1):  # libraries that are set up at their first use do wait
        take(run, collate([tiles[k]]))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for k in range(8):
            take(run, collate([tiles[k]]))
            run.step += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("way", ["none", "cuda_graph"])
def test_deterministic_cuda_runs_are_equal_to_the_bit(tmp_path, way):
    """In a process of its own: cuBLAS must not have been used before."""
    code = (
        "import sys; from pathlib import Path; from tests.tiny import *\n"
        "from unet2015.numerics import prepare_deterministic; prepare_deterministic()\n"
        "c, folder = settings(steps=10), Path(sys.argv[1])\n"
        "runs = [quietly(c, augmented_tiles(c), folder / name, device='cuda', deterministic=True,\n"
        "    compile=sys.argv[2], checkpoint_every_s=NEVER) for name in 'ab']\n"
        "assert runs[0].data == {'augment_on': 'device'}\n"
        "sys.exit(not same_weights(*runs))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CUBLAS_WORKSPACE_CONFIG"}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), way], cwd=ROOT, env=environment, check=False
    )
    assert ended.returncode == 0


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_trains_as_the_cpu_does(tmp_path):
    config = settings({"dropout": 0.0})
    one, two = (
        train(config, augmented_tiles(config), tmp_path / d, device=d, progress=False)
        for d in ("cpu", "cuda")
    )
    assert not same_weights(one, two)
    for name, tensor in one.model.items():
        torch.testing.assert_close(two.model[name], tensor, rtol=1e-3, atol=1e-3)
