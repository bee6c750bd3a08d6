"""What a processor keeps from one training step to the next: freed memory, which is used again, and not every kernel ever compiled."""

from __future__ import annotations

import ctypes
import os
import sys

# Names of mallopt's parameters in glibc's malloc.h.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
LARGEST = 2**31 - 1
KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
FEWEST_KERNELS = 128  # a later run of the process may need more than the first


def keep_freed_memory() -> bool:
    """Ask glibc not to hand large blocks back to the kernel; returns whether it agreed.

    By default every tensor above a few hundred kilobytes to 32 MB is a mapping of its own: freed with the step and made again with the
    next, page by page, each page filled with zeros by the kernel first. Kept instead, the same memory serves the next step: 2 to 20 %
    more tokens a second, the more the larger the activations. What the process holds at its peak stays the same; it is only given
    back when the process ends. Elsewhere than on Linux with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(TRIM_THRESHOLD, LARGEST))


def keep_few_kernels(most: int | None) -> None:
    """Let torch's library for processors keep at most so many of the kernels that it compiles, one for each shape of a matrix product.

    It reads that once, with the first product in half precision: the first run of a process decides. What was set from outside stays.
    """
    if most is not None:
        os.environ.setdefault(KERNELS, str(max(most, FEWEST_KERNELS)))
