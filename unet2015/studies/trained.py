"""From gray images to a trained network and from it to probabilities, as arrays.

What `python -m unet2015 train` and `predict` do with files. Images are given as they were taken:
which gray values are black and white is decided at the training and kept with the weights, and the
images of a prediction are compared with those of the training (`data.gray_use`).
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from unet2015.augmentation.samples import SampleTiles, training_tiles
from unet2015.config import ExperimentConfig, PredictionConfig
from unet2015.data.axes import slices_may_be_last
from unet2015.data.gray_scale import GrayScale
from unet2015.data.gray_use import GRAY_QUANTILES, Quantiles, Remark, about_gray, scale_for
from unet2015.data.isbi2012 import pixel_sha256
from unet2015.data.labels import Annotation, LabelKind, LabelReading
from unet2015.model import UNet
from unet2015.runtime.numerics import resolve_device
from unet2015.studies.own_data import label_doubts
from unet2015.studies.run_folder import predict_gray
from unet2015.training import loop
from unet2015.training.checkpoint import Checkpoint, load_checkpoint


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A U-Net with all that its predictions depend on; `train` and `load` return one."""

    network: UNet = field(repr=False)
    """For evaluation, on its device."""
    gray_scale: GrayScale
    """Which gray values, of which type, it was trained on."""
    config: ExperimentConfig = field(repr=False)
    """The settings of its training; `config.prediction` are those of `predict`."""
    step: int
    """How many steps it was trained for; fewer than `config.training.steps`: an unfinished run."""
    gray_quantiles: Quantiles | None = field(default=None, repr=False)
    """Of the images that it was trained on; None: not kept, by an earlier version."""

    @classmethod
    def of(cls, checkpoint: Checkpoint, device: str) -> Self:
        """The network of a checkpoint; ValueError where it has no gray scale, or misfits."""
        if "gray_scale" not in checkpoint.data:
            raise ValueError("does not say which gray values are black and white")
        scale = GrayScale.from_dict(checkpoint.data["gray_scale"])
        network = checkpoint.network().to(device)
        quantiles = checkpoint.data.get(GRAY_QUANTILES)
        return cls(network, scale, checkpoint.config, checkpoint.step, quantiles)

    def scale_for(
        self, stack: np.ndarray, value_range: tuple[float, float] | None
    ) -> tuple[GrayScale, list[Remark]]:
        """The gray scale for (N, H, W) images, and what to say of them; `gray_use.scale_for`."""
        return scale_for(stack, value_range, self.gray_scale, self.gray_quantiles)

    def probability(
        self, stack: np.ndarray, scale: GrayScale, config: PredictionConfig, *, progress: bool
    ) -> np.ndarray:
        """What `predict` returns, of (N, H, W) images with the scale of `scale_for`."""
        device = str(next(self.network.parameters()).device)
        options = {"device": device, "progress": progress, "clip": True}
        return predict_gray(self.network, stack, scale, config, **options)


def train(
    images: np.ndarray,
    labels: np.ndarray,
    folder: str | Path,
    config: ExperimentConfig,
    *,
    label_kind: LabelKind = "binary",
    ignore_label: int | None = None,
    skip_empty: bool = False,
    value_range: tuple[float, float] | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int = 1,
    progress: bool = True,
) -> TrainedNetwork:
    """Train a U-Net on gray images and their labels (paper §3), as `python -m unet2015 train`.

    images: (N, H, W) or (H, W) uint8, uint16 or float, as they were taken. labels: as large;
    label_kind 'binary': 0 = membrane or background, one other value = cell; 'instances': 0 =
    background, one number per cell. ignore_label: value of pixels that nobody annotated; they have
    no weight. skip_empty: leave out slices without any cell. folder: of the run, resume states,
    history.csv and weights.safetensors; an unfinished run found there continues, a finished one is
    returned. config: `ExperimentConfig()` is the paper's, for an accelerator;
    `experiments.load("quick")` is for two CPU cores.

    value_range: gray values of black and white; None: as `config.training.gray_values` says, by
    default 0 and 255, 0 and 65535, or for floats 0 and 1. seed: of initialisation, sample order,
    augmentation and drop-out. device: 'auto', 'cpu', 'cuda' or 'cuda:1'. workers: threads that
    prepare training tiles (the result does not depend on it). progress: show a bar.

    Warns of arrays whose slices may be last (the first are taken), of images that use only a small
    part of the gray scale, and of labels that may be meant otherwise (`own_data.label_doubts`).
    Raises ValueError for images and labels that cannot be trained on, TrainingStopped and others as
    `training.loop.train`.

    >>> from tempfile import TemporaryDirectory
    >>> from unet2015.config import ModelConfig, TrainingConfig
    >>> images = np.tile(np.repeat(np.uint8([60, 190]), 16), (32, 1))
    >>> tiny = ExperimentConfig(
    ...     ModelConfig(width=2, depth=1), training=TrainingConfig(input_tile_px=20, steps=2)
    ... )
    >>> with TemporaryDirectory() as folder:
    ...     train(images, images > 99, folder, tiny, device="cpu", progress=False)
    TrainedNetwork(gray_scale=GrayScale(low=0.0, high=255.0, dtype='uint8', clip=False), step=2)
    """
    place = resolve_device(device)
    images, labels = _stack(images, "images"), _stack(labels, "labels")
    with _arguments_named():
        given = LabelReading(label_kind, ignore_label, skip_empty).of(
            labels, "labels", images.shape
        )
        images = given.images(images)
        scale = GrayScale.of(images, value_range, config.training.gray_values)
    separate = config.weight_map.separate_touching
    doubts = [f"labels: {doubt}" for doubt in label_doubts(given, label_kind, separate=separate)]
    if little := scale.little_used(images):
        doubts.append(f"images have {little}")
    for doubt in doubts:
        warnings.warn(_as_arguments(doubt), stacklevel=2)
    tiles, data = training_data(images, given, scale, config, label_kind=label_kind, seed=seed)
    checkpoint = loop.train(
        *(config, tiles, Path(folder)),
        seed=seed,
        device=place,
        workers=workers,
        data=data,
        progress=progress,
    )
    return TrainedNetwork.of(checkpoint, place)


def training_data(
    stack: np.ndarray,
    given: Annotation,
    scale: GrayScale,
    config: ExperimentConfig,
    *,
    label_kind: LabelKind,
    seed: int,
) -> tuple[SampleTiles, dict[str, Any]]:
    """The training tiles of annotated (n, H, W) gray images, and what a checkpoint says of these.

    Raises OneClass where only one of the two classes is annotated and they are to be balanced.
    """
    way: dict[str, Any] = {"label_kind": label_kind, "ignore": given.ignore, "seed": seed}
    tiles = training_tiles(stack, given.labels, config, gray=scale, **way)
    about = {**about_gray(scale, stack), "label_kind": label_kind}
    about |= {"images": pixel_sha256(stack), "labels": pixel_sha256(given.labels)}
    if given.ignore is not None:
        about["ignore"] = pixel_sha256(given.ignore)
    return tiles, about


def load(path: str | Path, device: str = "auto") -> TrainedNetwork:
    """The network that a training has left in `path`, ready for `predict`.

    path: folder of a run (its final weights, else its newest resume state), or one of its
    .safetensors files. device: 'auto', 'cpu', 'cuda' or 'cuda:1'. Warns if the training has not
    come to its end. Raises FileNotFoundError, and ValueError naming the file where it is damaged,
    foreign, or does not say which gray values are black and white.

    >>> from tempfile import TemporaryDirectory
    >>> from unet2015.config import ModelConfig, TrainingConfig
    >>> images = np.tile(np.repeat(np.uint8([60, 190]), 16), (32, 1))
    >>> tiny = ExperimentConfig(
    ...     ModelConfig(width=2, depth=1), training=TrainingConfig(input_tile_px=20, steps=2)
    ... )
    >>> with TemporaryDirectory() as folder:
    ...     trained = train(images, images > 99, folder, tiny, device="cpu", progress=False)
    ...     loaded = load(folder, device="cpu")
    >>> bool((predict(loaded, images) == predict(trained, images)).all())
    True
    """
    place, path = resolve_device(device), Path(path)
    checkpoint = load_checkpoint(path)
    steps = checkpoint.config.training.steps
    if checkpoint.step < steps:
        warnings.warn(f"{path}: is at step {checkpoint.step} of {steps}", stacklevel=2)
    try:
        return TrainedNetwork.of(checkpoint, place)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def predict(
    network: TrainedNetwork,
    images: np.ndarray,
    config: PredictionConfig | None = None,
    *,
    value_range: tuple[float, float] | None = None,
    progress: bool = False,
) -> np.ndarray:
    """The probability of 'cell' of every pixel, by the overlap-tile strategy (paper §2, Fig. 2).

    What `python -m unet2015 predict` writes, as an array. network: as `load` or `train` returns it.
    images: (H, W) or (N, H, W), of any size, as they were taken: the gray scale is applied here.
    config: None for the settings of the training, averaging over seven views, say (§4); for one
    view alone, `dataclasses.replace(network.config.prediction, averaging="none")`. value_range:
    gray values of black and white in these images, which may be of another type than the
    training's; None: those of the training. progress: print what memory it takes, and show a bar.

    Returns float32 in [0, 1] of the images' shape. Warns of images whose slices may be last, of
    gray values beyond black and white, which are taken as these, and of images in other grays than
    those of the training, with the value_range that fits. Raises ValueError, before anything is
    computed, for images of another type without value_range, and for NaN or infinite values.

    >>> from unet2015.config import ModelConfig
    >>> unet, scale = UNet(ModelConfig(width=2, depth=1)).eval(), GrayScale(0, 255, "uint8")
    >>> untrained = TrainedNetwork(unet, scale, ExperimentConfig(unet.config), step=0)
    >>> predict(untrained, np.zeros((30, 41), np.uint8)).shape
    (30, 41)
    >>> predict(untrained, np.zeros((30, 41)))
    Traceback (most recent call last):
    ValueError: stack has dtype float64, but the gray scale (0 to 255) was made for uint8; give \
its own black and white with value_range 0 1, if that is its range
    """
    stack = _stack(images, "images")
    with _arguments_named():
        scale, remarks = network.scale_for(stack, value_range)
    for _, text in remarks:
        warnings.warn(f"images: {_as_arguments(text)}", stacklevel=2)
    settings = config or network.config.prediction
    return network.probability(stack, scale, settings, progress=progress).reshape(np.shape(images))


def _as_arguments(text: str) -> str:
    """The command's options in a text as the arguments of `train`.

    >>> _as_arguments("--skip-empty leaves them out")
    'skip_empty leaves them out'
    """
    return re.sub(r"--([a-z][a-z.-]+)", lambda found: found[1].replace("-", "_"), text)


@contextmanager
def _arguments_named() -> Iterator[None]:
    """Let what is refused be told with the arguments of `train` and `predict`."""
    try:
        yield
    except ValueError as error:
        raise type(error)(_as_arguments(str(error))) from error


def _stack(planes: np.ndarray, name: str) -> np.ndarray:
    """(N, H, W) of (H, W) or (N, H, W), as `read_stack` would give it."""
    array = np.asarray(planes)
    if array.ndim not in (2, 3) or not array.size:
        raise ValueError(f"{name} of shape {array.shape}: must be (H, W) or (N, H, W), not empty")
    if ways := slices_may_be_last(array.shape):
        taken = f"np.moveaxis({name}, -1, 0), if the second is meant"
        warnings.warn(f"{name} of shape {array.shape}: {ways}? {taken}", stacklevel=3)
    array = array.reshape(-1, *array.shape[-2:])
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
