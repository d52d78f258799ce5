"""One short file per experiment: only its difference from the faithful baseline `paper`.

Each file holds `EXPERIMENT`, an `unet2015.config.ExperimentConfig`; the file's name is the
experiment's name in paths, records and tables.
"""

import difflib
import importlib
import pkgutil

from unet2015.config import ExperimentConfig


def names() -> list[str]:
    """The names of all experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ExperimentConfig:
    """The experiment of that name; an unknown one raises ValueError with the nearest names."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), cutoff=0.3) or names()
        raise ValueError(f"experiment {name!r} is unknown; nearest: {', '.join(near)}")
    return importlib.import_module(f"{__name__}.{name}").EXPERIMENT
