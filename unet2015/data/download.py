"""What the data sets' modules share: where data lie, how an archive is fetched and unpacked."""

import logging
import os
import stat
import threading
import zipfile
from pathlib import Path, PureWindowsPath
from typing import Any

import pooch

SECONDS_TO_ANSWER = 10
"""How long a server may take to answer before the download is given up (our choice)."""

BOMB_BYTES, BOMB_RATIO = 2**30, 100
"""An archive that unpacks to more bytes than that, and to so many times its size, is no set of
images (our choice; the sets used here unpack to less than ten times their size)."""


def cache_folder(name: str) -> Path:
    """The folder of the data set `name` in the per-user cache; it need not exist."""
    return Path(pooch.os_cache("unet2015")) / name


def usual_folders(name: str, cache: Path) -> list[tuple[Path, str]]:
    """Where a data set is looked for when no folder was given, best first, each also in words.

    $UNET2015_DATA/name if that variable is set, then `cache`.
    """
    cached = (cache, "the per-user cache")
    root = os.environ.get("UNET2015_DATA")
    return [(Path(root) / name, f"$UNET2015_DATA/{name}"), cached] if root else [cached]


def fetch(url: str, target: Path, *, progress: bool) -> None:
    """Download `url` to `target`; a server that does not answer is given up after some seconds.

    progress: with a progress bar on stderr. Raises OSError, of which ConnectionError is one kind,
    with what went wrong.
    """
    _await_answer(url)
    # Any: pooch's own downloader does not fit pooch's own type of downloaders
    downloader: Any = pooch.HTTPDownloader(
        progressbar=progress, chunk_size=1 << 16, timeout=SECONDS_TO_ANSWER
    )
    logger = pooch.get_logger()
    before = logger.level
    # pooch would print the archive's path and hash; the caller checks what counts
    logger.setLevel(logging.WARNING)
    try:
        pooch.retrieve(
            url,
            known_hash=None,
            fname=target.name,
            path=target.parent,
            downloader=downloader,
        )
    finally:
        logger.setLevel(before)


def check_archive(archive: Path, sha256: str, url: str) -> None:
    """Raise ValueError, with the hashes found and expected, if the file is another one."""
    found = pooch.file_hash(str(archive))
    if found != sha256:
        raise ValueError(
            f"{url}: the archive has SHA-256 {found}, expected {sha256}; nothing of it was kept. "
            "Try again, and if it stays so, the archive was changed: give an unpacked copy of the "
            "known one with --data"
        )


def refuse_bomb(file: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError for an archive of `size` bytes that unpacks to far more than images do."""
    unpacked = sum(member.file_size for member in file.infolist())
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * size:
        raise ValueError(
            f"the archive of {size / 1e6:.3g} MB unpacks to {unpacked / 1e9:.3g} GB, which images "
            "do not; nothing was unpacked. Do not use this archive"
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a whole zip file into `folder`, or, if any member could land elsewhere, nothing.

    Raises ValueError naming the first member with an absolute path, a drive, '..' or a symbolic
    link, and as `refuse_bomb`; BadZipFile for a damaged archive.
    """
    with zipfile.ZipFile(archive) as file:
        refuse_bomb(file, archive.stat().st_size)
        for member in file.infolist():
            # the stricter reading, that of Windows, on every system: both slashes, and drives
            path = PureWindowsPath(member.filename)
            link = stat.S_ISLNK(member.external_attr >> 16)
            if path.anchor or ".." in path.parts or link:
                raise ValueError(
                    f"{archive.name}: the member {member.filename!r} would be written outside the "
                    "target folder; nothing was unpacked. Do not use this archive"
                )
        file.extractall(folder)


def _await_answer(url: str) -> None:
    """Raise ConnectionError with what keeps the server from answering, if it does not answer.

    In a thread of its own, because the time that a name look-up takes cannot be limited.
    """
    downloader: Any = pooch.HTTPDownloader(timeout=SECONDS_TO_ANSWER)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            downloader(url, os.devnull, None, check_only=True)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER + 2)
    if failures or thread.is_alive():
        why = type(failures[0]).__name__ if failures else "no answer in time"
        raise ConnectionError(f"the server cannot be reached ({why}; no internet connection?)")
