"""Five later re-implementations of the U-Net, a short file for each of their experiments.

Each file holds `SYSTEM`, an `unet2015.reimplementation.System`: settings, published figures, and
its arms, as published and mended. A defect stands in such a file and nowhere else. Settings are
from reading the repositories at the commits named; no code of theirs is here.
"""

import difflib
import importlib
import pkgutil

from unet2015.reimplementation import System


def names() -> list[str]:
    """The names of all six experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> System:
    """The experiment of that name; an unknown one raises ValueError with the nearest names."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), cutoff=0.3) or names()
        raise ValueError(f"re-implementation {name!r} is unknown; nearest: {', '.join(near)}")
    return importlib.import_module(f"{__name__}.{name}").SYSTEM


def systems() -> dict[str, System]:
    """All experiments by name, in the order of the page."""
    return {name: load(name) for name in names()}
