"""The memory that prediction states before it starts."""

from unet2015.config import ModelConfig
from unet2015.memory import WORKING, prediction_memory_bytes
from unet2015.tiling import choose_tiling


def test_the_papers_network_by_hand():
    # 572 px; most is alive where the highest level is joined: the left side's 568 × 568 × 64, the
    # up-convolution's 392 × 392 × 64, and both joined
    tiling = choose_tiling((388, 388), ModelConfig(), 572)
    assert tiling.input_hw == (572, 572)
    values = 64 * 568**2 + 64 * 392**2 + 128 * 392**2
    assert prediction_memory_bytes(ModelConfig(), tiling) == int(WORKING * 4 * values)
    half = prediction_memory_bytes(ModelConfig(), tiling, precision="bfloat16")
    assert half == int(WORKING * 2 * values)


def test_it_depends_on_the_tile_and_not_on_the_number_of_tiles():
    model = ModelConfig(width=4)
    few, many = (choose_tiling((side, side), model, 316) for side in (128, 1024))
    assert len(many) > len(few)
    assert many.input_hw == few.input_hw
    assert prediction_memory_bytes(model, many) == prediction_memory_bytes(model, few)
