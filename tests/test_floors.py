"""The floors of the house: a module imports from those below its own, never up, never in circles.

They stand in pyproject.toml; `lint-imports` says which import breaks them.
"""

import pkgutil
import re
import tomllib

import pytest

import unet2015
from tests.commands import ROOT

PYPROJECT = ROOT / "pyproject.toml"


def test_no_module_imports_from_a_floor_above_its_own():
    cli = pytest.importorskip("importlinter.cli")
    assert cli.lint_imports(str(PYPROJECT), no_cache=True, no_logo=True) == 0


def test_every_room_has_its_floor():
    (contract,) = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]
    placed = {name for layer in contract["layers"] for name in re.split(r" \| ", layer)}
    rooms = {f"unet2015.{module.name}" for module in pkgutil.iter_modules(unet2015.__path__)}
    assert placed == rooms | {"experiments"}  # the settings files
