"""The permissions of what is written: those of any file or folder that this process makes."""

from __future__ import annotations

import os


def permitted(mode: int) -> int:
    """The mode without the permissions that the process takes away from what it makes."""
    mask = os.umask(
        0o077
    )  # it can only be read by setting it: another thread's file would be private meanwhile, and not too open
    os.umask(mask)
    return mode & ~mask
