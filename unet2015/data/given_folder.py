"""The folder that --data names: is there one, and how else is a data set supplied?"""

from pathlib import Path

from unet2015.data.download import cache_folder


def check_given_folder(folder: Path, name: str, needed: str, url: str) -> None:
    """Raise FileNotFoundError, with every way to supply the set `name`, if there is no such folder.

    needed: what must lie in it, in words; url: where the set is downloaded from. A command may look
    in the folder `name` within what was given: if that is missing too, the message names it.
    """
    if folder.is_dir():
        return
    given = folder.parent if folder.name == name and not folder.parent.is_dir() else folder
    what = "is a file, not a folder" if given.exists() else "there is no such folder"
    raise FileNotFoundError(
        f"--data {given}: {what}; give one with {needed}, or leave --data out: then "
        f"$UNET2015_DATA/{name}, the per-user cache ({cache_folder(name)}) and a download from "
        f"{url} are tried"
    )
