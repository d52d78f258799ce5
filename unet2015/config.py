"""The settings of an experiment: one frozen dataclass per concern, each default with its source.

Imports nothing of the package, so that every module below can take its own settings.
Sources: *paper* = Ronneberger, Fischer, Brox 2015; *release* = the authors' 2015 release;
*later plugin* = the same group's Fiji plugin of 2018-22; *our choice* = stated nowhere.

>>> paper = ExperimentConfig()
>>> paper.model.width, paper.training.momentum
(64, 0.99)
>>> longer = dataclasses.replace(paper, training=TrainingConfig(steps=100_000))
>>> ModelConfig(depth=9)
Traceback (most recent call last):
ValueError: depth = 9: must be 1 … 7
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

_MOST_CHANNELS = _MOST_SIDE = 2**16
"""Beyond what any machine holds (our choice)."""
_MOST_INTEGER, _MOST_FLOAT = 2**31 - 1, 3.4e38
"""What 32 bits hold, in which networks, tiles and steps are counted and computed."""
_MOST_PX = 1e4
"""A distance beyond that of any two pixels that matter to each other (our choice)."""


@dataclass(frozen=True)
class ModelConfig:
    """The network (paper §2, Fig. 1)."""

    in_channels: int = 1
    """Channels of the input image (EM: 1)."""
    classes: int = 2
    """Channels of the score map; two-class softmax (paper §3). 1: one score, of 'cell', for the
    logistic losses of later re-implementations."""
    width: int = 64
    """Channels of the first level, doubled at every level (paper Fig. 1: 64)."""
    depth: int = 4
    """Number of 2×2 max-poolings (paper Fig. 1: 4)."""
    padding: Literal["valid", "same"] = "valid"
    """'valid': unpadded convolutions (paper §2). 'same': zero padding, output as large as input."""
    normalization: Literal["none", "batch", "layer"] = "none"
    """Normalisation between convolution and activation; the paper has none."""
    activation: Literal["relu", "gelu", "silu", "pysilu"] = "relu"
    """Activation after every 3×3 convolution (paper §2: ReLU)."""
    dropout: float = 0.5
    """Drop-out at the end of the contracting path (paper §3.1; ratio and places: release)."""
    variant: Literal["paper", "release"] = "paper"
    """'release': ReLU after every up-convolution and 2×width channels out of the last one."""
    upsampling: Literal["up_convolution", "bilinear"] = "up_convolution"
    """'up_convolution': 2×2 transposed convolution with stride 2 (release). 'bilinear': bilinear
    interpolation, then a 2×2 convolution: "an upsampling of the feature map followed by a 2x2
    convolution", read literally (paper §2)."""
    image_scale: float = 1.0
    """Size at which the network sees the images, as a factor; predictions are enlarged back. 1:
    as they are (paper). A half makes cells of 100 px fit into what a small network sees."""
    initialization: Literal["he", "pytorch"] = "he"
    """'he': Gaussian with standard deviation √(2/N), biases 0 (paper §3). 'pytorch': what
    PyTorch's layers do by themselves, as in most later re-implementations."""

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("in_channels", "classes", "width"):
            _require_between(1, name, getattr(self, name), _MOST_CHANNELS)
        _require(1 <= self.depth <= 7, "depth", self.depth, "1 … 7")
        _require(0 < self.image_scale <= 1, "image_scale", self.image_scale, "0 < scale ≤ 1")
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "0 ≤ dropout < 1")


@dataclass(frozen=True)
class WeightMapConfig:
    """The pixel-wise loss weight w(x) (paper §3, Eq. 2)."""

    w0: float = 10.0
    """Height of the border term (paper §3)."""
    sigma_px: float = 5.0
    """Reach of the border term in pixels (paper §3: σ ≈ 5 pixels)."""
    class_weights: Literal["balanced", "none", "later_plugin"] = "balanced"
    """w_c. The paper gives no formula. 'balanced': inverse class frequency in the training set,
    the commoner class at 1 (our choice). 'none': 1. 'later_plugin': cell 1, background 0.1 rising
    to 1 at the cells (later plugin)."""
    border_term: Literal["everywhere", "background"] = "everywhere"
    """Where the border term is added. 'everywhere': Eq. 2 is defined on all of Ω (paper §3).
    'background': not inside cells (later plugin)."""
    separate_touching: bool = True
    """Introduce a thin ridge of background between touching instances (paper §3)."""

    def __post_init__(self) -> None:
        _check_types(self)
        _require(self.w0 >= 0, "w0", self.w0, "≥ 0")
        _require(0 < self.sigma_px <= _MOST_PX, "sigma_px", self.sigma_px, f"> 0, ≤ {_MOST_PX:g}")


@dataclass(frozen=True)
class AugmentationConfig:
    """One sample → one training tile (paper §3.1)."""

    elastic_points: int = 3
    """Side of the coarse grid of displacement vectors (paper §3.1: 3 by 3)."""
    elastic_sigma_px: float = 10.0
    """Standard deviation of the displacements in pixels (paper §3.1: 10 pixels); 0 = none."""
    rotation: Literal["any", "right_angles", "none"] = "any"
    """Random rotation (paper §3.1: 'rotation invariance'; the range, 0-360°: later plugin)."""
    flips: bool = False
    """Random mirroring along each axis; not in the paper (later plugin: optional)."""
    shift: bool = True
    """Random position of the tile in the image (paper §3.1: 'shift invariance')."""
    position: Literal["uniform", "foreground"] = "uniform"
    """Which positions a shift prefers. 'uniform': none (our choice, the paper names none).
    'foreground': those with cells, a pixel of a cell counting 1 and one of background 0.1 (later
    plugin, which draws the tile's centre so)."""
    black_level: float = 0.05
    """Black maps to U(-black_level, black_level) (paper §3.1: 'gray value variations'; the
    figure: later plugin)."""
    white_level: float = 0.05
    """White maps to 1 + U(-white_level, white_level) (later plugin)."""
    gamma: float = 1.2
    """Gray values are raised to a power log-uniform in [1/gamma, gamma]; 1 = none (our choice, a
    smooth monotone curve within the later plugin's slopes 0.8-1.2)."""
    image_order: int = 3
    """Spline order of the image's interpolation (our choice; labels: nearest, weights: linear)."""
    displacement_interpolation: Literal["bspline", "keys"] = "bspline"
    """The 'bicubic interpolation' of the displacements (paper §3.1, which does not say which).
    'bspline': cubic B-spline (our choice, as in elasticdeform). 'keys': Keys 1981, a = -0.5."""

    def __post_init__(self) -> None:
        _check_types(self)
        _require(self.elastic_points >= 2, "elastic_points", self.elastic_points, "≥ 2")
        sigma = self.elastic_sigma_px
        _require(0 <= sigma <= _MOST_PX, "elastic_sigma_px", sigma, f"0 … {_MOST_PX:g}")
        _require(0 <= self.black_level < 0.5, "black_level", self.black_level, "0 ≤ level < 0.5")
        _require(0 <= self.white_level < 0.5, "white_level", self.white_level, "0 ≤ level < 0.5")
        _require(self.gamma >= 1, "gamma", self.gamma, "≥ 1 (1 switches it off)")
        _require(self.image_order in (0, 1, 2, 3), "image_order", self.image_order, "0 … 3")


@dataclass(frozen=True)
class TrainingConfig:
    """The optimisation (paper §3)."""

    input_tile_px: int = 572
    """Side of the input tile in pixels (paper Fig. 1: 572)."""
    batch_size: int = 1
    """Tiles per step (paper §3: 'reduce the batch to a single image')."""
    steps: int = 80_000
    """Number of steps; not in the paper."""
    loss: Literal["weighted_softmax", "logistic", "logistic_dice"] = "weighted_softmax"
    """'weighted_softmax': Eq. 1 (paper §3). For a network with one score per pixel, as in later
    re-implementations: 'logistic': binary cross-entropy; 'logistic_dice': half of it plus one
    minus the soft Dice coefficient."""
    positive_weight: float = 1.0
    """Weight of a cell's pixels in a logistic loss, a background pixel's being 1."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """'sgd': stochastic gradient descent (paper §3). 'adamw': weight decay apart from the
    gradient."""
    momentum: float = 0.99
    """Momentum (paper §3: 0.99); the first beta of 'adam' and 'adamw'."""
    learning_rate: float = 1e-3
    """Step size on the weighted mean loss; not in the paper."""
    warmup_steps: int = 1000
    """Linear rise of the learning rate, against dead starts; not in the paper (our choice)."""
    schedule: Literal["constant", "cosine", "plateau", "constant_then_fall"] = "cosine"
    """Course of the learning rate after the warm-up; not in the paper (our choice). 'plateau': a
    tenth whenever the loss has stopped falling (later re-implementations). 'constant_then_fall': a
    straight fall over the last fifth of the steps, so that runs of several lengths share all that
    is before it (Hägele et al. 2024, arXiv:2405.18392)."""
    final_learning_rate: float = 0.0
    """Where a rate that falls ends and what 'plateau' does not go below; not in the paper."""
    weight_decay: float = 0.0
    """L2 penalty; not in the paper."""
    gradient_clip: float | None = None
    """Largest gradient norm, or None; not in the paper."""
    gray_values: Literal["type", "percentiles"] = "type"
    """Which gray values are black and white. 'type': the range of the images' type (release:
    value / 255). 'percentiles': the 0.1st and 99.9th of the training images, clipped beyond (our
    choice, for images of little contrast, on which a short training is still at its start)."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """'bfloat16': autocast of the network's forward and backward pass; the loss stays float32.
    'tf32': float32 whose products an NVIDIA GPU computes from 10 bits of mantissa instead of 23."""

    def __post_init__(self) -> None:
        _check_types(self)
        _require_between(1, "input_tile_px", self.input_tile_px, _MOST_SIDE)
        _require_between(1, "batch_size", self.batch_size, _MOST_SIDE)
        _require(self.steps >= 1, "steps", self.steps, "≥ 1")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "0 ≤ momentum < 1")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        _require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "≥ 0")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "≥ 0")
        _require(self.positive_weight > 0, "positive_weight", self.positive_weight, "> 0")
        final, rate = self.final_learning_rate, self.learning_rate
        _require(0 <= final <= rate, "final_learning_rate", final, f"0 … learning_rate = {rate}")
        clip = self.gradient_clip
        _require(clip is None or clip > 0, "gradient_clip", clip, "None or > 0")


@dataclass(frozen=True)
class PredictionConfig:
    """The overlap-tile prediction and its averaging (paper §2, Fig. 2; §4)."""

    averaging: Literal["rotations7", "dihedral8", "flips4", "none"] = "rotations7"
    """'rotations7': rotations by k·360°/7, k = 0 … 6, our reading of '7 rotated versions'
    (paper §4). 'dihedral8': the eight right-angle rotations and reflections. 'flips4': the image
    and its three mirror images (release, for the cell tracking sets). 'none': one view."""
    average_of: Literal["probability", "score"] = "probability"
    """What is averaged: class probabilities (our choice) or scores before the softmax (release)."""
    largest_input_tile_px: int = 892
    """Upper bound of the input tile's side, which bounds the memory (our choice)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """'bfloat16': autocast of the network; the softmax stays float32."""

    def __post_init__(self) -> None:
        _check_types(self)
        largest = self.largest_input_tile_px
        _require(largest >= 1, "largest_input_tile_px", largest, "≥ 1")


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides what an experiment computes, apart from data and seed."""

    model: ModelConfig = field(default_factory=ModelConfig)
    weight_map: WeightMapConfig = field(default_factory=WeightMapConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)

    def __post_init__(self) -> None:
        loss, classes = self.training.loss, self.model.classes
        if loss == "weighted_softmax" and classes < 2:
            raise ValueError(
                f"model.classes = {classes}: training.loss = {loss!r} needs ≥ 2 scores per pixel; "
                "take model.classes = 2, or training.loss = 'logistic' or 'logistic_dice'"
            )
        if loss != "weighted_softmax" and classes != 1:
            raise ValueError(
                f"model.classes = {classes}: training.loss = {loss!r} needs 1 score per pixel; "
                "take model.classes = 1, or training.loss = 'weighted_softmax'"
            )


ADDED_LATER = (
    ("model", "upsampling"),
    ("model", "initialization"),
    ("model", "image_scale"),
    ("augmentation", "displacement_interpolation"),
    ("augmentation", "position"),
    ("training", "loss"),
    ("training", "gray_values"),
    ("training", "positive_weight"),
    ("training", "final_learning_rate"),
)
"""Fields younger than the first records; a field that joins them must keep what was done before as
its default."""


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested dictionaries of plain values, ready for JSON."""
    return dataclasses.asdict(config)


def as_toml(config: ExperimentConfig) -> str:
    """A configuration as a file for --config; TOML has no None, which is written as "None"."""
    lines = []
    for concern, settings in as_dict(config).items():
        plain = {name: "None" if value is None else value for name, value in settings.items()}
        lines += [f"[{concern}]", *(f"{k} = {json.dumps(v)}" for k, v in plain.items()), ""]
    return "\n".join(lines)


def from_dict(values: dict[str, Any]) -> ExperimentConfig:
    """The experiment's configuration from `as_dict`'s output; what is left out gets its default.

    An unknown key and a value that breaks its rule raise ValueError.
    """
    concerns = dataclasses.fields(ExperimentConfig)
    if unknown := set(values) - {concern.name for concern in concerns}:
        raise ValueError(
            f"configuration: unknown concern {sorted(unknown)[0]!r}; "
            f"known concerns: {', '.join(concern.name for concern in concerns)}"
        )
    parts: dict[str, Any] = {}
    for concern in concerns:
        given = values.get(concern.name, {})
        kind = concern.default_factory
        known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
        if unknown := set(given) - known:
            raise ValueError(
                f"configuration {concern.name}: unknown field {sorted(unknown)[0]!r}; "
                f"known fields: {', '.join(sorted(known))}"
            )
        try:
            parts[concern.name] = kind(**given)  # type: ignore[operator]
        except ValueError as error:
            raise ValueError(f"configuration {concern.name}: {error}") from error
    return ExperimentConfig(**parts)


def config_hash(config: ExperimentConfig) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of the configuration as canonical JSON.

    The fields of `ADDED_LATER` are left out where they are at their default: a configuration keeps
    the hash that it had before they came, so that records and runs of then are still its own.
    """
    values, defaults = as_dict(config), as_dict(ExperimentConfig())
    for concern, name in ADDED_LATER:
        if values[concern][name] == defaults[concern][name]:
            del values[concern][name]
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def differences(config: ExperimentConfig, baseline: ExperimentConfig) -> list[str]:
    """Every field in which `config` differs from `baseline`, as 'concern.field: value (was …)'."""
    lines = []
    ours, theirs = as_dict(config), as_dict(baseline)
    for concern, fields in ours.items():
        for name, value in fields.items():
            before = theirs[concern][name]
            if value != before:
                lines.append(f"{concern}.{name}: {value} (was {before})")
    return lines


_RULES = {int: "an integer", float: "a finite number", bool: "True or False", type(None): "None"}


def _check_types(settings: Any) -> None:
    """Refuse a value that its field's type does not allow; an integer for a float becomes one.

    10 and 10.0 are the same setting, so they must have the same hash.
    """
    for setting in dataclasses.fields(settings):
        name, value = setting.name, getattr(settings, setting.name)
        if get_origin(setting.type) is Literal:
            choices = get_args(setting.type)
            _require(value in choices, name, value, f"one of {', '.join(map(repr, choices))}")
            continue
        kinds: tuple[Any, ...] = get_args(setting.type) or (setting.type,)
        if float in kinds and type(value) is int:
            value = float(value)
            object.__setattr__(settings, name, value)  # frozen, and not yet handed out
        right = isinstance(value, kinds) and (type(value) is not bool or bool in kinds)
        right = right and not (isinstance(value, float) and not math.isfinite(value))
        _require(right, name, value, " or ".join(_RULES[kind] for kind in kinds))
        most = _MOST_INTEGER if isinstance(value, int) else _MOST_FLOAT
        if isinstance(value, int | float):
            _require(abs(value) <= most, name, value, f"at most {most} in size")


def _require_between(least: int, name: str, value: int, most: int) -> None:
    _require(least <= value <= most, name, value, f"{least} … {most}")


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} = {value!r}: must be {rule}")
