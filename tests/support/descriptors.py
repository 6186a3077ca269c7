"""How many descriptors this process holds, for tests that must not lose one.

Owns the counting. Must not close anything.
"""

from __future__ import annotations

import gc
import os


def held() -> int:
    """The number of open descriptors, after garbage that would close some is gone."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")) - 1


def is_open(fd: int) -> bool:
    """Whether this number is a descriptor now."""
    return os.path.exists(f"/proc/self/fd/{fd}")
