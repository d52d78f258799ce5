"""Files appear complete or not at all: written beside the target, then put in its place.

A run that is cut off in the middle of writing leaves the previous file as it was.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def write_atomically(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file for writing that takes the place of `path` when the block ends without error.

    The bytes go to a temporary file in the folder of `path` (made if missing; a symbolic link is
    followed), are flushed to the disk, and replace `path` in one step. Whatever ends the block
    early removes the temporary file and leaves `path` as it was.

    Raises OSError, of the kind the system gave, if the folder or the disk refuses: its message
    names `path` and says that the previous file is untouched.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        if target.exists() and not target.is_file():
            raise OSError("it exists and is not a regular file")
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if _concerns_another_file(error, temporary, target):
            raise
        raise _cannot_write(path, error) from error
    finally:
        # gone after a success; the folder may be missing or closed to us after a failure
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: str | Path, content: bytes | bytearray | memoryview) -> None:
    """Write `content` to `path` in one step; see `write_atomically` for folders and errors."""
    with write_atomically(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    r"""Write `text` to `path` in one step, as UTF-8 with `\n` line ends on every system.

    See `write_atomically` for folders and errors.
    """
    write_bytes(path, text.encode("utf-8"))


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


def writable_folder(folder: Path, option: str) -> Path:
    """`folder`, made where it is missing; ValueError naming `option` if it cannot be written to."""
    try:
        file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
        if file is not None:
            what = "is a file" if file == folder else f"{file} is a file"
            raise ValueError(f"{option} {folder}: {what}; a folder is needed, give another one")
        folder.mkdir(parents=True, exist_ok=True)
        _write_something(folder)
    except OSError as error:
        raise _refused(folder, option, error) from error
    return folder


def writable_file(path: Path, option: str) -> Path:
    """`path`, if a file can be written there; ValueError naming `option` otherwise.

    Missing folders are not made: `write_atomically` makes them when there is something to write.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path}: is a folder; give the path of a file")
    try:
        _write_something(next(folder for folder in path.absolute().parents if folder.exists()))
    except OSError as error:
        raise _refused(path, option, error) from error
    return path


def _write_something(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


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
    taken = {path.resolve(): f"the {name}" for name, path in inputs.items()}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise ValueError(
                f"{option} {path}: is the file of {taken[path.resolve()]}; give another path"
            )
        endings = SUFFIXES.get(option)
        if endings and not path.is_dir() and path.suffix.lower() not in endings:
            raise ValueError(
                f"{option} {path}: must end in {' or '.join(endings)}, the only format written; "
                f"{path.with_suffix(endings[0])}, say"
            )
        writable_file(path, option)
        taken[path.resolve()] = option
