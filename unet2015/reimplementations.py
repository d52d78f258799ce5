"""Five later re-implementations of the U-Net, a short file for each of their experiments.

Each file of experiments/reimplementations/ holds `SYSTEM`, an
`unet2015.studies.reimplementation.System`: settings, published figures, and its arms, as published
and mended. A defect stands in such a file and nowhere else. Settings are from reading the
repositories at the commits named; no code of theirs is here.
"""

import difflib
import importlib
import pkgutil

from unet2015.studies.reimplementation import Arm, System

_FILES = importlib.import_module("unet2015.experiments.reimplementations")


def names() -> list[str]:
    """The names of all six experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(_FILES.__path__))


def load(name: str) -> System:
    """The experiment of that name; an unknown one raises ValueError with the nearest names."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), cutoff=0.3) or names()
        raise ValueError(f"re-implementation {name!r} is unknown; nearest: {', '.join(near)}")
    return importlib.import_module(f"{_FILES.__name__}.{name}").SYSTEM


def load_arm(name: str, preset: str = "quick") -> tuple[System, Arm]:
    """The experiment and its arm of 'EXPERIMENT/ARM'; of 'EXPERIMENT' alone its first, published.

    preset: 'quick' or 'published' settings. Raises ValueError with the nearest names for an
    unknown experiment or arm.
    """
    experiment, _, arm_name = name.partition("/")
    system = load(experiment)
    arms = {arm.name: arm for arm in system.arms(preset)}
    if not arm_name:
        return system, next(iter(arms.values()))
    if arm_name not in arms:
        near = difflib.get_close_matches(arm_name, arms, cutoff=0.3) or arms
        raise ValueError(f"arm {arm_name!r} of {experiment} is unknown; nearest: {', '.join(near)}")
    return system, arms[arm_name]


def systems() -> dict[str, System]:
    """All experiments by name, in the order of the page."""
    return {name: load(name) for name in names()}
