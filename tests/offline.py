"""No way to the network."""

from pathlib import Path


def refused(url: str, target: Path, *, progress: bool) -> None:
    """What stands in for the download."""
    raise ConnectionError("the server cannot be reached")
