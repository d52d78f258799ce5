"""The U-Net (paper §2, Fig. 1) and the arithmetic of its tile sizes.

The network of the paper has 23 unpadded convolutions and 31,030,658 parameters; a 572×572 input
tile gives a 388×388 score map. What the paper leaves out is taken from the authors' 2015 release
("release"); every departure from the paper is an option that is off by default.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unet2015.config import ModelConfig

CELL = 1
"""Channel of the score map that stands for 'cell' (0 is membrane or background)."""


def context_margin_px(depth: int = 4) -> int:
    """Pixels lost on each side between input and output tile (paper Fig. 1: (572 - 388)/2 = 92).

    >>> context_margin_px(4)
    92
    """
    return (_input_of(4, depth) - _output_of(4, depth)) // 2


def valid_output_size(input_px: int, depth: int = 4, padding: str = "valid") -> int:
    """Side of the score map for an input tile of side `input_px` (paper §2, Fig. 1: 572 → 388).

    Every 2×2 max-pooling must see an even side. A size that does not fit raises ValueError, which
    names the nearest sizes that do.

    >>> valid_output_size(572)
    388
    """
    step = 2**depth
    if padding == "same":
        if input_px >= step and input_px % step == 0:
            return input_px
    else:
        bottleneck, rest = divmod(input_px - _input_of(0, depth), step)
        if rest == 0 and bottleneck >= 4:
            return _output_of(bottleneck, depth)
    below, above = _valid_neighbours(input_px, depth, padding)
    nearest = f"{above}" if below is None else f"{below} and {above}"
    raise ValueError(
        f"input tile size {input_px} px does not fit a U-Net with {depth} poolings and "
        f"{padding!r} padding: every pooling must see an even side; "
        f"the nearest valid {'size is' if below is None else 'sizes are'} {nearest} px"
    )


def nearest_valid_size(input_px: int, depth: int = 4, padding: str = "valid") -> int:
    """The valid input tile size closest to `input_px`; of two equally close ones the larger.

    >>> nearest_valid_size(512)
    508
    """
    below, above = _valid_neighbours(input_px, depth, padding)
    return above if below is None or above - input_px <= input_px - below else below


def smallest_valid_input(output_px: int, depth: int = 4, padding: str = "valid") -> int:
    """The smallest valid input tile whose score map covers `output_px` pixels.

    >>> smallest_valid_input(512)
    700
    """
    step = 2**depth
    if padding == "same":
        return max(1, -(-output_px // step)) * step
    bottleneck = max(4, -(-(output_px - _output_of(0, depth)) // step))
    return _input_of(bottleneck, depth)


def _input_of(bottleneck_px: int, depth: int) -> int:
    """Input side that leaves `bottleneck_px` after the lowest level's two convolutions."""
    side = bottleneck_px + 4
    for _ in range(depth):
        side = 2 * side + 4
    return side


def _output_of(bottleneck_px: int, depth: int) -> int:
    """Output side that grows out of `bottleneck_px` at the lowest level."""
    side = bottleneck_px
    for _ in range(depth):
        side = 2 * side - 4
    return side


def _valid_neighbours(input_px: int, depth: int, padding: str) -> tuple[int | None, int]:
    step = 2**depth
    smallest = step if padding == "same" else _input_of(4, depth)
    if input_px < smallest:
        return None, smallest
    below = smallest + (input_px - smallest) // step * step
    return below, below if below == input_px else below + step


class PySiLU(nn.Module):
    """x for x ≥ 0 and x/(1 + x²) below: the activation of one later re-implementation."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, x, x / (1 + x * x))


def _activation(config: ModelConfig) -> nn.Module:
    match config.activation:
        case "relu":
            return nn.ReLU(inplace=True)
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU(inplace=True)
        case "pysilu":
            return PySiLU()


def _normalization(config: ModelConfig, channels: int) -> list[nn.Module]:
    match config.normalization:
        case "batch":
            return [nn.BatchNorm2d(channels)]
        case "layer":  # over channels and both axes, one group: defined for any tile size
            return [nn.GroupNorm(1, channels)]
        case "none":
            return []


def _two_convolutions(config: ModelConfig, in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3×3 convolutions, each followed by the activation (paper §2)."""
    padding = 1 if config.padding == "same" else 0
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, kernel_size=3, padding=padding))
        layers += _normalization(config, out_channels)
        layers.append(_activation(config))
    return nn.Sequential(*layers)


def _up_convolution(config: ModelConfig, in_channels: int, out_channels: int) -> nn.Module:
    """Twice the side, `out_channels` channels: the up-convolution (paper §2) or its alternative."""
    if config.upsampling == "up_convolution":
        return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.ReplicationPad2d((0, 1, 0, 1)),  # or the 2×2 convolution would cost a row and a column
        nn.Conv2d(in_channels, out_channels, kernel_size=2),
    )


class UNet(nn.Module):
    """The U-shaped network (paper §2, Fig. 1); comments give H×W×C of a 572×572 tile.

    forward: (B, in_channels, H, W) float in [0, 1] → scores (B, classes, h, w) before the softmax,
    with h = valid_output_size(H), w = valid_output_size(W); one class: before the sigmoid. Weights
    are drawn from `seed` alone (paper §3: Gaussian, standard deviation √(2/N)) and biases are 0,
    or both as PyTorch draws them (`config.initialization`).

    >>> network = UNet(ModelConfig(width=2, depth=1))
    >>> network(torch.zeros(1, 1, 20, 20)).shape  # as small as such a network's tiles get
    torch.Size([1, 2, 4, 4])
    """

    def __init__(self, config: ModelConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        widths = [config.width * 2**level for level in range(config.depth + 1)]
        release = config.variant == "release"
        with torch.random.fork_rng(devices=[]):  # where PyTorch's layers draw from as they are made
            torch.default_generator.manual_seed(seed)
            # Contracting path: 568×568×64, 280×280×128, 136×136×256, 64×64×512; bottom 28×28×1024.
            self.contracting = nn.ModuleList(
                _two_convolutions(config, channels, width)
                for channels, width in zip([config.in_channels, *widths], widths, strict=False)
            )
            self.dropout = nn.Dropout(config.dropout)
            # Up-convolutions: 56×56×512, 104×104×256, 200×200×128, 392×392×64 (release: 128).
            self.up = nn.ModuleList()
            # Expansive path: 52×52×512, 100×100×256, 196×196×128, 388×388×64.
            self.expansive = nn.ModuleList()
            for level in reversed(range(config.depth)):
                width = widths[level]
                up_channels = 2 * width if release and level == 0 else width
                self.up.append(_up_convolution(config, widths[level + 1], up_channels))
                self.expansive.append(_two_convolutions(config, up_channels + width, width))
            self.score = nn.Conv2d(config.width, config.classes, kernel_size=1)  # 388×388×2
        if config.initialization == "he":  # PyTorch's own initialisation is overwritten
            self._initialise(seed)

    def forward(self, image: Tensor) -> Tensor:
        self._check(image)
        x, skips = image, []
        for level, convolutions in enumerate(self.contracting):
            if level > 0:
                x = F.max_pool2d(x, 2)
            x = convolutions(x)
            # "at the end of the contracting path" (paper §3.1): the two lowest levels, before the
            # pooling and the skip alike (release).
            if level >= self.config.depth - 1:
                x = self.dropout(x)
            skips.append(x)
        skips.pop()
        for up, convolutions in zip(self.up, self.expansive, strict=True):
            x = up(x)
            if self.config.variant == "release":
                x = F.relu(x)
            x = torch.cat([x, _centre_crop(skips.pop(), x)], dim=1)
            x = convolutions(x)
        return self.score(x)

    def _check(self, image: Tensor) -> None:
        channels = self.config.in_channels
        if image.ndim != 4 or image.shape[1] != channels:
            raise ValueError(
                f"image has shape {tuple(image.shape)}: must be (batch, {channels}, height, width)"
            )
        for side in image.shape[2:]:
            valid_output_size(side, self.config.depth, self.config.padding)

    def _initialise(self, seed: int) -> None:
        """Gaussian weights with standard deviation √(2/N), biases 0 (paper §3; release).

        N of an up-convolution counts its 2×2 kernel times its output channels, which is what the
        release's filler does; with half as many channels out as in, the standard deviation is
        √(1/in), right for a layer that no ReLU follows.
        """
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(cast(Tensor, module.bias))


def predicted_class(scores: Tensor) -> Tensor:
    """The class of each pixel, (B, h, w) int64, from scores (B, classes, h, w) (paper §3).

    One score per pixel: `CELL` where it is > 0, a probability > 0.5; else 0.
    """
    if scores.shape[1] == 1:
        return torch.where(scores[:, 0] > 0, CELL, 0)
    return scores.argmax(dim=1)


def _centre_crop(skip: Tensor, like: Tensor) -> Tensor:
    """The centre of the contracting path's map, as large as `like` (paper §2: 'cropped')."""
    if skip.shape[2:] == like.shape[2:]:
        return skip
    down, across = (skip.shape[2] - like.shape[2]) // 2, (skip.shape[3] - like.shape[3]) // 2
    # the gradient of a slice would not be channels-last as all others are, and cost copies
    return F.pad(skip, (-across, -across, -down, -down))
