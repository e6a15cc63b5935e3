"""Freed memory, kept: a training step then reuses its buffers instead of asking the system for zeroed pages every time."""

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of glibc's mallopt(3)."""
SETTINGS = {MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 2**30, TOP_PAD: 64 * 2**20}


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory in this process; returns whether it will.

    By default every batch of images and every layer's output is given back to the system when it is freed, and comes
    back as fresh pages that have to be zeroed (`benchmarks/overheads.py` measures what that costs). The price is that the
    process keeps its peak memory until it ends. `dprune` does this for itself; a library must not do it behind its
    user's back, so in Python it is yours to call. Elsewhere than on glibc it does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in SETTINGS.items())
