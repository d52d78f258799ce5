"""Prediction of one 512 × 512 px slice by the full-size network."""

from dataclasses import replace

import numpy as np
import torch

from unet2015.benchmarks.timing import Benchmark, Timed, seconds, side_by_side
from unet2015.config import ExperimentConfig
from unet2015.inference.prediction import predict_image, predict_stack, tiled_scores
from unet2015.inference.tiling import choose_tiling, mirror_window
from unet2015.model import UNet, valid_output_size


def benchmark(
    device: str,
    *,
    config: ExperimentConfig | None = None,
    size_px: int = 512,
    repeats: int = 3,
    stack_slices: int | None = None,
) -> Benchmark:
    """Ours in float32 and bfloat16 beside the plain loop over the training's tiles (572 → 388 px).

    Without averaging, both; then ours with the paper's seven views and with eight, and a whole
    stack of `stack_slices` (None: 30 on CUDA, 0 on the CPU) without averaging and with the seven.
    The outputs of the two loops agree within 1e-4 in float32 (checked in the run; ValueError
    otherwise).
    """
    config = config or ExperimentConfig()
    network = UNet(config.model, seed=0).to(device).eval()
    fast = UNet(config.model, seed=0).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    image = np.random.default_rng(0).random(
        (config.model.in_channels, size_px, size_px), np.float32
    )
    largest = config.prediction.largest_input_tile_px

    def plain() -> np.ndarray:
        return plain_scores(network, image, config.training.input_tile_px, device)

    difference = np.abs(tiled_scores(fast, image, largest_input_px=largest) - plain()).max()
    if difference > 1e-4:
        raise ValueError(f"the two ways to predict differ by {difference:.2g}: no comparison")
    tiling = choose_tiling((size_px, size_px), config.model, largest)
    remark = f"{len(tiling)} tile(s), {tiling.redundancy():.0%} of the output pixels in vain"
    found = []
    for precision in ("float32", "bfloat16"):
        ours, theirs = side_by_side(
            lambda precision=precision: tiled_scores(
                fast, image, largest_input_px=largest, precision=precision
            ),
            plain,
            repeats=repeats,
            device=device,
        )
        what = f"tiles of {config.training.input_tile_px} px one after the other, float32"
        found.append(
            Timed(
                f"one slice, one view, {precision}",
                ours,
                theirs,
                what,
                remark=remark,
                headline=True,
            )
        )
    rows = found
    settings = replace(config.prediction, precision="bfloat16")
    for words, averaging in (("seven views", "rotations7"), ("eight views", "dihedral8")):
        each = replace(settings, averaging=averaging)
        # on a CPU, where it takes a quarter of a minute, once
        slice_s = seconds(
            lambda each=each: predict_image(fast, image, each),
            repeats=repeats if device.startswith("cuda") else 1,
            device=device,
        )
        rows.append(Timed(f"one slice, {words}, bfloat16", slice_s))
    if stack_slices is None:
        stack_slices = 30 if device.startswith("cuda") else 0
    stack = np.repeat(image[None], stack_slices, axis=0)
    for words, averaging in (("one view", "none"), ("seven views", "rotations7")):
        if not stack_slices:
            break
        each = replace(settings, averaging=averaging)
        whole = seconds(
            lambda each=each: list(predict_stack(fast, stack, each, progress=False)),
            repeats=repeats,
            device=device,
        )
        work = f"stack of {stack_slices} slices, {words}, bfloat16"
        rows.append(Timed(work, whole, headline=True))
    return Benchmark(rows, [f"The full-size network on a slice of {size_px} × {size_px} px."])


def plain_scores(network: UNet, image: np.ndarray, tile_px: int, device: str) -> np.ndarray:
    """The scores by the training's tile size: mirrored, cut, predicted, put together."""
    output_px = valid_output_size(tile_px, network.config.depth)
    margin = (tile_px - output_px) // 2
    height, width = image.shape[1:]
    scores = np.zeros((network.config.classes, height, width), np.float32)
    # by whole cells of the last pooling: other strides give another, equally good, prediction
    stride = output_px // 2**network.config.depth * 2**network.config.depth
    for y in range(0, height, stride):
        for x in range(0, width, stride):
            window = mirror_window(image, y - margin, x - margin, tile_px, tile_px)
            with torch.no_grad():
                tile = network(torch.from_numpy(window)[None].to(device))[0].cpu().numpy()
            h, w = min(output_px, height - y), min(output_px, width - x)
            scores[:, y : y + h, x : x + w] = tile[:, :h, :w]
    return scores
