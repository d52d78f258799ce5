"""Unpacking and verifying of archives; fetching and the folders are tested with the data sets."""

import stat
import zipfile

import pytest

from unet2015.data.download import unpack


def test_an_archive_is_unpacked_whole(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("set/01/t000.tif", b"frame")
        file.writestr("set/a..b.txt", b"dots in a name")
    unpack(tmp_path / "a.zip", tmp_path / "target")
    found = {
        str(path.relative_to(tmp_path / "target")): path.read_bytes()
        for path in (tmp_path / "target").rglob("*.*")
    }
    assert found == {"set/01/t000.tif": b"frame", "set/a..b.txt": b"dots in a name"}


# fmt: off
OUTSIDE = ["../x", "set/../../x", "/x", "\\x", "..\\x", "set\\..\\..\\x", "C:/x", "C:x", "//host/x"]
# fmt: on


def test_a_member_outside_the_target_is_refused_and_nothing_written(tmp_path):
    for name in OUTSIDE:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            for member in ("set/01/t000.tif", name, "set/01/t001.tif"):
                file.writestr(member, b"must not be written")
        with pytest.raises(ValueError, match=r"a\.zip: the member .* outside the target folder"):
            unpack(tmp_path / "a.zip", tmp_path / "one" / "two")
        assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]


def test_a_symbolic_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("set/link")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "../..")
    with pytest.raises(ValueError, match="the member 'set/link'"):
        unpack(tmp_path / "a.zip", tmp_path / "target")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]


def test_an_archive_that_unpacks_to_far_more_than_images_do_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("unet2015.data.download.BOMB_BYTES", 2**20)
    for size, refused in ((2**19, False), (2**22, True)):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("x", bytes(size))
        if refused:
            with pytest.raises(ValueError, match=r"MB unpacks to 0.00419 GB, which images do not"):
                unpack(tmp_path / "a.zip", tmp_path / str(size))
        else:
            unpack(tmp_path / "a.zip", tmp_path / str(size))
        assert (tmp_path / str(size)).exists() != refused
