"""Files appear complete or not at all: written beside the target, then put in its place.

A run that is cut off in the middle of writing leaves the previous file as it was.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


class NameTaken(FileExistsError):
    """A file was to be new, and there is one of its name already."""


@contextmanager
def write_atomically(path: str | Path, *, new: bool = False) -> Iterator[BinaryIO]:
    """A binary file for writing that takes the place of `path` when the block ends without error.

    The bytes go to a temporary file in the folder of `path` (made if missing), are flushed to the
    disk, and replace `path` in one step. A symbolic link of that name is replaced, and what it
    points to is left alone: a folder from somebody else reaches no other file. new: nothing is
    replaced. Whatever ends the block early removes the temporary file and leaves `path` as it was.

    Raises OSError, of the kind the system gave, if the folder or the disk refuses: its message
    names `path` and says that the previous file is untouched. With `new`, NameTaken if there is
    such a file by the end of the block.
    """
    target = place_of(path)
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        if _special(target):
            raise OSError("it exists and is not a regular file")
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if new:
            _put_new(temporary, target)
        else:
            temporary.replace(target)
    except OSError as error:
        if isinstance(error, NameTaken) or _concerns_another_file(error, temporary, target):
            raise
        raise _cannot_write(path, error) from error
    finally:
        # gone after a success; the folder may be missing or closed to us after a failure
        with suppress(OSError):
            temporary.unlink()


def remove_parts(folder: Path) -> None:
    """Remove what killed writes have left in a folder in which nobody else is writing."""
    for part in folder.glob(f".{'[0-9a-f]' * 32}.part"):
        part.unlink(missing_ok=True)


def place_of(path: str | Path) -> Path:
    """Where a file of that name lies: links to its folder are followed, the name itself is not."""
    path = Path(path)
    return Path(os.path.realpath(path.parent)) / path.name


def _special(target: Path) -> bool:
    """Whether there is a folder, a pipe, a device …, or a link to one: no file may replace it."""
    return target.exists() and not target.is_file()


def _put_new(temporary: Path, target: Path) -> None:
    """Give a file its name, unless that is taken: in one step, whoever else tries."""
    try:
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: the name is taken first, its content follows
            target.open("xb").close()
            temporary.replace(target)
    except FileExistsError as error:
        raise NameTaken(f"{target}: there is a file of that name already") from error


def write_bytes(path: str | Path, content: bytes | bytearray | memoryview) -> None:
    """Write `content` to `path` in one step; see `write_atomically` for folders and errors."""
    with write_atomically(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str, *, new: bool = False) -> None:
    r"""Write `text` to `path` in one step, as UTF-8 with `\n` line ends on every system.

    What is not UTF-8 in the name of a file is written as `\udcff`, which JSON reads back. See
    `write_atomically` for `new`, folders and errors.
    """
    with write_atomically(path, new=new) as file:
        file.write(text.encode("utf-8", errors="backslashreplace"))


def _concerns_another_file(error: OSError, temporary: Path, target: Path) -> bool:
    """Whether the block failed at a file of its own (a failed write names no file)."""
    named = error.filename
    if named is None or not isinstance(named, (str, bytes, os.PathLike)):
        return False
    place = Path(os.fsdecode(named))
    return place not in (temporary, target) and place not in target.parents


def _cannot_write(path: str | Path, error: OSError) -> OSError:
    reason = error.strerror or str(error)
    previous = "the previous file is untouched" if Path(path).exists() else "nothing was left there"
    refused = type(error)(
        f"cannot write {path}: {reason}; {previous}. "
        "Free some space or choose a place that can be written to"
    )
    refused.errno = error.errno
    return refused


def writable_folder(folder: Path, option: str, *, make: bool = True) -> Path:
    """`folder`, made where it is missing; ValueError naming `option` if it cannot be written to.

    make: otherwise a missing one is not made, only that it can be is found out.

    Nor may its name be other bytes than UTF-8: safetensors would not read a checkpoint there.
    """
    try:
        os.fsencode(folder).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(
            f"{option} {folder}: the name is not UTF-8, so that no checkpoint could be read from "
            "it; rename the folder, or give another one"
        ) from None
    try:
        file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
        if file is not None:
            what = "is a file" if file == folder else f"{file} is a file"
            raise ValueError(f"{option} {folder}: {what}; a folder is needed, give another one")
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        _write_something(_nearest_folder(folder / "file"))
    except OSError as error:
        raise _refused(folder, option, error) from error
    return folder


def own_folder(folder: Path) -> Path:
    """`folder`, of a name that the program has chosen; ValueError if that is a symbolic link.

    What a run writes there would land where somebody else has led it.
    """
    if folder.is_symlink():
        raise ValueError(
            f"{folder}: is a symbolic link, where a run makes a folder of its own; remove it, or "
            "give another --output"
        )
    return folder


def writable_file(path: Path, option: str) -> Path:
    """`path`, if a file can be written there; ValueError naming `option` otherwise.

    Missing folders are not made: `write_atomically` makes them when there is something to write.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; give the path of a file")
    if _special(place_of(path)):
        raise ValueError(
            f"{option} {path}: is no regular file (a pipe, a device); give the path of a file"
        )
    try:
        _write_something(_nearest_folder(path))
    except OSError as error:
        raise _refused(path, option, error) from error
    return path


def room_for(size: int, path: Path, option: str) -> None:
    """Refuse a file of up to `size` bytes that the disk or a limit would cut off: ValueError.

    For what is known before a long work begins. A quota is not seen.
    """
    folder = _nearest_folder(path)
    free = shutil.disk_usage(folder).free
    needs = f"{option} {path}: takes up to {size / 1e9:.3g} GB"
    if free < size:
        raise ValueError(
            f"{needs}, but {folder} has {free / 1e9:.3g} GB free; free some space, or give a path "
            "on another disk"
        )
    try:
        _write_something(folder, size)
    except OSError as error:
        raise ValueError(
            f"{needs}, and so large a file cannot be written to {folder} ({error.strerror}); raise "
            "the limit (ulimit -f), or give a path on another disk (FAT holds up to 4 GB)"
        ) from error


def _nearest_folder(path: Path) -> Path:
    """The folder of a file, or the one in which its missing folders would be made."""
    return next(folder for folder in place_of(path).parents if folder.exists())


def _write_something(folder: Path, size: int = 0) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        if os.name == "posix":  # a hole; Windows, which has no ulimit, would write zeros
            file.truncate(size)


def _refused(path: Path, option: str, error: OSError) -> ValueError:
    return ValueError(f"{option} {path}: cannot be written to ({error.strerror}); give another one")


SUFFIXES = {"--figure": (".png",), "--output": (".tif", ".tiff")}
"""What the name of a file ends in that an option writes; in any case."""


def writable_outputs(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path]) -> None:
    """Refuse outputs that cannot be written, or would replace an input or one another.

    outputs: option → path, None = not asked for; inputs: what it is in words → path. Options of
    `SUFFIXES` take these only: a picture or a stack under another name would be misread. Nothing is
    made on the disk. Raises ValueError naming the option and the path.
    """
    taken = {os.path.realpath(path): f"the {name}" for name, path in inputs.items()}
    for option, path in outputs.items():
        if path is None:
            continue
        place = os.path.realpath(path)  # unlike Path.resolve, of a link to itself too
        if place in taken:
            raise ValueError(f"{option} {path}: is the file of {taken[place]}; give another path")
        endings = SUFFIXES.get(option)
        if endings and not path.is_dir() and path.suffix.lower() not in endings:
            raise ValueError(
                f"{option} {path}: must end in {' or '.join(endings)}, the only format written; "
                f"{path.with_suffix(endings[0])}, say"
            )
        writable_file(path, option)
        taken[place] = option
