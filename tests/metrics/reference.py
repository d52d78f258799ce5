"""The organisers' own outputs on 19 small cases, which pin the challenge's metrics.

They lie beside the data (UNET2015_DATA/../metrics_reference) and are never copied here.
"""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

FOLDER = "metrics_reference"


def cases() -> list[Path]:
    """The folders of the reference cases in order; none where the data are absent."""
    data = os.environ.get("UNET2015_DATA")
    if not data:
        return []
    return sorted(path.parent for path in (Path(data).parent / FOLDER).glob("*/expected.json"))


def on_every_case(test: Callable[[Path], None]) -> Callable[[], None]:
    """One test of all reference cases, of which a failing one is named; skipped where absent."""

    def of_all() -> None:
        if not cases():
            pytest.skip(f"reference cases absent: set UNET2015_DATA to the data beside {FOLDER}/")
        for case in cases():
            try:
                test(case)
            except AssertionError as error:
                error.add_note(f"in the reference case {case.name}")
                raise

    of_all.__doc__ = test.__doc__
    return of_all


@functools.cache
def load(case: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Labels (N, H, W) uint8 0/255, probability (N, H, W) float32, expected figures."""
    labels = _stack(case / "labels.tif")
    probability = _stack(case / "proposal.tif")
    expected = json.loads((case / "expected.json").read_text(), object_hook=_numbers)
    labels.setflags(write=False)
    probability.setflags(write=False)
    return labels, probability, expected


def _stack(path: Path) -> np.ndarray:
    pixels = tifffile.imread(path)
    return pixels[None] if pixels.ndim == 2 else pixels


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    """NaN and Infinity are written as strings, JSON having no such numbers."""
    special = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
    return {k: special.get(v, v) if isinstance(v, str) else v for k, v in values.items()}
