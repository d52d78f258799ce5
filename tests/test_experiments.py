"""Every ablation is one difference from any baseline, and asks its question."""

import pytest

from unet2015 import experiments
from unet2015.config import config_hash, differences

ONE_FIELD = {
    "batch_norm": "model.normalization: batch",
    "layer_norm": "model.normalization: layer",
    "no_rotation": "augmentation.rotation: none",
    "no_elastic": "augmentation.elastic_sigma_px: 0.0",
    "no_border_weight": "weight_map.w0: 0.0",
    "no_class_weight": "weight_map.class_weights: none",
    "no_dropout": "model.dropout: 0.0",
    "release_network": "model.variant: release",
    "half_width": "model.width: 32",
    "momentum_090": "training.momentum: 0.9",
    "bilinear_upsampling": "model.upsampling: bilinear",
    "bspline_vs_keys_bicubic": "augmentation.displacement_interpolation: keys",
    "tta_none": "prediction.averaging: none",
    "tta_8": "prediction.averaging: dihedral8",
    "gelu": "model.activation: gelu",
    "silu": "model.activation: silu",
    "pysilu": "model.activation: pysilu",
}


def test_every_arm_has_its_one_difference_from_the_paper():
    paper = experiments.load("paper")
    assert set(experiments.arms()) == {*ONE_FIELD, "adam", "same_padding", "no_augmentation"}
    for name, expected in ONE_FIELD.items():
        (line,) = differences(experiments.load(name), paper)
        assert line.startswith(f"{expected} (was ")
        assert experiments.arm(name, paper) == experiments.load(name)
        assert experiments.question(name).endswith("?")
    lines = differences(experiments.load("same_padding"), paper)
    assert lines == [
        "model.padding: same (was valid)",
        "training.input_tile_px: 576 (was 572)",
    ]


def test_arms_apply_to_any_base_and_keep_its_other_settings():
    base = experiments.load("ablation_quick")
    for name in experiments.arms():
        lines = differences(experiments.arm(name, base), base)
        assert not any("learning_rate" in line or "steps" in line for line in lines)
    hashes = {config_hash(experiments.arm(name, base)) for name in experiments.arms()}
    # adam with beta 0.9 is quick's own
    assert len(hashes) == len(experiments.arms()) - 1


def test_an_unknown_arm_gets_the_nearest_names():
    with pytest.raises(ValueError, match=r"'batchnorm' is unknown; nearest: batch_norm"):
        experiments.arm("batchnorm", experiments.load("paper"))
