"""What the C library does with memory that NumPy gives back."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next arrays; returns whether it took effect.

    A training step allocates and frees about a hundred megabytes. The GNU C library hands them
    back to the operating system each time, which costs up to a third of the step. The setting
    holds for the whole process: the training loop makes it, and importing the library does not.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(trim_threshold, 2**30) and mallopt(mmap_threshold, 2**25))
