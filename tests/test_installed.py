"""The command line beside a user's own modules, and all that an installation needs."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.commands import ROOT

FILES = sorted([*(ROOT / "unet2015").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")])
TRAIN = """
import sys
from unet2015.cli.main import parse
command = parse("train --images a.tif --labels b.tif --output c --experiment gelu".split())
print(command.config.model.activation, "experiments" in sys.modules)
"""
LOAD = """
from unet2015 import experiments, reimplementations
print(experiments.__file__, experiments.load("gelu").model.activation, *experiments.names())
print(reimplementations.load("go_logo").title, *reimplementations.names())
"""


def printed(program: str, *, folder: Path, path: Path) -> str:
    """What a new Python prints of `program` in `folder`, where `path` holds the package."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ended.returncode, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("theirs", ["experiments/__init__.py", "experiments.py", "experiments/m/x"])
def test_a_users_own_experiments_is_not_imported(theirs, tmp_path):
    file = tmp_path / theirs
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("print('my own sweep')\n")
    assert printed(TRAIN, folder=tmp_path, path=ROOT) == "gelu False\n"


def test_no_module_imports_by_the_names_of_the_folders_beside_the_package():
    beside = {"experiments", "reproduce", "results", "tests"}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            assert not {name.partition(".")[0] for name in names} & beside, file


def test_every_folder_of_modules_is_installed():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["package-dir"] == {"unet2015.experiments": "experiments"}
    folders = {file.parent.relative_to(ROOT).parts for file in FILES}
    names = [".".join(parts) for parts in folders]
    packages = {f"unet2015.{name}" if name.startswith("exp") else name for name in names}
    assert setuptools["packages"] == sorted(packages)


def test_installed_settings_files_come_before_what_lies_beside_the_package(tmp_path):
    site = tmp_path / "site"
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "unet2015", site / "unet2015", ignore=no_caches)
    shutil.copytree(ROOT / "experiments", site / "unet2015" / "experiments", ignore=no_caches)
    (site / "experiments").mkdir()
    (site / "experiments" / "paper.py").write_text("EXPERIMENT = None\n")
    found = printed(LOAD, folder=tmp_path, path=site)
    assert found == printed(LOAD, folder=tmp_path, path=ROOT).replace(str(ROOT), str(site))
