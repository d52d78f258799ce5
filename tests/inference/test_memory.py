"""The memory that prediction states before it starts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.commands import ROOT
from unet2015.config import ModelConfig, PredictionConfig
from unet2015.inference.memory import (
    HELD,
    MOST_TILES,
    image_memory_bytes,
    memory_statement,
    prediction_memory_bytes,
    stack_memory_bytes,
    tiles_that_fit,
)
from unet2015.inference.tiling import choose_tiling

NONE = PredictionConfig(averaging="none")


def test_a_tile_of_the_papers_network_takes_what_is_computed_by_hand():
    # 572 px; most is alive in the second convolution: 570 × 570 × 64 and 568 × 568 × 64, which
    # are whole blocks of 16 channels, both once more to compute with
    tiling = choose_tiling((388, 388), ModelConfig(), 572)
    assert tiling.input_hw == (572, 572)
    values = 2 * 64 * (570**2 + 568**2)
    assert prediction_memory_bytes(ModelConfig(), tiling) == 4 * values
    assert prediction_memory_bytes(ModelConfig(), tiling, precision="bfloat16") == 2 * values
    # few channels are computed in whole blocks
    values = (2 + 16) * (570**2 + 568**2)
    assert prediction_memory_bytes(ModelConfig(width=2), tiling) == 4 * values


def test_memory_depends_on_the_tile_and_not_on_the_number_of_tiles():
    model = ModelConfig(width=4)
    few, many = (choose_tiling((side, side), model, 316) for side in (128, 1024))
    assert len(many) > len(few)
    assert many.input_hw == few.input_hw
    assert prediction_memory_bytes(model, many) == prediction_memory_bytes(model, few)


def test_tiles_together_take_a_share_of_a_gpus_free_memory(monkeypatch):
    model, gpu = ModelConfig(), torch.device("cuda")
    tiling = choose_tiling((388, 388), model, 572)
    one = prediction_memory_bytes(model, tiling)

    def fit(free, reserved=0, allocated=0):
        for name, value in {
            "mem_get_info": (free, 0),
            "memory_reserved": reserved,
            "memory_allocated": allocated,
        }.items():
            monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
        return tiles_that_fit(model, tiling, "float32", gpu)

    assert fit(0) == 1
    assert fit(6.5 * one) == 3
    assert fit(2.5 * one, reserved=5 * one, allocated=one) == 3
    assert fit(1000 * one) == MOST_TILES
    assert tiles_that_fit(model, tiling, "float32", torch.device("cpu")) == 1


@pytest.mark.parametrize(
    ("averaging", "planes"),
    [
        ("none", 1 + 2 + 2),  # the image, its scores, its probabilities
        ("dihedral8", 1 + 2 + 1 + 2 + 2),  # beside the image and the sum
        ("flips4", 1 + 2 + 1 + 2 + 2),
    ],
)
def test_an_image_takes_what_is_computed_by_hand(averaging, planes):
    config = PredictionConfig(averaging=averaging)
    assert image_memory_bytes(ModelConfig(), config, (30, 50)) == 4 * planes * 30 * 50
    # the stack of 16-bit numbers and the probability
    whole = stack_memory_bytes(ModelConfig(), config, (7, 30, 50), "uint16")
    assert whole == 4 * planes * 30 * 50 + 7 * 30 * 50 * (2 + 4)


def test_rotated_images_are_larger():
    config = PredictionConfig(averaging="rotations7")
    # the image, its spline coefficients, and the sum
    turned = image_memory_bytes(ModelConfig(), config, (1, 3001)) / 4 - 4 * 3001
    # turned by 360° / 7 = 51.43°, the nearest to 45°, a line spans the largest rectangle
    assert turned / 5 == pytest.approx(3000 * 0.62349 * 3000 * 0.78183, rel=0.003)


def test_a_smaller_image_is_beside_the_whole_one():
    model = ModelConfig(image_scale=0.5)
    values = 5 * 20 * 30 + 3 * 40 * 60
    assert image_memory_bytes(model, NONE, (40, 60)) == 4 * values


def test_the_statement_is_the_sum():
    model = ModelConfig(width=64)
    shape = (1, 388, 388)
    tile = 4 * 128 * (570**2 + 568**2)
    rest = stack_memory_bytes(model, NONE, shape, "uint8") + HELD
    line = memory_statement(model, NONE, shape, "uint8")
    assert line.startswith("1 tile(s) of 572 × 572 px an image, about ")
    numbers = [float(number) for number in re.findall(r"([\d.]+) GiB", line)]
    expected = [(tile + rest) / 2**30, tile / 2**30, rest / 2**30]
    assert numbers == pytest.approx(expected, rel=0.05)


def test_the_statement_is_of_the_largest_view():
    config = PredictionConfig(averaging="rotations7", largest_input_tile_px=2000)
    line = memory_statement(ModelConfig(width=2), config, (1, 388, 388), "uint8")
    # 388 px are 545 px when turned by 51.4°, and 92 px on either side are context
    side = re.match(r"1 tile\(s\) of (\d+) × \1 px an image and view", line)
    assert side is not None
    assert 545 + 184 <= int(side[1]) < 545 + 184 + 16


CHILD = r"""
import re
from pathlib import Path
import numpy as np
import torch
from unet2015.config import ModelConfig, PredictionConfig
from unet2015.data.gray_scale import GrayScale
from unet2015.model import UNet
from unet2015.studies.run_folder import predict_gray

def peak():
    # getrusage's would begin at that of the parent, which has run all the tests before
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])

torch.set_num_threads(1)
network = UNet(ModelConfig(width=2, depth=2)).eval()
scale = GrayScale(0, 255, "uint8")
config = PredictionConfig(averaging="none", largest_input_tile_px=300)
def predict(*shape):
    predict_gray(network, np.zeros(shape, np.uint8), scale, config, device="cpu")
predict(1, 40, 40)  # what PyTorch itself takes for its first convolution
before = peak()
predict(5, 1100, 1100)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc for the peak")
def test_the_peak_of_a_process_is_within_the_statement():
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    _, line, measured = done.stdout.splitlines()
    found = re.search(r"about ([\d.]+) GiB of memory", line)
    assert found is not None
    stated = float(found[1]) * 2**30
    # a quarter for other C libraries, which keep more of what is freed
    assert stated / 3 <= int(measured) <= 1.25 * stated
