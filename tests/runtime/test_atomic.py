"""Files are there whole or not at all, also when the disk or the folder refuses."""

import errno
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from unet2015.runtime.atomic import (
    NameTaken,
    own_folder,
    room_for,
    writable_folder,
    writable_outputs,
    write_atomically,
    write_bytes,
    write_text,
)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file may be larger, as `ulimit -f` has it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_writes_bytes_and_text_into_new_folders(tmp_path):
    write_bytes(tmp_path / "a" / "b" / "bytes", b"\x00\xff")
    write_text(tmp_path / "a" / "text", "× – σ\n")
    assert (tmp_path / "a" / "b" / "bytes").read_bytes() == b"\x00\xff"
    assert (tmp_path / "a" / "text").read_bytes() == "× – σ\n".encode()
    assert files_in(tmp_path / "a") == ["b", "text"]


def test_replaces_the_previous_file_only_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("previous")
    with write_atomically(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "previous"
    assert path.read_text() == "new"
    assert files_in(tmp_path) == ["file"]


@pytest.mark.parametrize("end", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_block_leaves_the_previous_file_and_nothing_else(tmp_path, end):
    path = tmp_path / "file"
    path.write_text("previous")

    def half_way() -> None:
        with write_atomically(path) as file:
            file.write(b"half")
            raise end

    with pytest.raises(end):
        half_way()
    assert path.read_text() == "previous"
    assert files_in(tmp_path) == ["file"]


@pytest.mark.parametrize("target", ["real", "missing", "link"])
def test_a_symbolic_link_is_replaced_and_what_it_points_to_left_alone(tmp_path, target):
    (tmp_path / "real").write_text("previous")
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "link"
    path.symlink_to(path if target == "link" else tmp_path / target)
    writable_outputs({"--json": path}, {})
    write_text(path, "new")
    assert not path.is_symlink()
    assert path.read_text() == "new"
    assert (tmp_path / "real").read_text() == "previous"
    assert files_in(tmp_path) == ["real", "run"]


def test_links_to_the_folder_of_a_file_are_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    write_text(tmp_path / "runs" / "new" / "file", "text")
    assert (tmp_path / "disk" / "new" / "file").read_text() == "text"
    assert (tmp_path / "runs").is_symlink()
    with pytest.raises(ValueError, match=r"runs: is a symbolic link, where a run makes"):
        own_folder(tmp_path / "runs")
    assert own_folder(tmp_path / "disk") == tmp_path / "disk"


def test_a_pipe_is_refused_before_there_is_something_to_write(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(ValueError, match=rf"--json .*{name}: is no regular file"):
            writable_outputs({"--json": tmp_path / name}, {})
        with pytest.raises(OSError, match="is not a regular file"):
            write_text(tmp_path / name, "text")
    assert files_in(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_replaces_none_whoever_else_writes_it(tmp_path, monkeypatch, links):
    if not links:  # as on FAT

        def refused(_file: Path, _name: Path) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "record"
    with ThreadPoolExecutor(8) as several:
        tried = [several.submit(write_text, path, str(k), new=True) for k in range(40)]
    failed = [each.exception() for each in tried]
    assert failed.count(None) == 1
    assert all(isinstance(each, NameTaken) for each in failed if each)
    assert path.read_text() == str(failed.index(None))
    assert files_in(tmp_path) == ["record"]
    with pytest.raises(OSError, match=r"cannot write .*record/below"):
        write_text(path / "below", "text", new=True)


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_write_that_the_system_cuts_off_leaves_the_previous_file(tmp_path):
    """A limit on the size of files stands in for the full disk: the write itself fails."""
    path = tmp_path / "file"
    path.write_text("previous")
    refused = pytest.raises(OSError, match="the previous file is untouched")
    with files_limited_to(1000), refused as caught:
        write_bytes(path, bytes(100_000))
    assert str(path) in str(caught.value)
    assert caught.value.errno == errno.EFBIG
    assert path.read_text() == "previous"
    assert files_in(tmp_path) == ["file"]


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "file"
    with pytest.raises(OSError, match="No space left on device; nothing was left there") as caught:
        write_text(path, "text")
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert files_in(tmp_path) == []


def test_a_permission_error_keeps_its_kind(tmp_path, monkeypatch):
    def refused(_self: Path, _target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "file").write_text("previous")
    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(PermissionError, match="Permission denied; the previous file is untouched"):
        write_text(tmp_path / "file", "new")
    assert files_in(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "previous"


def test_a_folder_is_not_overwritten_and_a_file_not_taken_for_one(tmp_path):
    with pytest.raises(OSError, match="is not a regular file"):
        write_text(tmp_path, "text")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match=r"cannot write .*file/below"):
        write_text(tmp_path / "file" / "below", "text")
    assert (tmp_path / "file").read_text() == "x"


def test_a_failure_at_another_file_keeps_its_own_message(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"No such file or directory: .*missing"),
        write_atomically(tmp_path / "file"),
    ):
        (tmp_path / "missing").read_bytes()
    assert files_in(tmp_path) == []


def test_asking_whether_a_file_can_be_written_makes_no_folder(tmp_path):
    writable_outputs({"--json": tmp_path / "new" / "deep" / "x.json"}, {})
    assert files_in(tmp_path) == []


def test_stacks_are_named_as_tiff_and_other_names_refused_with_the_nearest_one(tmp_path):
    for name in ("x.tif", "x.tiff", "x.TIF", "new/x.ome.tif"):
        writable_outputs({"--output": tmp_path / name}, {})
    for name in ("x.png", "x.py", "x", "x.safetensors"):
        with pytest.raises(ValueError, match=r"--output .*: must end in \.tif or \.tiff") as caught:
            writable_outputs({"--output": tmp_path / name}, {})
        assert str(tmp_path / name) in str(caught.value)
        assert f"{tmp_path / 'x.tif'}, say" in str(caught.value)


def test_no_room_is_found_out_before_there_is_something_to_write(tmp_path, monkeypatch):
    path = tmp_path / "new" / "x.tif"
    room_for(100_000, path, "--output")
    with (
        files_limited_to(1000),
        pytest.raises(ValueError, match=r"--output .*x\.tif: takes up to 0.0001 GB, .*ulimit -f"),
    ):
        room_for(100_000, path, "--output")
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match=r"takes up to 5 GB, but .* has 2 GB free; free some"):
        room_for(5 * 10**9, path, "--output")
    assert files_in(tmp_path) == []


def test_a_name_that_is_not_utf8_is_written_as_json_reads_it_back(tmp_path):
    name = os.fsdecode(b"slice\xff.tif")
    write_text(tmp_path / "x.json", json.dumps({"file": name}, ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {"file": name}
    # a checkpoint would be written there after the training, and could never be read
    with pytest.raises(ValueError, match=r"--output .*: the name is not UTF-8"):
        writable_folder(tmp_path / os.fsdecode(b"run\xff"), "--output")
    assert writable_folder(tmp_path / "Lauf für µ", "--output").is_dir()
