"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), reproduced as published.

    import unet2015
    from unet2015 import experiments

    images, labels = unet2015.read_stack("images.tif"), unet2015.read_stack("labels.tif")
    unet2015.train(images, labels, "runs/mine", experiments.load("quick"))
    network = unet2015.load("runs/mine")
    probability = unet2015.predict(network, unet2015.read_stack("other.tif"))

Images go in as they were taken: which gray values are black and white stays with the weights.

What the paper says, and where it stands:

    UNet                    §2, Fig. 1: the network                     model
    valid_output_size       §2, Fig. 1: 572 → 388 px                    model
    weighted_cross_entropy  §3, Eq. 1: the loss                         loss
    border_weight_map       §3, Eq. 2, Fig. 3: its weights              weight_map
    random_displacement     §3.1: vectors on a coarse 3 by 3 grid       augmentation.deformation
    deform                  §3.1: images deformed by them               augmentation.deformation
    training_tiles          §3, §3.1: what a network is trained on      augmentation.samples
    read_stack              images and labels from a TIFF               data.tiff
    train                   §3: a network from images and labels        studies.trained
    load                    the same network, from its folder           studies.trained
    predict                 §2, Fig. 2, §4: overlap tiles, views        studies.trained
    challenge_scores        §4, Table 1: warping, Rand, pixel error     metrics
    segmentation_accuracy   §4, Table 2: "IOU", which is SEG            metrics
    iou                     of two masks, as re-implementations have it metrics
    ExperimentConfig        every setting; the default is the paper's   config
    ModelConfig             those of the network                        config

`help(unet2015.deform)` explains one of them, with an example:

    >>> import unet2015
    >>> unet2015.valid_output_size(572)
    388

Where everything is, from the ground floor up; a room imports from the floors below it only:

    config, metrics                      settings with their sources; the challenges' figures
    model, loss, weight_map, runtime     the equations; files, records, devices, processes
    data                                 data sets, found or downloaded and verified; TIFFs
    augmentation                         from a sample to a training tile
    training, inference                  from tiles to a checkpoint; from it to probabilities
    reports                              from the records of runs to tables, pages and figures
    benchmarks                           our times beside plain counterparts
    studies                              one part of an experiment in a folder of its own
    experiments, reimplementations       each set of settings by its name
    cli                                  python -m unet2015 --help

Each set of settings is one short file of the folder experiments/; in a checkout it lies beside
this package, and `help("unet2015.experiments")` says how one is added.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import unet2015.runtime.beginning  # noqa: F401 - before PyTorch

if TYPE_CHECKING:
    from unet2015.augmentation.deformation import deform, random_displacement
    from unet2015.augmentation.samples import training_tiles
    from unet2015.config import ExperimentConfig, ModelConfig
    from unet2015.data.tiff import read_stack
    from unet2015.loss import weighted_cross_entropy
    from unet2015.metrics import challenge_scores, iou, segmentation_accuracy
    from unet2015.model import UNet, valid_output_size
    from unet2015.studies.trained import load, predict, train
    from unet2015.weight_map import border_weight_map

__all__ = [
    "ExperimentConfig",
    "ModelConfig",
    "UNet",
    "border_weight_map",
    "challenge_scores",
    "deform",
    "iou",
    "load",
    "predict",
    "random_displacement",
    "read_stack",
    "segmentation_accuracy",
    "train",
    "training_tiles",
    "valid_output_size",
    "weighted_cross_entropy",
]

_MODULES = {
    "ExperimentConfig": "config",
    "ModelConfig": "config",
    "UNet": "model",
    "border_weight_map": "weight_map",
    "challenge_scores": "metrics",
    "deform": "augmentation.deformation",
    "iou": "metrics",
    "load": "studies.trained",
    "predict": "studies.trained",
    "random_displacement": "augmentation.deformation",
    "read_stack": "data.tiff",
    "segmentation_accuracy": "metrics",
    "train": "studies.trained",
    "training_tiles": "augmentation.samples",
    "valid_output_size": "model",
    "weighted_cross_entropy": "loss",
}


def __getattr__(name: str) -> Any:
    """What is offered is imported when it is first asked for: PyTorch takes seconds."""
    if name == "__version__":
        from importlib import metadata  # here, as few ask for it

        try:
            return metadata.version(__name__)
        except metadata.PackageNotFoundError as error:
            raise AttributeError(f"{error}: a copy that is not installed") from error
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
