"""Becomes a program on a machine that has just booted: another boot id, and other seconds since the boot.

    python tests/support/booted.py PROGRAM [ARGUMENT]...

Owns the namespaces that show this to that program alone (unshare(2), time_namespaces(7)). The wall clock is
the machine's, as after a reboot.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import time
import uuid

_CLONE_NEWNS = 0x00020000
_CLONE_NEWTIME = 0x00000080
_UPTIME = 30
"""Seconds since that boot."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(answer: int) -> None:
    if answer:
        raise OSError(ctypes.get_errno(), "cannot show another boot")


def main() -> None:
    """Enter namespaces of this process's own, and become the program."""
    _check(_libc.unshare(_CLONE_NEWNS))
    subprocess.run(["mount", "--make-rslave", "/"], check=True)
    with tempfile.NamedTemporaryFile("w") as boot:
        boot.write(f"{uuid.uuid4()}\n")
        boot.flush()
        subprocess.run(["mount", "--bind", boot.name, "/proc/sys/kernel/random/boot_id"], check=True)
    passed = int(time.clock_gettime(time.CLOCK_BOOTTIME)) - _UPTIME
    # After the programs above: the first child in it fixes its offsets.
    _check(_libc.unshare(_CLONE_NEWTIME))
    with open("/proc/self/timens_offsets", "w") as offsets:
        offsets.write(f"boottime -{passed} 0\n")
    # unshare(2) moves the children alone.
    children = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.setns(children, _CLONE_NEWTIME))
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
