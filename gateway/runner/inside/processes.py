"""Which programs of this container want to know, by SIGUSR1, that it will be stopped.

Owns the rule, told by what each does with its signals (proc(5), /proc/PID/status): SIGUSR1 ends whoever does
not catch it, and not everybody who does means to save work by it. Must not know why it is stopped.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass


def mask(*numbers: int) -> int:
    """These signals as the kernel shows a set of them."""
    return sum(1 << (number - 1) for number in numbers)


_TOLD = mask(signal.SIGUSR1)
# A shell with job control, and tmux, ignore the terminal's stop signals. They catch SIGUSR1 to end by it.
_JOB_CONTROL = mask(signal.SIGTSTP, signal.SIGTTOU)
# Go's runtime catches whatever can be caught, and does nothing.
_WHATEVER = mask(signal.SIGIO, signal.SIGPWR, signal.SIGRTMAX)
# Opens its debugger.
_NODE = "node"


@dataclass(frozen=True)
class Signals:
    """What one process does with its signals."""

    caught: int
    ignored: int


def saves_work(signals: Signals, program: str) -> bool:
    """Whether a process that runs the file `program` seems to mean its own work by SIGUSR1."""
    return (
        signals.caught & _TOLD != 0
        and signals.ignored & _JOB_CONTROL != _JOB_CONTROL
        and signals.caught & _WHATEVER != _WHATEVER
        and os.path.basename(program) != _NODE
    )


def tell() -> dict[int, str]:
    """Send SIGUSR1 to the user's processes that save their work at it: pid to when each began.

    Not to the first process, to this one nor to the loop that keeps it alive.
    """
    ours = {1, os.getpid(), os.getppid()}
    told = {}
    for pid in {int(name) for name in os.listdir("/proc") if name.isdigit()} - ours:
        with suppress(OSError, ValueError):
            began = beginning(pid)
            if saves_work(_signals(pid), os.readlink(f"/proc/{pid}/exe")):
                os.kill(pid, signal.SIGUSR1)
                told[pid] = began
    return told


def alive(told: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Those that have not ended; another process may have a pid by now, and a dead one may not be reaped."""
    found = {}
    for pid, began in told:
        with suppress(OSError, ValueError):
            if beginning(pid) == began:
                found[pid] = began
    return found


def beginning(pid: int) -> str:
    """When a process began, in clock ticks since the boot. Raises OSError, and ValueError for a dead one."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name, in parentheses, may hold anything.
        rest = file.read().rpartition(b")")[2].split()
    if rest[0] in (b"Z", b"X"):
        raise ValueError("it has ended")
    return rest[19].decode("ascii")


def _signals(pid: int) -> Signals:
    with open(f"/proc/{pid}/status", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file.read().splitlines())
    return Signals(int(lines[b"SigCgt"], 16), int(lines[b"SigIgn"], 16))
