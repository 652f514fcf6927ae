"""What training asks of malloc: to keep what it gets back.

The activations of a micro-batch are tens of megabytes. As it comes, glibc hands blocks of that size back to the kernel
as soon as they are freed, and takes them anew, page by page, for the next micro-batch: on the machine of README's speed
table a third to a half of a float32 IMPALA's time; of ours, in bfloat16, a tenth (by hand).
"""

from __future__ import annotations

import ctypes
import platform

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -8, -1, -3  # of malloc.h
_LARGEST = 2**27
"""Bytes; larger blocks live long (stored frames), and go back to the kernel as ever."""


def keep_freed_memory() -> None:
    """Have glibc keep freed memory, in one arena for all threads; does nothing elsewhere. For the whole process."""
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    if libc.mallopt(_MMAP_THRESHOLD, _LARGEST):  # refused by an old one, to which the others would do harm
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_ARENA_MAX, 1)
