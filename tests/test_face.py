"""`import unet2015`: quick, and everything it names is there, is one thing, and is explained."""

import ast
import doctest
import pydoc
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest

import unet2015
from tests.commands import ROOT
from tests.tiny import settings
from unet2015 import experiments
from unet2015.data.phantom import phantom_stack
from unet2015.data.tiff import write_stack

STACK = phantom_stack(seed=1, slices=2, size_px=64, test_slices=0)


def test_importing_the_package_imports_nothing_heavy():
    slow = ["torch", "numpy", "scipy", "skimage", "numba", "pandas", "matplotlib"]
    program = f"import sys, unet2015; print([name for name in {slow} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("name", unet2015.__all__)
def test_every_name_is_there_and_explained_with_an_example(name):
    assert name in dir(unet2015)
    thing = getattr(unet2015, name)
    assert thing.__doc__
    assert name in str(unet2015.__doc__)
    if not name.endswith("Config"):  # their docstrings are what --help says of their options
        assert doctest.DocTestParser().get_examples(thing.__doc__)


def test_type_checkers_are_told_of_the_same_names_in_the_same_modules():
    tree = ast.parse(Path(str(unet2015.__file__)).read_text())
    (told,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in told.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    assert homes == {name: f"unet2015.{home}" for name, home in unet2015._MODULES.items()}
    assert sorted(homes) == sorted(unet2015.__all__)


def test_other_names_are_missing_as_in_any_module():
    with pytest.raises(AttributeError, match="module 'unet2015' has no attribute 'unet'"):
        _ = unet2015.unet


def test_the_version_is_that_of_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+", unet2015.__version__)


def test_a_copy_that_is_not_installed_has_no_version_but_help(monkeypatch):
    monkeypatch.setattr(metadata.Distribution, "from_name", missing)
    assert "NAME\n    unet2015 - The U-Net of" in pydoc.plain(pydoc.render_doc(unet2015))
    assert not hasattr(unet2015, "__version__")


def missing(name: str) -> NoReturn:
    raise metadata.PackageNotFoundError(name)


@pytest.mark.parametrize("place", ["help", "README"])
def test_the_example_runs_as_it_is_printed(place, tmp_path, monkeypatch):
    text = str(unet2015.__doc__) if place == "help" else (ROOT / "README.md").read_text()
    (example,) = re.findall(r"^ +import unet2015\n(?:(?: +.*)?\n)+", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "_module", lambda *_: SimpleNamespace(EXPERIMENT=settings()))
    for name in ("images", "other"):
        write_stack(f"{name}.tif", STACK.train_images)
    for name in ("labels", "other-labels"):
        write_stack(f"{name}.tif", STACK.train_labels * np.uint8(255))
    made: dict[str, np.ndarray] = {}
    exec(dedent(example), made)
    assert made["probability"].shape == STACK.train_images.shape
