"""The settings survive a file, refuse what is wrong, and are told apart by their hash."""

import dataclasses
import json
import subprocess
import sys
from typing import Any, get_args

import pytest

from unet2015.config import (
    AugmentationConfig,
    ExperimentConfig,
    ModelConfig,
    PredictionConfig,
    TrainingConfig,
    WeightMapConfig,
    as_dict,
    config_hash,
    differences,
    from_dict,
)

ODD = ExperimentConfig(
    model=ModelConfig(classes=3, width=5, depth=2, padding="same", dropout=0.1),
    weight_map=WeightMapConfig(w0=1.5, class_weights="none", separate_touching=False),
    augmentation=AugmentationConfig(rotation="none", flips=True, gamma=1.0),
    training=TrainingConfig(optimizer="adam", gradient_clip=0.3, learning_rate=1 / 3),
    prediction=PredictionConfig(averaging="none", largest_input_tile_px=300),
)
FIELDS = [
    (concern.name, setting.name)
    for concern in dataclasses.fields(ExperimentConfig)
    for setting in dataclasses.fields(getattr(ExperimentConfig(), concern.name))
]


def before(name: str) -> ExperimentConfig:
    """The defaults; of the loss, one whose alternative takes the same network."""
    if name != "loss":
        return ExperimentConfig()
    return ExperimentConfig(model=ModelConfig(classes=1), training=TrainingConfig(loss="logistic"))


def another(concern: str, name: str) -> ExperimentConfig:
    """`before` with one field changed to another value that is allowed."""
    part = getattr(before(name), concern)
    value: Any = getattr(part, name)
    (kind,) = (f.type for f in dataclasses.fields(part) if f.name == name)
    if isinstance(value, str):
        changed: Any = next(choice for choice in reversed(get_args(kind)) if choice != value)
    elif isinstance(value, bool):
        changed = not value
    elif isinstance(value, int):
        changed = value + 1 if name != "image_order" else value - 1
    elif value is None:
        changed = 0.5
    else:
        changed = value * 1.0625 + (2**-10 if value == 0 else 0)
        changed = changed if name not in ("momentum", "image_scale") else 0.5
    return dataclasses.replace(
        before(name), **{concern: dataclasses.replace(part, **{name: changed})}
    )


@pytest.mark.parametrize("config", [ExperimentConfig(), ODD], ids=["defaults", "odd"])
def test_a_configuration_comes_back_from_json_as_it_was(config):
    back = from_dict(json.loads(json.dumps(as_dict(config))))
    assert back == config
    assert config_hash(back) == config_hash(config)
    # what is left out has its default, an integer stands for a float, and nothing changes later
    assert from_dict({"training": {"momentum": 0}}) == ExperimentConfig(
        training=TrainingConfig(momentum=0.0)
    )
    assert type(TrainingConfig(momentum=0).momentum) is float
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.model.width = 0  # type: ignore[misc]


def test_every_field_changes_the_hash_and_is_the_one_difference():
    for concern, name in FIELDS:
        default, changed = before(name), another(concern, name)
        assert config_hash(changed) != config_hash(default)
        was, now = (getattr(getattr(c, concern), name) for c in (default, changed))
        assert differences(changed, default) == [f"{concern}.{name}: {now} (was {was})"]
        assert from_dict(as_dict(changed)) == changed


def test_the_hash_is_the_same_in_every_process():
    code = "from unet2015.config import *; print(config_hash(ExperimentConfig()))"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == config_hash(ExperimentConfig())
    assert len(printed.strip()) == 12


def test_differences_lists_all_that_differ_and_nothing_else():
    assert differences(ODD, ODD) == []
    assert differences(ODD, ExperimentConfig()) == [
        "model.classes: 3 (was 2)",
        "model.width: 5 (was 64)",
        "model.depth: 2 (was 4)",
        "model.padding: same (was valid)",
        "model.dropout: 0.1 (was 0.5)",
        "weight_map.w0: 1.5 (was 10.0)",
        "weight_map.class_weights: none (was balanced)",
        "weight_map.separate_touching: False (was True)",
        "augmentation.rotation: none (was any)",
        "augmentation.flips: True (was False)",
        "augmentation.gamma: 1.0 (was 1.2)",
        "training.optimizer: adam (was sgd)",
        "training.learning_rate: 0.3333333333333333 (was 0.001)",
        "training.gradient_clip: 0.3 (was None)",
        "prediction.averaging: none (was rotations7)",
        "prediction.largest_input_tile_px: 300 (was 892)",
    ]


def test_unknown_keys_are_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"training: unknown field 'lr'; .*learning_rate"):
        from_dict({"training": {"lr": 0.1}})
    with pytest.raises(ValueError, match=r"unknown concern 'modell'; .*model, weight_map"):
        from_dict({"modell": {}})


@pytest.mark.parametrize(
    ("kind", "name", "value", "rule"),
    [
        (ModelConfig, "width", 0, "1 … 65536"),
        (ModelConfig, "width", 4.5, "an integer"),
        (ModelConfig, "width", True, "an integer"),
        (ModelConfig, "classes", 0, "1 … 65536"),
        (ModelConfig, "depth", 8, "1 … 7"),
        (ModelConfig, "depth", "4", "an integer"),
        (ModelConfig, "dropout", 1.0, "0 ≤ dropout < 1"),
        (ModelConfig, "padding", "full", "one of 'valid', 'same'"),
        (ModelConfig, "normalization", None, "one of 'none', 'batch', 'layer'"),
        (WeightMapConfig, "w0", -1.0, "≥ 0"),
        (WeightMapConfig, "sigma_px", 0.0, "> 0, ≤ 10000"),
        (ModelConfig, "width", 10**30, "at most 2147483647 in size"),
        (ModelConfig, "width", 10**9, "1 … 65536"),
        (TrainingConfig, "steps", 10**30, "at most 2147483647 in size"),
        (TrainingConfig, "learning_rate", 1e300, "at most 3.4e+38 in size"),
        (TrainingConfig, "input_tile_px", 10**6, "1 … 65536"),
        (WeightMapConfig, "sigma_px", 1e30, "> 0, ≤ 10000"),
        (AugmentationConfig, "elastic_sigma_px", 1e30, "0 … 10000"),
        (WeightMapConfig, "sigma_px", float("inf"), "a finite number"),
        (WeightMapConfig, "separate_touching", 1, "True or False"),
        (AugmentationConfig, "elastic_points", 1, "≥ 2"),
        (AugmentationConfig, "gamma", 0.5, "≥ 1"),
        (AugmentationConfig, "image_order", 5, "0 … 3"),
        (TrainingConfig, "steps", 0, "≥ 1"),
        (TrainingConfig, "optimizer", "lion", "one of 'sgd', 'adam', 'adamw'"),
        (TrainingConfig, "momentum", 1.0, "0 ≤ momentum < 1"),
        (TrainingConfig, "learning_rate", float("nan"), "a finite number"),
        (TrainingConfig, "learning_rate", 0.0, "> 0"),
        (TrainingConfig, "loss", "dice", "one of 'weighted_softmax', 'logistic', 'logistic_dice'"),
        (TrainingConfig, "positive_weight", 0.0, "> 0"),
        (TrainingConfig, "final_learning_rate", -1e-6, "0 … learning_rate = 0.001"),
        (TrainingConfig, "final_learning_rate", 0.01, "0 … learning_rate = 0.001"),
        (TrainingConfig, "gradient_clip", 0.0, "None or > 0"),
        (TrainingConfig, "gradient_clip", "1", "a finite number or None"),
        (PredictionConfig, "largest_input_tile_px", 0, "≥ 1"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(kind, name, value, rule):
    with pytest.raises(ValueError, match="must be") as caught:
        kind(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} = {value!r}: must be ")
    assert rule in message


def test_a_wrong_value_from_a_file_is_named_with_its_concern():
    with pytest.raises(ValueError, match=r"configuration training: steps = 0: must be ≥ 1"):
        from_dict({"training": {"steps": 0}})


@pytest.mark.parametrize("loss", ["logistic", "logistic_dice"])
def test_the_loss_must_fit_the_number_of_scores(loss):
    for classes in (2, 3):
        rule = rf"model.classes = {classes}: training.loss = '{loss}' .*take model.classes = 1, or"
        with pytest.raises(ValueError, match=rule):
            ExperimentConfig(ModelConfig(classes=classes), training=TrainingConfig(loss=loss))
    with pytest.raises(ValueError, match=r"model.classes = 1: .*'weighted_softmax' .*≥ 2"):
        ExperimentConfig(ModelConfig(classes=1))
    with pytest.raises(ValueError, match=r"model.classes = 1: .*'weighted_softmax' .*≥ 2"):
        from_dict({"model": {"classes": 1}})
    fits = from_dict({"model": {"classes": 1}, "training": {"loss": loss}})
    assert (fits.model.classes, fits.training.loss) == (1, loss)
