"""Pipes, sockets and devices in the place of files: reading one may never begin or never end, and what was read of a pipe can't be read again."""

from __future__ import annotations

import errno
from pathlib import Path

WHAT = "it is a pipe, a socket or a device, and no file"


def is_special(path: Path) -> bool:
    """Whether a path leads to a pipe, a socket or a device."""
    return path.is_fifo() or path.is_char_device() or path.is_block_device() or path.is_socket()


def refuse_special(path: Path) -> None:
    """Raise OSError for a pipe, a socket or a device."""
    if is_special(path):
        raise OSError(errno.EINVAL, WHAT, str(path))
