"""Reading the machine's clock and which boot it runs in.

Owns the system calls. Must not judge what they say.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.clock import Clock

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def look() -> Clock:
    """The clock now. CLOCK_BOOTTIME counts sleep, and nobody can set it (clock_gettime(2))."""
    uptime = timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))
    return Clock(_BOOT.read_text().strip(), datetime.now(UTC), uptime)
