"""What the tests of the sets of pairs share."""

import pytest

from unet2015.data import pairs


@pytest.fixture
def no_pairs_elsewhere(tmp_path, monkeypatch) -> None:
    """An empty cache, and no folder of data but the one that is given."""
    monkeypatch.setattr(pairs, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("UNET2015_DATA", raising=False)
