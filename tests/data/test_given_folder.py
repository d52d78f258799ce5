"""A --data that is no folder: named as it was typed, with the other ways to supply the data."""

from pathlib import Path

import pytest

from unet2015.data.given_folder import check_given_folder


def refusal(folder: Path) -> str:
    with pytest.raises(FileNotFoundError) as refused:
        check_given_folder(folder, "set", "a.tif and b.tif", "https://example.org/set.zip")
    return str(refused.value)


def test_every_way_to_supply_the_data_is_named(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert message.startswith(
        f"--data {tmp_path / 'nowhere'}: there is no such folder; give one with a.tif and b.tif, "
    )
    for way in ("$UNET2015_DATA/set,", "per-user cache (", "https://example.org/set.zip"):
        assert way in message


def test_the_folder_is_named_as_it_was_typed(tmp_path):
    assert refusal(tmp_path / "nowhere" / "set").startswith(f"--data {tmp_path / 'nowhere'}: ")
    assert refusal(tmp_path / "set").startswith(f"--data {tmp_path / 'set'}: ")
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file").startswith(f"--data {tmp_path / 'file'}: is a file, not a")


def test_a_folder_is_no_matter_of_this_check(tmp_path):
    check_given_folder(tmp_path, "set", "a.tif", "https://example.org/set.zip")
