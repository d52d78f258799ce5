"""The network against the paper's Fig. 1 and the fact sheet's table of layers."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.signal import correlate2d
from torch import nn

from unet2015.config import ModelConfig
from unet2015.model import (
    PySiLU,
    UNet,
    context_margin_px,
    nearest_valid_size,
    predicted_class,
    smallest_valid_input,
    valid_output_size,
)

# in → out channels, kernel, parameters, output side for a 572×572 tile; in the order of the paper
LAYERS = [
    (1, 64, 3, 640, 570),
    (64, 64, 3, 36_928, 568),
    (64, 128, 3, 73_856, 282),
    (128, 128, 3, 147_584, 280),
    (128, 256, 3, 295_168, 138),
    (256, 256, 3, 590_080, 136),
    (256, 512, 3, 1_180_160, 66),
    (512, 512, 3, 2_359_808, 64),
    (512, 1024, 3, 4_719_616, 30),
    (1024, 1024, 3, 9_438_208, 28),
    (1024, 512, 2, 2_097_664, 56),
    (1024, 512, 3, 4_719_104, 54),
    (512, 512, 3, 2_359_808, 52),
    (512, 256, 2, 524_544, 104),
    (512, 256, 3, 1_179_904, 102),
    (256, 256, 3, 590_080, 100),
    (256, 128, 2, 131_200, 200),
    (256, 128, 3, 295_040, 198),
    (128, 128, 3, 147_584, 196),
    (128, 64, 2, 32_832, 392),
    (128, 64, 3, 73_792, 390),
    (64, 64, 3, 36_928, 388),
    (64, 2, 1, 130, 388),
]


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def convolutions_in_order(network: UNet, size_px: int) -> list[tuple[nn.Module, int]]:
    """Every convolution with the side of its output, in the order in which they ran."""
    seen: list[tuple[nn.Module, int]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda m, _i, o: seen.append((m, o.shape[-1])))
    with torch.no_grad():
        network(torch.zeros(1, network.config.in_channels, size_px, size_px))
    return seen


def test_every_layer_is_the_papers() -> None:
    ran = convolutions_in_order(UNet(), 572)
    assert len(ran) == 23
    found = [(m.in_channels, m.out_channels, m.kernel_size[0], parameters(m), s) for m, s in ran]
    assert found == LAYERS


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 31_030_658),
        ({"variant": "release"}, 31_100_354),
        ({"in_channels": 3}, 31_031_810),
        # the later re-implementations' networks, with one score
        ({"classes": 1, "initialization": "pytorch"}, 31_030_593),
        ({"in_channels": 3, "classes": 1, "initialization": "pytorch"}, 31_031_745),
    ],
)
def test_the_parameters_are_as_many_as_published(options: dict[str, Any], expected: int) -> None:
    with torch.device("meta"):  # counted without being drawn
        assert parameters(UNet(ModelConfig(**options))) == expected


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_size_arithmetic_is_what_the_network_does(padding: str) -> None:
    for depth, output in itertools.product((1, 2, 3, 4), (1, 17, 50)):
        network = UNet(ModelConfig(width=1, depth=depth, padding=padding)).eval()
        side = smallest_valid_input(output, depth, padding)
        with torch.no_grad():
            got = network(torch.zeros(1, 1, side, side)).shape[-1]
        assert got == valid_output_size(side, depth, padding) >= output
        if padding == "valid":
            assert side - got == 2 * context_margin_px(depth)


def test_only_valid_sizes_pass_and_others_are_told_the_nearest() -> None:
    # the tile sizes of the authors' release
    for input_px, output_px in ((188, 4), (444, 260), (572, 388), (700, 516), (892, 708)):
        assert valid_output_size(input_px) == output_px
        assert smallest_valid_input(output_px) == input_px
    for size in range(100, 800):
        fits = size >= 188 and (size - 60) % 16 == 0
        if fits:
            assert valid_output_size(size) == size - 184
            assert nearest_valid_size(size) == size
        else:
            with pytest.raises(ValueError, match=f"input tile size {size} px"):
                valid_output_size(size)
    with pytest.raises(ValueError, match="508 and 524"):
        valid_output_size(512)
    with pytest.raises(ValueError, match="nearest valid size is 188"):
        valid_output_size(64)
    with pytest.raises(ValueError, match="496 and 512"):
        valid_output_size(500, padding="same")
    assert [nearest_valid_size(s) for s in (1, 515, 516, 517)] == [188, 508, 524, 524]


def test_forward_refuses_wrong_shapes() -> None:
    network = UNet(ModelConfig(width=1))
    with pytest.raises(ValueError, match="508 and 524"):
        network(torch.zeros(1, 1, 572, 512))
    with pytest.raises(ValueError, match="must be \\(batch, 1, height, width\\)"):
        network(torch.zeros(1, 3, 572, 572))


PYTORCH = ModelConfig(width=3, depth=2, initialization="pytorch", classes=1)


def test_pytorchs_initialisation_is_what_its_layers_draw_by_themselves() -> None:
    network = UNet(PYTORCH, seed=5)
    contracting = [*network.contracting.modules()]  # the first to be made, in this order
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                size = module.kernel_size[0]
                layer = nn.Conv2d(module.in_channels, module.out_channels, size)
            elif isinstance(module, nn.ConvTranspose2d):
                layer = nn.ConvTranspose2d(module.in_channels, module.out_channels, 2, stride=2)
            else:
                continue
            assert module.bias is not None
            assert module.bias.any()
            # Kaiming-uniform with a = √5: weights and biases within 1/√(fan in)
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert float(module.weight.detach().abs().max()) <= bound
            if module in contracting:
                assert layer.bias is not None
                assert torch.equal(module.weight, layer.weight)
                assert torch.equal(module.bias, layer.bias)


@pytest.mark.parametrize("initialization", ["he", "pytorch"])
def test_either_initialisation_depends_on_the_seed_alone(initialization: str) -> None:
    config = replace(PYTORCH, initialization=initialization)  # type: ignore[arg-type]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = UNet(config, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = UNet(config, seed=5).state_dict(), UNet(config, seed=6).state_dict()
    assert all(torch.equal(tensor, first[name]) for name, tensor in again.items())
    weights = [name for name in first if name.endswith("weight")]
    assert not any(torch.equal(other[name], first[name]) for name in weights)


def test_initialisation_is_he_normal_with_zero_biases_from_a_generator_of_its_own() -> None:
    """Paper §3: σ = √(2 / N). The weights of a seed are what they were in the first records."""
    generator = torch.Generator().manual_seed(5)
    for module in UNet(ModelConfig(width=2, depth=2), seed=5).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fan_in = module.weight[0].numel()
            drawn = torch.empty_like(module.weight).normal_(
                0, math.sqrt(2) / math.sqrt(fan_in), generator=generator
            )
            assert torch.equal(module.weight.detach(), drawn)
            assert module.bias is not None
            assert not module.bias.any()


def test_the_class_is_the_largest_score_or_one_score_s_sign() -> None:
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 4, 5)))
    scores[0, 0, 0, 0] = 0  # a probability of 0.5 is no cell
    found = predicted_class(scores)
    assert found.dtype == torch.int64
    assert found.tolist() == (1 / (1 + np.exp(-scores[:, 0].numpy())) > 0.5).astype(int).tolist()
    two = torch.cat([torch.zeros_like(scores), scores], dim=1)
    assert torch.equal(found, predicted_class(two))
    three = torch.tensor([1.0, -2.0, 3.0]).reshape(1, 3, 1, 1)
    assert predicted_class(three).tolist() == [[[2]]]


def test_dropout_is_at_two_places_and_carried_by_the_skip() -> None:
    network = UNet(ModelConfig(width=2)).train()
    levels: list[int] = []
    network.dropout.register_forward_hook(lambda _m, _i, o: levels.append(o.shape[1]))
    torch.manual_seed(0)
    network(torch.rand(1, 1, 188, 188))
    assert levels == [16, 32]  # the 512- and 1024-channel levels, eight and sixteen times 2
    # The skip of the second lowest level carries the drop-out too: half of its values are 0.
    inputs: list[torch.Tensor] = []
    network.expansive[0].register_forward_pre_hook(lambda _m, i: inputs.append(i[0]))
    network(torch.rand(1, 1, 572, 572))
    skip = inputs[0][:, 16:]
    network.eval()
    network(torch.rand(1, 1, 572, 572))
    assert (skip == 0).float().mean() > (inputs[1][:, 16:] == 0).float().mean() + 0.1


def test_concatenation_crops_the_centre() -> None:
    network = UNet(ModelConfig(width=1, depth=1, dropout=0.0)).eval()
    inputs: list[torch.Tensor] = []
    skips: list[torch.Tensor] = []
    network.contracting[0].register_forward_hook(lambda _m, _i, o: skips.append(o))
    network.expansive[0].register_forward_pre_hook(lambda _m, i: inputs.append(i[0]))
    with torch.no_grad():
        network(torch.rand(1, 1, 44, 44))
    side = inputs[0].shape[-1]
    crop = (skips[0].shape[-1] - side) // 2
    assert crop == 4
    assert torch.equal(inputs[0][:, 1:], skips[0][:, :, crop:-crop, crop:-crop])


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(width=2, normalization="batch"),
        ModelConfig(width=2, normalization="layer"),
        ModelConfig(width=2, activation="gelu"),
        ModelConfig(width=2, activation="silu"),
        ModelConfig(width=2, activation="pysilu"),
        ModelConfig(width=2, variant="release"),
        ModelConfig(width=2, upsampling="bilinear"),
        ModelConfig(width=2, classes=5, in_channels=3),
        ModelConfig(width=2, classes=1, initialization="pytorch"),
    ],
    ids=str,
)
def test_every_option_gives_each_parameter_a_gradient(config: ModelConfig) -> None:
    """Every option gives a network whose every parameter receives a gradient."""
    network = UNet(config).train()
    image = torch.rand(2, config.in_channels, 204, 204, generator=torch.Generator().manual_seed(0))
    network(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    x = torch.tensor([-2.0, -1.0, 0.0, 1.5])
    assert torch.allclose(PySiLU()(x), torch.tensor([-2 / 5, -1 / 2, 0.0, 1.5]))


def test_normalisation_is_off_by_default_and_counts() -> None:
    assert not [m for m in UNet().modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    for normalization in ("batch", "layer"):
        network = UNet(ModelConfig(width=2, normalization=normalization))
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
        assert len(norms) == 18  # one behind each 3×3 convolution


def test_bilinear_upsampling_is_an_interpolation_and_a_convolution() -> None:
    up = UNet(ModelConfig(width=2, upsampling="bilinear")).up[-1]
    small = torch.rand(1, 4, 5, 7, generator=torch.Generator().manual_seed(0))
    convolution = up[-1]  # type: ignore[index]
    assert (convolution.in_channels, convolution.out_channels) == (4, 2)
    with torch.no_grad():
        ours = up(small)
        # bilinear between pixel centres, as SciPy's linear spline; then a correlation
        rows, columns = np.mgrid[:11, :15]  # one row and column more than twice the size
        at = np.stack([np.clip(rows, 0, 9), np.clip(columns, 0, 13)]) / 2 - 0.25
        large = [map_coordinates(c, at, order=1, mode="nearest") for c in small[0].numpy()]
        kernel = convolution.weight.numpy()
        for channel in range(2):
            theirs = sum(
                correlate2d(plane, kernel[channel, k], mode="valid")
                for k, plane in enumerate(large)
            )
            np.testing.assert_allclose(ours[0, channel].numpy(), theirs, atol=1e-6)
