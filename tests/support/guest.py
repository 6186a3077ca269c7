"""Another kernel, for what this machine's own may lack: Debian's user-mode Linux, as a process of ours.

Owns that process. It sees this machine's files, runs as root there, and has disks of its own.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

_SECONDS = 280
# finit_module(2): the image of Debian has no insmod.
_LOAD = """
import ctypes, glob, os
for name in ("quota_tree", "quota_v2", "loop"):
    (found,) = glob.glob(f"/usr/lib/uml/modules/*/kernel/*/*/{name}.ko")
    if ctypes.CDLL(None).syscall(313, os.open(found, os.O_RDONLY), b"", 0):
        raise SystemExit(f"{name} cannot be loaded")
"""
_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /mnt
{python} -c {load} && cd {root} && {python} -m pytest -p no:cacheprovider -p no:randomly -q {tests}
echo "guest ended with $?"
{python} -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'
"""


def memory_folder(folder: Path, size: int) -> Path:
    """Where a kernel of this kind keeps its memory of `size` bytes: in memory, or else in `folder`."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return folder
    seen = os.statvfs(shared)
    # It is mapped to be executed.
    fits = not seen.f_flag & os.ST_NOEXEC and seen.f_bavail * seen.f_frsize > size
    return shared if fits else folder


def run_in_guest(folder: Path, tests: Path, *disks: Path) -> str:
    """Run a file of tests there: all that it printed, whose last line of ours has pytest's status.

    `disks` are /dev/ubdb and so on; its /mnt is a directory of its own.
    """
    init = folder / "init"
    words = {
        "python": sys.executable,
        "load": _LOAD,
        "root": ROOT,
        "tests": tests,
    }
    init.write_text(_INIT.format(**{name: shlex.quote(str(word)) for name, word in words.items()}))
    init.chmod(0o755)
    names = (f"ubd{letter}={disk}" for letter, disk in zip("bcdef", disks, strict=False))
    with subprocess.Popen(
        ["linux.uml", "rootfstype=hostfs", "root=/dev/root", "rootflags=/", "rw", "mem=512M", "quiet"]
        + [f"init={init}", *names, "con0=null,fd:1", "con=null"],
        env={**os.environ, "HOME": str(folder), "TMPDIR": str(memory_folder(folder, 512 << 20))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as kernel:
        try:
            return kernel.communicate(timeout=_SECONDS)[0]
        finally:
            if kernel.poll() is None:
                os.killpg(kernel.pid, signal.SIGKILL)
