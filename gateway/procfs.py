"""What the kernel says of a process (proc(5)).

Owns the reading. Must not know what a process is to us.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from gateway.occupants import Program

_STARTED = 19
"""Field 22 of /proc/PID/stat, counted from the one after the name."""


def programs(pids: Iterable[int], asked: float) -> dict[int, Program | None]:
    """The program under each pid; None for one that is gone, or that began after `asked`.

    `asked` is on CLOCK_BOOTTIME: when it was said that the pid is of interest. A pid that somebody else got
    since is not mistaken for it.
    """
    # The kernel counts in whole ticks, and on this clock (proc_pid_stat(5)).
    latest = int(asked * os.sysconf("SC_CLK_TCK")) + 1
    return {pid: _program(pid, latest) for pid in pids}


def boot_time() -> float:
    """Now, in seconds since the boot, sleep included: the clock of `asked`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _program(pid: int, latest: int) -> Program | None:
    folder = Path("/proc", str(pid))
    try:
        before = _stat(folder)
        cgroup = (folder / "cgroup").read_text(errors="replace")
        uid = folder.stat().st_uid
        after = _stat(folder)
    except OSError:
        return None
    if before != after or after[1] > latest:
        return None
    return Program(after[0], uid, cgroup, after[1])


def _stat(folder: Path) -> tuple[str, int]:
    """Its name, which may have any character, and when it began."""
    text = (folder / "stat").read_text(errors="replace")
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name, int(rest.split()[_STARTED])
