"""Git LFS pointers, which replace large files after a clone without Git LFS."""

from __future__ import annotations

LFS_POINTER = b"version https://git-lfs"
NEVER_DOWNLOADED = "is a Git LFS pointer: the file itself was never downloaded"
