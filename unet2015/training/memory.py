"""How much memory a training takes, stated before it starts."""

import numpy as np

from unet2015.augmentation.tile import COEFFICIENT_BYTES
from unet2015.config import ExperimentConfig, ModelConfig
from unet2015.runtime.memory import gib

BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2}
INDEX_BYTES = 8
"""Of the place of a maximum, which max-pooling keeps for the way back."""
OPTIMIZER_VALUES = {"sgd": 1, "adam": 2, "adamw": 2}
"""Values that an optimiser keeps of a parameter: momentum, second moments."""
SAMPLE_BYTES = 3
"""Of a pixel beside its gray value: a byte for its class, two for its weight."""


def memory_statement(config: ExperimentConfig, stack: np.ndarray) -> str:
    """One line: about how much memory the training on a stack (N, H, W) takes, in GiB."""
    values = round(stack.size * config.model.image_scale**2)
    samples = stack.nbytes + SAMPLE_BYTES * values + min(4 * values, COEFFICIENT_BYTES)
    step = step_memory_bytes(config)
    return (
        f"about {gib(step + samples)} of memory beside Python and PyTorch: {gib(step)} for a "
        "step (a smaller --training.input-tile-px or --training.batch-size takes less; on a GPU "
        f"it is the GPU's), {gib(samples)} for images, labels and weights"
    )


def step_memory_bytes(config: ExperimentConfig) -> int:
    """About how many bytes a training step takes: parameters, feature maps, gradients (paper §3).

    All feature maps of the batch are kept for the way back, and at its widest place three more are
    gradients and what a convolution works in; of each parameter its gradient and what the optimiser
    keeps.
    """
    model, training = config.model, config.training
    values, indices, widest = feature_values(model, training.input_tile_px)
    each = BYTES[training.precision]
    maps = training.batch_size * (each * (values + 3 * widest) + INDEX_BYTES * indices)
    parameters = parameter_count(model)
    copies = 2 + OPTIMIZER_VALUES[training.optimizer]
    cast = each if training.precision == "bfloat16" else 0
    return maps + parameters * (4 * copies + cast)


def feature_values(model: ModelConfig, input_px: int) -> tuple[int, int, int]:
    """Of one tile: values of all feature maps, places of maxima, values of the widest map.

    A map and what an activation or a normalisation keeps beside it count each (paper Fig. 1).
    """
    loss = 0 if model.padding == "same" else 2
    kept_each = 1 + (model.normalization != "none") + (model.activation != "relu")
    side, values, indices, widest = input_px, model.in_channels * input_px**2, 0, 0

    def keep(channels: int, side: int, times: int = 1) -> None:
        nonlocal values, widest
        values += times * channels * side**2
        widest = max(widest, channels * side**2)

    def two_convolutions(channels: int) -> None:
        nonlocal side
        for _ in range(2):
            side -= loss
            keep(channels, side, kept_each)

    for level in range(model.depth + 1):
        channels = model.width * 2**level
        if level:
            side //= 2
            keep(channels // 2, side)
            indices += channels // 2 * side**2
        two_convolutions(channels)
    for level in reversed(range(model.depth)):
        channels = model.width * 2**level
        side *= 2
        keep(2 * channels, side)  # joined with what was cropped
        two_convolutions(channels)
    keep(model.classes, side, 3)  # scores, in float32 and as log-probabilities
    return values, indices, widest


def parameter_count(model: ModelConfig) -> int:
    """Of the convolutions alone; what else a network has is no share of them."""
    inner = [model.width * 2**level for level in range(model.depth + 1)]
    count, before = 0, model.in_channels
    for channels in inner:
        count += 9 * channels * (before + channels)
        before = channels
    for channels in reversed(inner[:-1]):
        count += (8 + 18 + 9) * channels**2  # up, joined, inner
    return count + inner[0] * model.classes
