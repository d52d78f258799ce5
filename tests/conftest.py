"""How the suite runs on several cores (`python -m pytest -n auto`, with pytest-xdist)."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads that wait for each other's cores take far longer than these few numbers take to
    # compute. It is read when PyTorch is first imported, and by the processes that a test starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """The tests of a file stay beside each other, who share its networks and jobs."""
    if config.getoption("dist", "no") == "load":
        config.option.dist = "worksteal"
