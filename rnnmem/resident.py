"""Keeps the process from growing over a long stream, though nothing is kept.

Chunks leave holes in the C allocator's heap, and over a thousand of them the heap may grow by a hundred MiB
that nobody uses. glibc gives such pages back when asked; other allocators are left alone.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

SLACK = 8 * 2**20
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
STATM = Path("/proc/self/statm")


class ResidentMemory:
    """Watches the resident memory of this process from when it is made."""

    def __init__(self) -> None:
        self.least = resident_bytes()

    def settle(self) -> None:
        """Gives free pages back where the process has grown by more than 8 MiB since the last time."""
        now = resident_bytes()
        if TRIM is not None and now > self.least + SLACK:
            TRIM(0)
            now = self.least = resident_bytes()
        self.least = min(self.least, now)


def resident_bytes() -> int:
    """Of this process; 0 where the system does not say."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
