"""Memory in bytes and in words."""

import os

GIB = 2**30


def memory_bytes() -> int | None:
    """The memory of this machine; None where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None


def gib(size: int) -> str:
    """Bytes in GiB, with two digits at least.

    >>> gib(130_000_000), gib(140 * GIB)
    ('0.12 GiB', '140 GiB')
    """
    return f"{size / GIB:.{2 if size < 100 * GIB else 3}g} GiB"
