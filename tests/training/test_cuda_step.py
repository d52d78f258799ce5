"""Compiled and graphed steps do what the eager step does, drop-out included.

Without a GPU, a graph's logic is tested with a recording that does its work again when replayed. It
steps with the fused optimiser, as on a GPU, and the eager step on the CPU with the plain one.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import blob_tiles, quietly, settings
from unet2015.runtime import distributed
from unet2015.training import cuda_step
from unet2015.training.batches import collate
from unet2015.training.checkpoint import load_optimizer
from unet2015.training.cuda_step import GRAPHS, WARM_UP_STEPS, GraphedStep, fast_step
from unet2015.training.loop import Run, new_run, train_step
from unet2015.training.optimization import graph_safe, make_optimizer
from unet2015.training.step import forward_of

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def steps(run: Run, take: Callable[..., Tensor], count: int = 6) -> list[Tensor]:
    """The figures of the first steps on fixed tiles."""
    batch, figures = run.config.training.batch_size, []
    tiles = blob_tiles(run.config, count * batch)
    for k in range(count):
        figures.append(take(run, collate(tiles[k * batch : (k + 1) * batch])))
        run.step += 1
    return figures


def assert_same_training(run: Run, take: Callable[..., Tensor], **tolerance: float) -> None:
    """`take` on `run` against the eager step on a twin: figures, weights, optimiser's state."""
    twin = new_run(run.config, 0, run.device, {})
    expected = steps(twin, train_step)
    # losses of different steps must differ, or mixed up figures would not be seen
    assert len({float(figures[0]) for figures in expected}) == len(expected)
    torch.testing.assert_close(torch.stack(steps(run, take)), torch.stack(expected), **tolerance)
    ours, theirs = run.checkpoint(), twin.checkpoint()
    assert ours.optimizer.keys() == theirs.optimizer.keys() != set()
    for name, tensor in (theirs.model | theirs.optimizer).items():
        torch.testing.assert_close((ours.model | ours.optimizer)[name], tensor, **tolerance)


def graphed(run: Run) -> GraphedStep:
    return GraphedStep(run, forward_of(run))


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
    [
        {},
        {"weight_decay": 0.1},
        {"gradient_clip": 0.05, "batch_size": 2},
        {"momentum": 0.0, "weight_decay": 0.1},
        {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
        {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    ],
    ids=["plain", "decay", "clip", "no momentum", "adam", "adamw"],
)
def test_recorded_steps_are_eager_steps(pretended, extra):
    run = new_run(settings(**extra), 0, CPU, {})
    if extra.get("momentum") == 0:  # no state of the optimiser to compare
        twin = new_run(run.config, 0, CPU, {})
        expected = torch.stack(steps(twin, train_step))
        torch.testing.assert_close(torch.stack(steps(run, graphed(run))), expected)
    else:
        assert_same_training(run, graphed(run))
    assert [group["fused"] for group in run.optimizer.param_groups] == [True]
    replays = ["replayed"] * (6 - WARM_UP_STEPS)
    assert pretended == ["aside"] * WARM_UP_STEPS + ["recorded", *replays]


def test_a_recording_refuses_tiles_of_another_size(pretended):
    run = new_run(settings(), 0, CPU, {})
    step = graphed(run)
    steps(run, step, 1)
    other = settings(input_tile_px=28)
    with pytest.raises(ValueError, match=r"tiles of shape \(1, 1, 28, 28\) after \(1, 1, 20, 20"):
        step(run, collate(blob_tiles(other, 1)))


@pytest.mark.parametrize("extra", [{}, {"optimizer": "adam", "learning_rate": 0.01}])
def test_a_run_goes_on_with_a_recorded_step(pretended, extra):
    """What was saved of one way to step is loaded into the other."""
    config = settings(**extra)
    whole, begun = (new_run(config, 0, CPU, {}) for _ in range(2))
    steps(begun, train_step, 3)
    run = new_run(config, 0, CPU, {})
    run.network.load_state_dict(begun.network.state_dict())
    load_optimizer(run.network, run.optimizer, begun.checkpoint().optimizer)
    run.step = begun.step
    steps(whole, train_step, 3)
    expected = torch.stack(steps(whole, train_step, 5))
    torch.testing.assert_close(torch.stack(steps(run, graphed(run), 5)), expected)
    for name, tensor in whole.checkpoint().optimizer.items():
        torch.testing.assert_close(run.checkpoint().optimizer[name], tensor)


@pytest.mark.parametrize("model", [{}, {"in_channels": 3}, {"upsampling": "bilinear"}])
def test_gradients_lie_in_memory_as_their_weights_do(model):
    """Or the fused optimiser would refuse them on a GPU, and be wrong on a CPU (PyTorch 2.13)."""
    run = new_run(settings(model), 0, CPU, {})
    config = run.config
    image = torch.rand(1, config.model.in_channels, 20, 20)
    tile = image, torch.ones(1, 4, 4, dtype=torch.long), torch.ones(1, 4, 4)
    graph_safe(run.optimizer, torch.tensor(0.1))
    for _ in range(2):
        cuda_step.gradient_step(run, forward_of(run), *cuda_step.on_device(tile, CPU))
    for weight in run.network.parameters():
        momentum = run.optimizer.state[weight]["momentum_buffer"]
        assert weight.grad is not None
        assert laid_out(weight) == laid_out(weight.grad) == laid_out(momentum)
        if weight.ndim == 4:
            assert weight.is_contiguous(memory_format=torch.channels_last)


def test_every_convolution_reads_channels_last():
    """Crops and concatenations included: no map is turned around on its way."""
    run = new_run(settings({"depth": 2, "in_channels": 3}, input_tile_px=44), 0, CPU, {})
    seen: list[bool] = []

    def look(_module: torch.nn.Module, maps: tuple[Tensor, ...]) -> None:
        seen.append(maps[0].is_contiguous(memory_format=torch.channels_last))

    for module in run.network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_pre_hook(look)
    tile = torch.rand(1, 3, 44, 44), torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    with torch.no_grad():
        run.network(cuda_step.on_device(tile, CPU)[0])
    assert seen == [True] * 13


def laid_out(tensor: Tensor) -> list[int]:
    """The strides of all axes but those of length 1, whose strides mean nothing."""
    return [stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if n > 1]


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
    for way, words in (*((way, "on device cpu: needs a") for way in GRAPHS), ("fast", "one of ")):
        options: dict[str, Any] = {"compile": way}
        with pytest.raises(ValueError, match=rf"compile = '{way}'.*{words}"):
            quietly(config, tiles, tmp_path / "run", **options)
    monkeypatch.setattr(distributed, "count", lambda: 2)
    for way in GRAPHS:
        with pytest.raises(ValueError, match="in 2 processes: a graph holds the step of one"):
            cuda_step.check_compile(way, "cuda")
    assert not (tmp_path / "run").exists()
