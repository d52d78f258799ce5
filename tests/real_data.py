"""The real data sets, where $UNET2015_DATA leads to them."""

import os
from pathlib import Path

import pytest

# that of the command line: many a test takes the variable away from the code
ROOT = Path(os.environ.get("UNET2015_DATA") or "nowhere")


def real_data(*parts: str) -> Path:
    """$UNET2015_DATA/PARTS…; where there is no such thing, the test is skipped."""
    path = ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"UNET2015_DATA is not set, or has no {'/'.join(parts)}")
    return path
